"""`gatekeeper simulate`: simulated HTTP visitors against a running gate, and a verdict.

command            the command line: options and help
draw_command       `gatekeeper verify-draw`: options and output
draw_check         reads and verifies the record of a draw
run                runs a plan; prints the verdict as text or JSON, writes the SVG
plan               the options of a crowd, validated as a whole
arrivals           arrival times of the crowd, from a seeded random source; for an event too
crowd              schedules and sends all requests of one run
visitor            one visitor: the next action after each response
floods             requests without cookies, in addition to the visitors
request_kinds      methods and fields of requests without cookies
bots               bots in addition to the visitors: kinds, results, and the promise about them
proof_solver       solves challenges in separate processes, and measures their CPU time
gate_client        builds the HTTP requests of visitors; checks that a gate responds
connection         keep-alive connections and the pool of one address
gate_response      parses a response into an outcome for a visitor
token_claims       decodes tokens without the key; builds forged tokens
room_monitor       reads a room's figures from the admin listener
evidence           the records of a run: curve, progress, broken promises
observer           records what the crowd received
progress_record    the curve of a run, and the rates of the last seconds
room_samples       a reading of the admin listener, with the crowd's counts
event_watch        reads the public record of an event's draw, and verifies it afterwards
opening            start, first admission, turns, first minute and quiet, from recorded evidence
opening_promises   the promises about the opening of an event
pressure_record    the effects of floods, lurkers and no-shows on the line
simulated_lanes    the lanes of a crowd, and their invitations
lane_record        the promise about head starts, from recorded evidence
judge              order, rate, limits and watermark, from recorded evidence
pressure           waits, throughput, places and lurkers, from recorded evidence
release_delays     delay from release to admission near the front
pressure_promises  the promises about floods, lurkers and no-shows
verdict            the promises checked, and the figures of a run
summary            progress and verdict as text
plot               the run as an SVG chart
"""
