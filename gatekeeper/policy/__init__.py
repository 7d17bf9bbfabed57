"""What the gate decides and computes. Pure: no I/O, no clock, no state shared between requests.

decision   what happens to a request that carries this token
next_token  the tokens that the gate issues, and the one that a visitor goes on with
phase      what a room does now: the operator's mode, the schedule, why visitors wait, the rate
lanes      lanes, and the turn of a visitor with a head start
reference  what a visitor reads to the support
ordering   what the queue is ordered by, and what a watermark has released
schedule   the events of a room: phases by time, the turns of a draw
event_order  the order of the queue by the events of a room
planned_events  the file's events and the live ones as one schedule
event_changes  what operators do to events: add, move, open now, cancel
draw       the arithmetic of a draw: secret, commitment, seed, turns
draw_record  the public record of a draw and its JSON
draw_verification  verifies a record with the list of its participants
beacon     a public randomness beacon: addresses, rounds, strict parsing
pacing     estimated waits, poll intervals, the pacer's tick, the local share of the rate
autotune   the control law that steers the rate by what the origin does
autotune_memory  what that law measures and remembers: periods, and a model of the load
visitor_groups  groups by which that law distinguishes one visitor from many
rules      a room's limits and time spans as numbers, derived from its configuration
facts      what is known of a request
original_request  the request that a check of forward auth is about
fetch_metadata  which requests create a place in line
sender     which requests come from another site
readings   the ways an origin could understand a path
parameters  the ways an origin could understand parameters and cookies
request_readings  a request as rules and rooms look at it
methods    conditions on the method, as an origin could read it
path_patterns  the patterns of a rule on a path, strict and loose
address_warnings  limits by address behind an unknown proxy, for warnings of `check`
autotune_warnings  rates that autotune changes at once, for warnings of `check`
challenge_warnings  widgets in rooms without hosts, for warnings of `check`
check_warnings  everything that `check` warns of
spellings  other spellings of a path, for warnings of `check`
access     the rules of [[rule]]: which requests bypass the rooms or are blocked
default_rules  what crawlers, browsers and certificate authorities fetch by themselves
preflight  what a CORS preflight never has
explain    why a request takes its route, for operators
routing    which room a request belongs to
invitations  what a shop signs about a person: claims, verification, the visitor id
audience   whom an invitation is for, and what the gate is called in it
invitation_address  the invitation in an address, and the address without it
tokens     tickets and passes: claims, signing, verification, visitor ids
challenge  which tickets are worth nothing until the room's challenge is solved
move_code  codes that move a place to another device, signed as tickets are
proof_of_work  challenges for places in line on the ALTCHA protocol, and their solutions
numbers    the check of numbers that pass through JSON, Lua and doubles
"""
