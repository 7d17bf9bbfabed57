"""The cost of a poll and of an arrival: Gatekeeper compared with a simple implementation.

    make bench-poll             about two minutes
    python benchmarks/poll.py --quick
    make bench-poll ARGS='--python PROGRAM'     both on another interpreter as well

Both serve one queue of 70,000 visitors in the same store, in turn, round after round, each as one
process on core 0. Load and store are on core 1. Each request is from another visitor. The main
figure is CPU time per request; that of the store is separate. Writes the section `bench-poll` of
`benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import os
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import contenders
from contenders import LOAD_CORE, SECRET, RunningProcess
from interpreters import Interpreter, add_option, interpreters
from readme_section import table, write_section

from gatekeeper.config.load import load_config
from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Keyring, Ticket, Tokens, VisitorId, new_visitor_id
from gatekeeper.process.embedded import store_command
from gatekeeper.process.embedded_process import launched
from gatekeeper.room.queue import Queue
from gatekeeper.room.store import RedisStore
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest

WAITING = 70_000  # more than the number of verified tokens in a gate's cache
CONNECTIONS = 64
TARGETS = {"poll": 0.14, "renewal": 0.20, "arrival": 0.25}
_RUN_MARGIN_S = 30
_START_S = 15.0

# The queue does not move during the measurement: releases and sweeps have their own costs.
ROOM = """
[admission]
rate = "1/h"
burst = 1
confirm_timeout = "1h"
heartbeat_timeout = "2h"
[waiting]
status = 200
"""


@dataclass(frozen=True)
class Case:
    title: str
    target: float
    path: str
    headers: tuple[str, ...]
    issued_ago_s: float | None  # age of the tickets; None: newcomers


BROWSER_FIELDS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36",
    "Accept-Language: de-DE,de;q=0.9,en;q=0.8",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Sec-Fetch-Site: same-origin",
)
POLL_FIELDS = ("Accept: application/json", "Sec-Fetch-Mode: cors", *BROWSER_FIELDS)
NAVIGATION_FIELDS = (
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Sec-Fetch-Mode: navigate",
    *BROWSER_FIELDS,
)
STATUS = "/.gatekeeper/status"
CASES = (
    Case("Poll, with a recent ticket", TARGETS["poll"], STATUS, POLL_FIELDS, issued_ago_s=0),
    Case(
        "Poll, with a ticket due for renewal",
        TARGETS["renewal"],
        STATUS,
        POLL_FIELDS,
        issued_ago_s=180,
    ),
    Case(
        "Arrival, with the waiting page",
        TARGETS["arrival"],
        "/tickets",
        NAVIGATION_FIELDS,
        issued_ago_s=None,
    ),
)


@dataclass(frozen=True)
class Cost:
    requests: int
    gate_us: float
    store_us: float
    per_s: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--seconds", type=int, default=2)
    options.add_argument("--quick", action="store_true", help="short rounds, writes nothing")
    options.add_argument("--hold", action="store_true", help="print the URLs first, for a profiler")
    add_option(options)
    chosen = options.parse_args()
    rounds, seconds = (2, 1) if chosen.quick else (chosen.rounds, chosen.seconds)
    with tempfile.TemporaryDirectory(prefix="gk-") as name, ExitStack() as stack:
        folder = Path(name)
        store = start_store(folder)
        stack.callback(store.stop)
        pythons = interpreters(chosen.python)
        configs = {each: write_config(store, folder) for each in pythons}
        room = load_config(configs[pythons[0]][0], environ={}).rooms[0]
        line = asyncio.run(fill(store.url, room))
        pairs = [start_pair(each, *configs[each], store, folder, stack) for each in pythons]
        if chosen.hold:
            print(*(process.url for pair in pairs for process in pair.processes))
        parts = [_intro(rounds, seconds, pairs[0])]
        for case in CASES:
            load = lua_of(case, line, folder)
            for pair in pairs:
                costs = measure(case, load, pair.processes, store, rounds=rounds, seconds=seconds)
                parts.append(_section(case, costs, pair))
        text = "\n\n".join(parts)
    print(text)
    if not chosen.quick:
        write_section("bench-poll", text)


@dataclass(frozen=True)
class Pair:
    """The gate and the simple implementation on one interpreter."""

    gate: RunningProcess
    simple: RunningProcess
    interpreter: Interpreter

    @property
    def processes(self) -> tuple[RunningProcess, RunningProcess]:
        return self.gate, self.simple


def write_config(store: RunningProcess, folder: Path) -> tuple[Path, int]:
    """The configuration of a gate, and its port."""
    port, admin = contenders.free_port(), contenders.free_port()
    config = folder / f"gatekeeper-{port}.toml"
    config.write_text(f"""
