"""The queue of a room that all replicas share, and what each replica knows of it.

queue             a room's atomic operations as typed calls, batched per turn of the event loop
visitor_calls     what a replica asks the store about one visitor: arrivals, polls
move_request      what a replica asks to move a place to another device
scripts/          these operations in Lua, one file each; `_room.lua` and `_admission.lua` are
                  loaded in front of each, and `_devices.lua` where a script asks for devices
replica           a room on one replica: queue, view and pacer; store outages end here
rate_steering     steers the rate by the origin, without a leader
origin_tally      what this replica measured of the origin
period            the end of a period of autotune, and the rate that follows from it
steering_record   what the steering remembers, and its last changes
openings          the events of a room: opened, drawn and placed, without a leader
tick_schedule     when the pacer calls the store
participants      the participants of a draw, read in portions
operator          a room for its operator: the state, and the controls
room_settings     the settings in force: the file's, with what operators changed live
visitor_search    the visitors with a reference, read in portions
view              what a replica knows: newest state, store's clock, revocations
standings         replies about one visitor, as values of the decision
state             the room's state, its spelling in replies and events, its order
leaving           visitors that leave or are revoked: void on every replica
write_back        what a replica writes to a store that lost data
return_window     how long such a store waits for the line to return
line_memory       what a replica keeps of its waiting visitors, for that time
told_intervals    which of them may still be about to poll, and the reports of it
line_places       where they stood
revocation_list   reading the store's list of revoked visitors
state_publisher   publishes the state: once for all replicas, at least once a second
pending_writes    what the store missed while it was unreachable
batching          many callers, one call
store             scripts on DragonflyDB, Valkey or Redis; errors become `StoreError`
resp_connection   one connection to the store, pipelined
store_address     where the store is: by URL, or the primary that Sentinels name
event_bus         what a room and the events between replicas need of each other
events            states, revocations and figures over core NATS
event_signing     signatures of events
nats_client       the connection to NATS, which survives malformed headers
beacon_client     the randomness of a draw, from a public beacon
worker_figures    what one replica counted, as an event
pass_figures      the busiest passes among them
"""
