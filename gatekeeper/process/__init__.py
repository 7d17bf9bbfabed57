"""The processes of a running gate: one supervisor, its workers and its embedded servers.

- `supervisor`: the parent process; starts everything, reloads, stops everything in order
- `children`: worker and embedded-server processes, restarted when they exit
- `liveness`: workers that hang, seen by their heartbeat and replaced
- `server_watch`: embedded servers that hang, asked each second and replaced
- `commands`: what the supervisor sends to a running worker
- `reload`: reads the configuration again, and puts it in force on all workers or on none
- `site`: all that one configuration decides for the requests of one worker
- `room_set`: the rooms of one worker, each with its settings in force
- `worker_commands`: a worker's side of the commands
- `worker`: one replica: wires rooms, proxy and exits, and serves the public listener
- `pass_report`: the busiest passes of one worker, for the supervisor
- `control_plane`: wires the admin listener in the supervisor
- `embedded`: the commands and addresses of the private store and the private NATS
- `embedded_process`: starts a private server, once in a folder; it ends with its parent
- `damaged_files`: files with which a private server does not start, set aside
- `edge`: the private Caddy in front of the workers: its start, reload, certificates and end
- `edge_server`: starts Caddy, and sends it another configuration
- `edge_certificates`: the operator's own certificate, what is served, and what the CA refused
- `edge_handshakes`: how many TLS handshakes were full, and how many failed
- `caddy_config`: the configuration of that Caddy. Pure
- `edge_socket`: where a worker accepts the connections of the edge
- `state_folder`: the directory for the generated secret, the embedded data and the audit log
- `open_files`: the limit of open files
- `client_hello`: client hellos that the TLS listener refuses
- `tls_connection`: TLS on one connection of the public listener, and plain HTTP in its place
- `tls_listener`: the TLS connections of the listener, and their handshakes
- `tls`: the certificate of the public listener, what it negotiates, and its reload
"""