[server]
listen = "127.0.0.1:{port}"
[store]
url = "{store.url}"
[tokens]
secrets = ["{SECRET}"]
[admin]
listen = "127.0.0.1:{admin}"
{ROOM}""")
    return config, port


def start_pair(
    interpreter: Interpreter,
    config: Path,
    port: int,
    store: RunningProcess,
    folder: Path,
    stack: ExitStack,
) -> Pair:
    python = interpreter.program
    serve = [python, "-P", "-m", "gatekeeper.cli", "serve", "-c", str(config)]
    state = {"GATEKEEPER_STATE_DIR": str(folder / f"state-{port}")}
    gate = contenders.start_process("Gatekeeper", serve, port, folder, environment=state)
    stack.callback(gate.stop)
    port = contenders.free_port()
    script = Path(__file__).with_name("simple_gate.py")
    command = [python, str(script), store.url, str(config), str(port)]
    simple = contenders.start_process("simple implementation", command, port, folder)
    stack.callback(simple.stop)
    return Pair(gate, simple, interpreter)


def start_store(folder: Path) -> RunningProcess:
    """Start a store on the load core."""
    address = folder / "store.sock"
    with (folder / "store.log").open("wb") as log:
        process = subprocess.Popen(
            launched(store_command(address)),
            cwd=folder,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CORE}),
        )
    deadline = time.monotonic() + _START_S
    while not address.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit((folder / "store.log").read_text()[-2000:])
        time.sleep(0.02)
    return RunningProcess("store", f"unix://{address}", process)


async def fill(url: str, room: RoomConfig) -> list[tuple[VisitorId, int]]:
    """Fill the queue with `WAITING` visitors; returns their ids and arrivals."""
    store = RedisStore(url, timeout_s=5)
    state: list[object] = []
    queue = Queue(
        store, Rules.of(room), replica="fill", on_state=state.append, newest_known=lambda: None
    )
    await queue.join(starting=True)
    line: list[tuple[VisitorId, int]] = []
    while len(line) < WAITING:
        visitors = [new_visitor_id() for _ in range(1000)]
        standings = await asyncio.gather(*map(queue.arrive, map(ArrivalRequest, visitors)))
        newcomers = [
            PollRequest(visitor, standing.turn_us, has_pass=False)
            for visitor, standing in zip(visitors, standings, strict=True)
            if isinstance(standing, QueuePosition)
        ]
        await asyncio.gather(*map(queue.poll, newcomers))  # each returns the ticket
        line += [(each.visitor, each.turn_us) for each in newcomers]
    await store.close()
    return line


def lua_of(case: Case, line: list[tuple[VisitorId, int]], folder: Path) -> Path:
    """A script for wrk: every request has the token of the next visitor."""
    fields = "".join(f"headers[{name!r}] = {value!r}\n" for name, value in _pairs(case.headers))
    script = folder / "load.lua"
    if case.issued_ago_s is None:
        script.write_text(f"local headers = {{}}\n{fields}wrk.headers = headers\n")
        return script
    now_s = time.time() - case.issued_ago_s
    tokens = Tokens(Keyring([SECRET.encode()]), RoomConfig().name)
    minted = folder / "tokens"
    with minted.open("w") as file:
        for visitor, arrival_us in line:
            ticket = Ticket(RoomConfig().name, visitor, arrival_us, now_s, now_s + 3600)
            file.write(tokens.mint(ticket) + "\n")
    # Recent tickets fit in the cache of verified tokens, like those of one poll interval.
    most = 20_000 if case.issued_ago_s == 0 else WAITING
    script.write_text(f"""
