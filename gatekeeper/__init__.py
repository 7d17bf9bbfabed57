"""Gatekeeper: a virtual waiting room that runs as a reverse proxy in front of a web site.

- `__main__`: `python -m gatekeeper`
- `cli`: the command line
- `demo`: the sample shop and the show
- `simulate`: simulated visitors, and the verdict on what a gate promised
- `process`: supervisor, workers and embedded servers
- `admin`: admin API, metrics endpoint, audit log and control room
- `web`: the request pipeline: facts, route, admission, and the exits
- `room`: the queue that all replicas share: store, events, replicas
- `proxy`: the connection to the origin; `proxy.fastpath` serves raw client connections
- `pages`: the pages that visitors see, and their languages
- `metrics`: the Prometheus metrics of every process
- `policy`: pure decisions: tokens, rules, routing, pacing
- `config`: the configuration file and its checks
- `logs`: structured log lines
- `stepper`: runs a coroutine without a task
- `record`: values that requests create or read all the time
- `printable`: escapes control characters of untrusted texts
- `errors`: the errors of the whole program
"""

__version__ = "0.1.0"
