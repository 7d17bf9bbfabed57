"""The cost of an admitted check of forward auth, for the gate and with nginx.

Rules. As in `proxy.py`: one core for gate and nginx, the other for load and origin; medians over
interleaved rounds. nginx runs the configuration of `deploy/forward-auth`, without its log.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import contenders
import load_generators
from contenders import RunningProcess
from readme_section import table

_FILE = Path(__file__).parents[1] / "deploy" / "forward-auth" / "nginx.conf"
_CHECK = "/.gatekeeper/auth?nginx"
_PATH, _CONNECTIONS = "/1k", 64
_ORIGINAL = ("X-Forwarded-Method: GET", "X-Forwarded-Proto: http", f"X-Forwarded-Uri: {_PATH}")


def section(origin: str, folder: Path, *, headers: Sequence[str], rounds: int, seconds: int) -> str:
    """The section of the report. `headers` are a browser's, with a valid pass."""
    with ExitStack() as stack:
        gate = contenders.gatekeeper(origin, folder, server='trusted_proxies = ["127.0.0.1"]')
        stack.callback(gate.stop)
        plain = contenders.nginx(origin, folder)
        stack.callback(plain.stop)
        asking = _nginx_that_asks(origin, gate.url.removeprefix("http://"), folder)
        stack.callback(asking.stop)
        checks: list[float] = []
        cpu: dict[str, list[float]] = {"nginx alone": [], "nginx that asks": [], "its gate": []}
        latency: dict[str, list[float]] = {"nginx alone": [], "nginx that asks": []}
        for number in range(rounds + 1):
            length_s = seconds if number else 1
            check = load_generators.wrk(
                gate,
                _CHECK,
                headers=[*headers, *_ORIGINAL],
                connections=_CONNECTIONS,
                seconds=length_s,
            )
            costs = {}
            before_s = 0.0
            for name, proxy in (("nginx alone", plain), ("nginx that asks", asking)):
                before_s = gate.cpu_s()
                costs[name] = load_generators.wrk(
                    proxy, _PATH, headers=list(headers), connections=_CONNECTIONS, seconds=length_s
                )
            of_gate_s = gate.cpu_s() - before_s
            if not number:
                continue
            checks.append(check.cpu_us_per_request)
            for name, cost in costs.items():
                cpu[name].append(cost.cpu_us_per_request)
            cpu["its gate"].append(of_gate_s * 1e6 / costs["nginx that asks"].requests)
            for name, proxy in (("nginx alone", plain), ("nginx that asks", asking)):
                one = load_generators.latency_one_connection_us(
                    proxy.url + _PATH, headers=list(headers), seconds=length_s
                )
                latency[name].append(one[50])
    rows = [["a check, asked directly", _spread(checks), ""]]
    for name, values in cpu.items():
        alone = latency.get(name)
        rows.append([name, _spread(values), _spread(alone) if alone else ""])
    head = ["", "CPU µs per request", "latency of one connection, p50, µs"]
    return (
        "### Forward auth, 1 KB, a browser's headers\n\nAn admitted visitor; the gate verifies the "
        f"pass and makes no store call. Medians of {rounds} rounds of {seconds} s with the lowest "
        "and highest. No auth endpoint of another project (oauth2-proxy, Anubis) "
        f"is packaged for this comparison.\n\n{table(head, rows)}"
    )


def _nginx_that_asks(origin: str, gate: str, folder: Path) -> RunningProcess:
    port = contenders.free_port()
    text = _FILE.read_text()
    for old, new in (
        ("gate:8080", gate),
        ("origin:9000", origin),
        ("listen 8000", f"listen 127.0.0.1:{port} backlog=4096"),
        ("keepalive 64", "keepalive 256; keepalive_requests 100000000"),
        ("events {}", "events { worker_connections 20000; }"),
        ("http {", "http { access_log off; keepalive_requests 100000000;"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    own = f"daemon off; worker_processes 1; pid {folder}/asks.pid; error_log {folder}/asks.log;\n"
    return contenders.start_nginx("nginx that asks", own + text, port, folder)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