local tokens, next_ = {{}}, 0
for token in io.lines({str(minted)!r}) do
  if #tokens == {most} then break end
  tokens[#tokens + 1] = token
end
local headers = {{}}
{fields}
request = function()
  next_ = next_ % #tokens + 1
  headers['Cookie'] = 'gatekeeper=' .. tokens[next_]
  return wrk.format('GET', {case.path!r}, headers)
end
""")
    return script


def measure(
    case: Case,
    script: Path,
    gates: tuple[RunningProcess, ...],
    store: RunningProcess,
    *,
    rounds: int,
    seconds: int,
) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {gate.name: [] for gate in gates}
    for number in range(rounds + 1):
        for gate in gates:
            # The first round warms up and sends every ticket once.
            cost = run(gate, store, case, script, seconds=seconds)
            if number:
                costs[gate.name].append(cost)
    return costs


def run(
    gate: RunningProcess, store: RunningProcess, case: Case, script: Path, *, seconds: int
) -> Cost:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s"]
    before = gate.cpu_s(), store.cpu_s()
    output = subprocess.run(
        [*command, "-s", str(script), gate.url + case.path],
        check=True,
        capture_output=True,
        text=True,
        timeout=seconds + _RUN_MARGIN_S,
        preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CORE}),
    ).stdout
    gate_s, store_s = gate.cpu_s() - before[0], store.cpu_s() - before[1]
    done = re.search(r"(\d+) requests in ([\d.]+)s", output)
    if done is None or "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"{gate.name} failed under load:\n{output}")
    count = int(done[1])
    return Cost(count, gate_s * 1e6 / count, store_s * 1e6 / count, count / float(done[2]))


def page_bytes(gate: RunningProcess) -> int:
    """The length of the compressed page. Exits if the response is not a page."""
    headers = dict(_pairs(NAVIGATION_FIELDS)) | {"Accept-Encoding": "gzip"}
    with urllib.request.urlopen(urllib.request.Request(gate.url, headers=headers)) as response:
        body = response.read()
    if b"<html" not in gzip.decompress(body):
        raise SystemExit(f"{gate.name}: the response is not an HTML page")
    return len(body)


def _section(case: Case, costs: dict[str, list[Cost]], pair: Pair) -> str:
    gate = {name: [cost.gate_us for cost in runs] for name, runs in costs.items()}
    rows = [
        [
            name,
            _spread(gate[name]),
            _ratio(gate[name], gate[pair.simple.name]),
            _spread([cost.store_us for cost in runs]),
            f"{statistics.median(cost.per_s for cost in runs):,.0f}",
        ]
        for name, runs in costs.items()
    ]
    assert rows[0][0] == pair.gate.name
    title = f"{case.title}, {pair.interpreter.name} (target: {case.target:.2f})"
    head = ["", "CPU µs per request", "as a ratio", "store µs", "requests/s"]
    return f"### {title}\n\n{table(head, rows)}"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _ratio(ours: list[float], theirs: list[float]) -> str:
    """The median of the ratios of each round."""
    return f"{statistics.median(a / b for a, b in zip(ours, theirs, strict=True)):.2f}"


def _pairs(headers: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (header.partition(": ") for header in headers)]


def _intro(rounds: int, seconds: int, pair: Pair) -> str:
    ours, simple = map(page_bytes, pair.processes)
    return f"""\
Written by `make bench-poll`: a queue of {WAITING:,} in one store, {rounds} rounds of {seconds} s \
for each in turn, {CONNECTIONS} connections, each request of another visitor. Figures are medians \
with the lowest and highest round; the ratio is taken for each round. The simple implementation is \
an aiohttp application on uvloop with one EVALSHA per request through redis-py, PyJWT, and JSON or \
a compressed template. The figure of Gatekeeper includes supervisor, worker, admin listener and \
events. The compressed page has {ours:,} bytes (simple implementation: {simple:,})."""


if __name__ == "__main__":
    main()
