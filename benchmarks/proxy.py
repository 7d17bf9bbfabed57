"""The cost of forwarding: Gatekeeper compared with other reverse proxies.

    make bench-proxy                             all sections, about nine minutes
    make bench-proxy ARGS='--sections tls'       one or several of them, separated by commas
    make bench-proxy ARGS=--quick                one short round, writes nothing
    make bench-proxy ARGS='--python PROGRAM'     in `forwarding` the gate on another interpreter too

Every contender runs as one worker on core 0; load and origin are on core 1. They run in turn, round
after round; figures are medians over the rounds, and the main figure is CPU time per request. In
the last table of `forwarding`, one and two workers of the gate have both cores. Each section that
was run is written separately to `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import contenders
import differing_heads
import forward_auth
import load_generators
import tls_listeners
from contenders import SECRET, RunningProcess
from interpreters import Interpreter, add_option, interpreters
from readme_section import table, write_section

from gatekeeper.config.schema import DEFAULT_ROOM
from gatekeeper.policy.tokens import Keyring, Pass, Tokens, new_visitor_id

USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36"
)
BROWSER = [
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: de-DE,de;q=0.9,en;q=0.8",
    "Cache-Control: max-age=0",
    'Sec-Ch-Ua: "Chromium";v="140", "Not=A?Brand";v="24"',
    "Sec-Ch-Ua-Mobile: ?0",
    'Sec-Ch-Ua-Platform: "Linux"',
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-User: ?1",
    "Upgrade-Insecure-Requests: 1",
    f"User-Agent: {USER_AGENT}",
]
THREE_COOKIES = f"session={'6f1d2c3b' * 4}; theme=dark; _ga=GA1.1.1234567890.1700000000"


@dataclass(frozen=True)
class Case:
    title: str
    path: str
    browser: bool
    connections: int
    more: tuple[str, ...] = ()


# The request of a browser. It has the most rounds, since the other cases are compared with it.
MAIN = Case("1 KB, a browser's headers and three cookies", "/1k", browser=True, connections=64)
CASES = (
    MAIN,
    Case("1 KB, minimal headers", "/1k", browser=False, connections=64),
    Case("100 KB, a browser's headers", "/100k", browser=True, connections=64),
    Case(
        "1 KB, a new connection per request",
        "/1k",
        browser=True,
        connections=64,
        more=("Connection: close",),
    ),
)
STREAM = Case("10 MB", "/10m", browser=True, connections=8)
STREAM_GB = 10_485_760 / 1e9
FEWER_ROUNDS = 2  # in the other cases
# The section of the README for each.
SECTIONS = {
    "forwarding": "bench-proxy",
    "forward-auth": "bench-proxy-forward-auth",
    "tls": "bench-proxy-tls",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=2)
    options.add_argument("--quick", action="store_true", help="one short round, writes nothing")
    options.add_argument(
        "--sections",
        default=",".join(SECTIONS),
        help=f"of {', '.join(SECTIONS)}, separated by commas; the default is all",
    )
    options.add_argument(
        "--only",
        help="names of contenders in `forwarding`, separated by commas; parts suffice; writes "
        "nothing",
    )
    add_option(options)
    chosen = options.parse_args()
    sections = chosen.sections.split(",")
    if unknown := set(sections) - set(SECTIONS):
        options.error(f"--sections: {', '.join(sorted(unknown))}; expected {', '.join(SECTIONS)}")
    rounds, seconds = (1, 1) if chosen.quick else (chosen.rounds, chosen.seconds)
    fewer = max(rounds - FEWER_ROUNDS, 1)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        origin = contenders.start_origin(folder)
        stack.callback(origin.stop)
        address = origin.url.removeprefix("http://")
        for section in sections:
            match section:
                case "forwarding":
                    text = _forwarding(
                        origin,
                        folder,
                        only=chosen.only,
                        python=chosen.python,
                        rounds=rounds,
                        seconds=seconds,
                    )
                case "forward-auth":
                    text = _forward_auth(address, folder, rounds=fewer, seconds=seconds)
                case _:
                    text = _tls(address, folder, rounds=fewer, seconds=seconds)
            print(text, end="\n\n", flush=True)
            if not chosen.quick and not chosen.only:
                write_section(SECTIONS[section], text)


def _forwarding(
    origin: RunningProcess,
    folder: Path,
    *,
    only: str | None,
    python: str | None,
    rounds: int,
    seconds: int,
) -> str:
    fewer = max(rounds - FEWER_ROUNDS, 1)
    address = origin.url.removeprefix("http://")
    with ExitStack() as stack:
        proxies = []
        for start in contenders.ALL:
            if only and not any(word in start.__name__ for word in only.split(",")):
                continue
            proxies.append(start(address, folder))
            stack.callback(proxies[-1].stop)
        own, *others = interpreters(python)
        for other in others:
            proxies.insert(1, contenders.gatekeeper(address, folder, interpreter=other))
            stack.callback(proxies[1].stop)
        parts = [_introduction(rounds, fewer, seconds, [own, *others])]
        for case in CASES:
            count = rounds if case is MAIN else fewer
            parts.append(_case(case, proxies, rounds=count, seconds=seconds))
        parts.append(_differing(proxies, folder, rounds=fewer, seconds=seconds))
        parts.append(_stream(proxies, rounds=fewer, seconds=seconds))
        parts.append(_latency(origin, proxies, rounds=fewer, seconds=seconds, folder=folder))
        pair = []
        for workers in (1, 2):
            pair.append(contenders.gatekeeper(address, folder, workers=workers, core=None))
            stack.callback(pair[-1].stop)
        parts.append(_workers(pair, rounds=fewer, seconds=seconds))
    return "\n\n".join(parts)


def _headers(case: Case) -> list[str]:
    """The header fields of the case; the cookie always has a pass, which is verified."""
    cookie = f"gatekeeper={_pass()}"
    if case.browser:
        return [*BROWSER, f"Cookie: {THREE_COOKIES}; {cookie}", *case.more]
    return [f"Cookie: {cookie}", *case.more]


def _pass() -> str:
    now_s = time.time()
    return Tokens(Keyring([SECRET.encode()]), DEFAULT_ROOM).mint(
        Pass(
            room=DEFAULT_ROOM,
            visitor=new_visitor_id(),
            arrival_us=int(now_s * 1e6),
            issued_at_s=now_s + 3600,  # never due for renewal while the benchmark runs
            expires_at_s=now_s + 7200,
            ends_at_s=now_s + 7200,
        )
    )


def runs(
    case: Case, proxies: list[RunningProcess], *, rounds: int, seconds: int
) -> dict[str, list[load_generators.Cost]]:
    costs: dict[str, list[load_generators.Cost]] = {proxy.name: [] for proxy in proxies}
    headers = _headers(case)
    for number in range(rounds + 1):
        for proxy in proxies:
            # The first round warms up pools, caches and the allocator.
            length_s = seconds if number else 1
            cost = load_generators.wrk(
                proxy, case.path, headers=headers, connections=case.connections, seconds=length_s
            )
            if number:
                costs[proxy.name].append(cost)
    return costs


def _case(case: Case, proxies: list[RunningProcess], *, rounds: int, seconds: int) -> str:
    return _table_of(case.title, runs(case, proxies, rounds=rounds, seconds=seconds))


def _differing(proxies: list[RunningProcess], folder: Path, *, rounds: int, seconds: int) -> str:
    """Like `MAIN`, but all heads of requests and of responses differ."""
    costs: dict[str, list[load_generators.Cost]] = {proxy.name: [] for proxy in proxies}
    passes = differing_heads.write_passes(
        folder, lambda: f"gatekeeper={_pass()}", rounds=rounds + 1
    )
    for number in range(rounds + 1):
        for proxy in proxies:
            cost = differing_heads.wrk(
                proxy,
                passes,
                number=number,
                fields=BROWSER,
                cookies=THREE_COOKIES,
                seconds=seconds if number else 1,
            )
            if number:
                costs[proxy.name].append(cost)
    return _table_of("1 KB, heads of requests and responses that all differ", costs)


def _table_of(title: str, costs: dict[str, list[load_generators.Cost]]) -> str:
    cpu = {name: [c.cpu_us_per_request for c in runs] for name, runs in costs.items()}
    rate = {name: statistics.median(c.requests_per_s for c in runs) for name, runs in costs.items()}
    gates = [name for name in cpu if name.startswith("Gatekeeper")]
    rows = [
        [name, spread(cpu[name]), *(ratio(cpu[g], cpu[name]) for g in gates), f"{rate[name]:,.0f}"]
        for name in cpu
    ]
    head = ["", "CPU µs per request", *(f"{gate} as a ratio" for gate in gates), "requests/s"]
    return f"### {title}\n\n{table(head, rows)}"


def _stream(proxies: list[RunningProcess], *, rounds: int, seconds: int) -> str:
    costs = runs(STREAM, proxies, rounds=rounds, seconds=seconds)
    cpu = {n: [c.cpu_s / (c.requests * STREAM_GB) for c in runs] for n, runs in costs.items()}
    rows = [[name, spread(cpu[name]), ratio(cpu["Gatekeeper"], cpu[name])] for name in cpu]
    head = ["", "CPU seconds per GB", "Gatekeeper as a ratio"]
    return f"### 10 MB streams, 8 at a time\n\n{table(head, rows)}"


def _workers(pair: list[RunningProcess], *, rounds: int, seconds: int) -> str:
    """One worker and two, not pinned to a core."""
    shares: dict[str, list[float]] = {}
    costs: dict[str, list[load_generators.Cost]] = {}
    for number in range(rounds + 1):
        for gate in pair:
            before = gate.worker_cpu_s()
            cost = load_generators.wrk(
                gate, MAIN.path, headers=_headers(MAIN), connections=256, seconds=seconds
            )
            if number:
                costs.setdefault(gate.name, []).append(cost)
                spent_s = [gate.worker_cpu_s()[pid] - before[pid] for pid in before]
                shares.setdefault(gate.name, []).append(min(spent_s) / sum(spent_s))
    one, two = (costs[gate.name] for gate in pair)
    rows = [
        [
            gate.name,
            spread([c.cpu_us_per_request for c in costs[gate.name]]),
            f"{statistics.median(c.requests_per_s for c in costs[gate.name]):,.0f}",
            f"{statistics.median(c.cpu_s / c.wall_s for c in costs[gate.name]):.2f}",
            f"{statistics.median(shares[gate.name]):.0%}",
        ]
        for gate in pair
    ]
    rates = [(a.requests_per_s, b.requests_per_s) for a, b in zip(one, two, strict=True)]
    more = statistics.median(b / a for a, b in rates)
    head = ["", "CPU µs per request", "requests/s", "cores used", "share of the least busy worker"]
    return (
        "### Two workers on one port\n\nHere load and origin share the two cores with the gate, "
        "so two workers do not get two cores. The figures show whether a second core would double "
        "the throughput: the CPU time per request must stay the same, and both workers must get "
        f"an equal share. Requests/s with two workers: {more:.2f} times those of one.\n\n"
        + table(head, rows)
    )


def _forward_auth(origin: str, folder: Path, *, rounds: int, seconds: int) -> str:
    headers = _headers(MAIN)
    return forward_auth.section(origin, folder, headers=headers, rounds=rounds, seconds=seconds)


def _tls(origin: str, folder: Path, *, rounds: int, seconds: int) -> str:
    headers = _headers(MAIN)
    return tls_listeners.section(origin, folder, headers=headers, rounds=rounds, seconds=seconds)


def _latency(
    origin: RunningProcess,
    proxies: list[RunningProcess],
    *,
    rounds: int,
    seconds: int,
    folder: Path,
) -> str:
    headers = _headers(CASES[1])
    one: dict[str, list[dict[int, float]]] = {}
    fixed: dict[str, list[dict[int, float]]] = {}
    for _ in range(rounds):
        for target in (origin, *proxies):
            url = target.url + "/1k"
            one.setdefault(target.name, []).append(
                load_generators.latency_one_connection_us(url, headers=headers, seconds=seconds)
            )
            fixed.setdefault(target.name, []).append(
                load_generators.latency_fixed_rate_us(
                    url, headers=headers, rate_per_s=1000, seconds=seconds, folder=folder
                )
            )

    def added(runs: dict[str, list[dict[int, float]]], name: str, percent: int) -> str:
        median = statistics.median(run[percent] for run in runs[name])
        return f"{median - statistics.median(run[percent] for run in runs['origin']):.0f}"

    rows = [
        [proxy.name, *(added(runs, proxy.name, p) for runs in (one, fixed) for p in (50, 99))]
        for proxy in proxies
    ]
    head = ["", "1 connection: p50", "p99", "1,000 requests/s: p50", "p99"]
    return f"### Added latency, µs above a direct request to the origin\n\n{table(head, rows)}"


def spread(values: list[float]) -> str:
    digits = 3 if statistics.median(values) < 5 else 1
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def ratio(ours: list[float], theirs: list[float]) -> str:
    """The median of the ratios of each round, so that a slow period affects both."""
    return f"{statistics.median(a / b for a, b in zip(ours, theirs, strict=True)):.2f}"


def _introduction(rounds: int, fewer: int, seconds: int, pythons: list[Interpreter]) -> str:
    commands = {
        "nginx": ["nginx", "-v"],
        "HAProxy": ["haproxy", "-v"],
        "Caddy": [contenders.program("caddy"), "version"],
        "Envoy": [contenders.envoy_program(), "--version"],
    }
    versions = []
    for name, command in commands.items():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = (line.strip() for line in (done.stdout + done.stderr).splitlines())
        line = next(line for line in lines if line)
        versions.append(f"{name} `{line.replace(command[0] + ' ', '')}`")
    versions.append(f"aiohttp {version('aiohttp')} and uvloop {version('uvloop')}")
    versions += [each.build for each in pythons]
    return (
        f"Written by `make bench-proxy`: {rounds} rounds of {seconds} s, {fewer} for the other "
        "cases, 64 connections. Figures are medians with the lowest and highest round. A ratio "
        "below 1 means that Gatekeeper costs less. "
        "Gatekeeper verifies the pass in the cookie (cached by its bytes); its figure includes "
        "all its processes: supervisor, worker, store and events. "
        "Where all heads differ, each visitor sends 20 requests with a pass of its own, from one "
        "address. "
        f"Versions: {'; '.join(versions)}."
    )


if __name__ == "__main__":
    main()
