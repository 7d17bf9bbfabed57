"""The processes of a running gate: one supervisor, its workers and its embedded servers.

- `supervisor`: the parent process; starts everything, reloads, stops everything in order
- `children`: worker and embedded-server processes, restarted when they exit
- `liveness`: watchdog of workers: a missing heartbeat means that a worker hangs, and it is replaced
- `server_watch`: watchdog of embedded servers: probed each second, replaced when they hang
- `commands`: the commands of the supervisor to a running worker
- `reload`: reads the configuration again, and puts it in force on all workers or on none
- `site`: the exits of one worker under one configuration
- `room_set`: the rooms of one worker, each with its settings in force
- `worker_commands`: a worker's side of the commands
- `worker`: one replica: wires rooms, proxy and exits, and serves the public listener
- `pass_report`: the busiest passes of one worker, for the supervisor
- `control_plane`: wires the admin listener in the supervisor
- `embedded`: the commands and addresses of the private store and the private NATS
- `embedded_process`: starts a private server, one per folder; it ends with its parent
- `damaged_files`: files with which a private server does not start, set aside
- `edge`: the private Caddy in front of the workers: its start, reload, certificates and end
- `edge_server`: starts Caddy, and sends it another configuration
- `edge_certificates`: the operator's own certificate, the served ones, and failures of the CA
- `edge_handshakes`: counts of full and failed TLS handshakes
- `caddy_config`: the configuration of that Caddy. Pure
- `edge_socket`: the Unix socket on which a worker accepts the connections of the edge
- `state_folder`: the directory for the generated secret, the embedded data and the audit log
- `open_files`: the limit of open files
- `client_hello`: the ClientHello messages that the TLS listener refuses
- `tls_connection`: TLS on one connection of the public listener, and the response to plain HTTP
- `tls_listener`: the TLS connections of the listener, and their handshakes
- `tls`: the certificate of the public listener, the TLS parameters, and its reload
"""
