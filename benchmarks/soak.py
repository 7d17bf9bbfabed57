"""Memory of idle connections, and correctness at saturation while the origin restarts.

    make bench-soak
    python -m benchmarks.soak --clients 1000 --seconds 10

Ten thousand idle clients, then a minute at saturation. Writes the section `bench-soak` of
`benchmarks/README.md`. Fails if a client received a response to another request, or if a connection
is left at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvloop

from benchmarks.readme_section import table, write_section
from gatekeeper.config.schema import DEFAULT_ROOM
from gatekeeper.policy.tokens import Keyring, Pass, Tokens, new_visitor_id
from tests.builders import SECRET
from tests.gates import GateProcess
from tests.integration.load.clients import NonceOrigin, Tally, client
from tests.integration.load.processes import clients_of, memory_bytes, open_files, workers_of
from tests.servers import eventually

_SPARE_FILES = 1000
_CONNECT_AT_ONCE = 200
_RESTART_EVERY_S = 5.0
_SETTLE_S = 3.0  # until the allocator and the connection pool are stable
_POOL_AGES_S = 10.0  # idle connections to the origin are closed after 4 s


@dataclass(frozen=True)
class Gate:
    port: int
    worker: int  # its process


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clients", type=int, default=10_000)
    options.add_argument("--seconds", type=int, default=60)
    options.add_argument("--busy", type=int, default=200, help="clients at saturation")
    chosen = options.parse_args()
    _raise_file_limit(chosen.clients + _SPARE_FILES)
    text = uvloop.run(_soak(chosen.clients, seconds=chosen.seconds, busy=chosen.busy))
    print(text)
    if chosen == options.parse_args([]):  # the figures of a full run only
        write_section("bench-soak", text)


def _raise_file_limit(files: int) -> None:
    """Raise the file limit of this process and of the gate that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < files:
        raise SystemExit(f"open files: the limit is {hard}; expected at least {files} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), hard))


async def _soak(clients: int, *, seconds: int, busy: int) -> str:
    cases = {
        "admitted, after a request": _request(),
        "the same, after a request outside the fast path": _request("TE: trailers"),
        "connected, without a request": b"",
    }
    async with NonceOrigin.running() as origin:
        rows = [
            await _idle(origin, clients, what, request=request) for what, request in cases.items()
        ]
        with _running_gate(origin) as gate:
            tally = await _saturate(gate, origin, seconds=seconds, busy=busy)
    introduction = (
        f"Written by `make bench-soak`: one worker with {clients:,} keep-alive connections, then "
        f"{seconds} s of {busy} clients that send requests without pause. Every "
        f"{_RESTART_EVERY_S:g} s the origin breaks all connections and is unreachable for 0.2 s. "
        "Each response has the nonce of its request."
    )
    saturation = (
        f"At saturation: {tally.right:,} correct responses "
        f"({tally.right / seconds:,.0f}/s, with clients and origin on the same two cores); "
        f"{tally.refused:,} responses with 502 or 504 and {tally.cut:,} broken connections while "
        "the origin was unreachable; no wrong response, and no connection left at the end."
    )
    memory = table(["connections", "memory per connection", "of the worker"], rows)
    return f"{introduction}\n\n{memory}\n\n{saturation}"


@contextmanager
def _running_gate(origin: NonceOrigin) -> Iterator[Gate]:
    port = _free_port()
    with GateProcess(_toml(origin.port, port=port)) as process:
        if len(process.ready_lines()) < 2:
            raise SystemExit(process.errors())
        yield Gate(port, workers_of(process.process.pid)[0])


async def _idle(origin: NonceOrigin, clients: int, what: str, *, request: bytes) -> list[str]:
    """A table row: the memory of each connection in a new worker."""
    with _running_gate(origin) as gate:
        # A few connections first, so that loaded and cached code is not counted.
        await _hold(gate, _CONNECT_AT_ONCE, request=request)
        before = memory_bytes(gate.worker)
        held = await _hold(gate, clients, request=request)
    each = (held - before) / clients
    return [what, f"{each / 1024:.1f} KiB", f"{held / 2**20:.0f} MiB"]


async def _hold(gate: Gate, clients: int, *, request: bytes) -> int:
    """The worker's memory while `clients` connections are open; closes them again."""
    limiter = asyncio.Semaphore(_CONNECT_AT_ONCE)

    async def connect() -> asyncio.StreamWriter:
        async with limiter, asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port, limit=2**13)
            if request:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(f"not admitted: {head!r}")
            return writer

    writers = await asyncio.gather(*(connect() for _ in range(clients)))
    await eventually(lambda: clients_of(gate.worker, port=gate.port) == clients, 30)
    await asyncio.sleep(_SETTLE_S)
    memory = memory_bytes(gate.worker)
    for writer in writers:
        writer.transport.abort()
    await eventually(lambda: clients_of(gate.worker, port=gate.port) == 0, 30)
    return memory


async def _saturate(gate: Gate, origin: NonceOrigin, *, seconds: int, busy: int) -> Tally:
    files = open_files(gate.worker)
    tally, stop = Tally(), asyncio.Event()
    tasks = [
        asyncio.create_task(client(gate.port, cookie=_cookie(), tally=tally, until=stop))
        for _ in range(busy)
    ]
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        await asyncio.sleep(min(_RESTART_EVERY_S, left_s))
        if end_s - time.monotonic() > 1:
            await origin.restart()
    stop.set()
    await asyncio.gather(*tasks)
    await asyncio.sleep(_POOL_AGES_S)
    left = open_files(gate.worker) - files
    if tally.faults or left > 0:
        raise SystemExit(f"{len(tally.faults)} faults, {left} open files left: {tally.faults[:5]}")
    return tally


def _toml(origin_port: int, *, port: int) -> str:
    return f"""
[server]
listen = "127.0.0.1:{port}"
workers = 1
[origin]
url = "http://127.0.0.1:{origin_port}"
[events]
url = "off"
[tokens]
secrets = ["{SECRET.decode()}"]
[admin]
listen = "127.0.0.1:{_free_port()}"
"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _cookie() -> str:
    now_s = time.time()
    pass_ = Pass(
        room=DEFAULT_ROOM,
        visitor=new_visitor_id(),
        arrival_us=int(now_s * 1e6),
        issued_at_s=now_s + 3600,  # never due for renewal while this runs
        expires_at_s=now_s + 7200,
        ends_at_s=now_s + 7200,
    )
    return f"gatekeeper={Tokens(Keyring([SECRET]), DEFAULT_ROOM).mint(pass_)}"


def _request(*fields: str) -> bytes:
    head = [f"GET /{secrets.token_hex(8)}/0 HTTP/1.1", "Host: shop.example", f"Cookie: {_cookie()}"]
    return "\r\n".join([*head, *fields, "", ""]).encode()


if __name__ == "__main__":
    main()
