"""The fast path: plain requests of admitted visitors, from socket to socket.

- `server`: the connections of one listener
- `plain_listener`: accepts the connections of a listener without TLS
- `single_exchange`: the single request of a client that closes after it
- `client_connection`: one client connection, its states and its hand-over to aiohttp
- `forwarded_exchange`: the exchange with the origin that a client connection forwards
- `connection_states`: the states of a client connection
- `deadlines`: the deadlines of a client connection
- `equal_deadlines`: many deadlines of equal length, with one timer
- `idle_connections`: closes idle connections near the limit of open files
- `response_shapes`: what the heads of one kind of response have in common
- `repeat_filter`: distinguishes byte strings that come again from those that come once
- `interface`: the interface to the gate's policy
"""
