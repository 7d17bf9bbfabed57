"""What the gate decides and computes. Pure: no I/O, no clock, no state shared between requests.

decision            the decision on a request with this token
next_token          the tokens that the gate issues, and the visitor's next token
phase               the phase of a room: the operator's mode, the schedule, the reason, the rate
lanes               lanes, and the turn of a visitor with a head start
reference           the short code by which support finds a visitor
ordering            the order of the queue, and which turns a watermark has released
schedule            the events of a room: phases by time, the turns of a draw
event_order         the order of the queue by the events of a room
planned_events      the file's events and the live ones as one schedule
event_changes       operators' changes of events: add, move, open now, cancel
draw                the arithmetic of a draw: secret, commitment, seed, turns
draw_record         the public record of a draw and its JSON
draw_verification   verifies a record with the list of its participants
beacon              a public randomness beacon: addresses, rounds, strict parsing
pacing              estimated waits, poll intervals, the pacer's tick, the local share of the rate
autotune            the control law that steers the rate by the origin's responses
autotune_memory     the state of that law, and its model of the load
autotune_period     the measurements of that law, in one period
visitor_groups      groups by which that law distinguishes one visitor from many
rules               a room's limits and durations as numbers, derived from its configuration
facts               the facts of a request
original_request    the request that a check of forward auth is about
fetch_metadata      which requests create a place in line
sender              which requests come from another site
readings            the ways an origin could understand a path
parameters          the ways an origin could understand parameters and cookies
request_readings    a request as rules and rooms match it
methods             conditions on the method, as an origin could read it
path_patterns       the patterns of a rule on a path, strict and loose
address_warnings    limits by address behind an unknown proxy, for warnings of `check`
autotune_warnings   rates that autotune changes at once, for warnings of `check`
challenge_warnings  widgets in rooms without hosts, for warnings of `check`
check_warnings      everything that `check` warns of
spellings           other spellings of a path, for warnings of `check`
access              the rules of [[rule]]: which requests bypass the rooms or are blocked
default_rules       requests that crawlers, browsers and certificate authorities make by themselves
preflight           the conditions of a CORS preflight
explain             why a request takes its route, for operators
routing             the route of a request: bypass, block, or a room
invitations         JWTs that a shop signs for a person: claims, verification, the visitor id
audience            the claim `aud` of an invitation, and the names of the gate
invitation_address  the invitation in an address, and the address without it
tokens              tickets and passes: claims, signing, verification, visitor ids
challenge           tickets that are unconfirmed until the room's challenge is solved
move_code           signed codes that move a place to another device
proof_of_work       challenges for places in line on the ALTCHA protocol, and their solutions
numbers             validation of numbers that pass through JSON, Lua and doubles
"""
