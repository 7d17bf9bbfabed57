"""The queue of a room that all replicas share, and what each replica knows of it.

queue             a room's atomic operations as typed calls, batched per turn of the event loop
visitor_calls     requests to the store about one visitor: arrivals, polls
move_request      the request to move a place to another device
scripts/          these operations in Lua, one file each; `_room.lua` and `_admission.lua` are
                  loaded in front of each, and `_devices.lua` where a script asks for devices
replica           a room on one replica: queue, view and pacer; store outages end here
rate_steering     steers the rate by the origin, without a leader
origin_tally      what this replica measured of the origin
period            the end of a period of autotune, and the rate that follows from it
steering_record   what the steering remembers, and its last changes
openings          opens the events of a room, makes their draws and moves visitors, without a leader
tick_schedule     when the pacer calls the store
participants      the participants of a draw, read in portions
operator          a room for its operator: the state, and the controls
room_settings     the settings in force: the file's, with what operators changed live
visitor_search    the visitors with a reference, read in portions
view              what a replica knows: newest state, store's clock, revocations
standings         replies about one visitor, as values of the decision
state             the room's state: its fields, formats and order
leaving           visitors that leave or are revoked: void on every replica
write_back        the state that a replica writes to a store that lost data
return_window     how long such a store waits for the line to return
line_memory       what a replica keeps of its waiting visitors, for that time
outstanding_polls  which of them may still be about to poll, and the reports to the store
line_places       estimates of their places, for a store that lost the line
revocation_list   reading the store's list of revoked visitors
state_publisher   publishes the state: once for all replicas, at least once a second
pending_writes    what the store missed while it was unreachable
batching          collects the calls of one turn of the event loop into one
store             scripts on DragonflyDB, Valkey or Redis; errors become `StoreError`
resp_connection   one connection to the store, pipelined
store_address     where the store is: by URL, or the primary that Sentinels name
event_bus         the interfaces between a room and the events of replicas
events            states, revocations and figures over core NATS
event_signing     signatures of events
nats_client       the connection to NATS: survives malformed headers, and logs in by its URL
beacon_client     the randomness of a draw, from a public beacon
worker_figures    what one replica counted, as an event
pass_figures      the busiest passes among them
"""
