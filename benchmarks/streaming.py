"""The cost of a waiting visitor on an event stream, compared with polls.

    make bench-stream           about four minutes
    python -m benchmarks.streaming --quick

The same queue at one worker, twice: first each visitor polls at the reported interval on a
connection kept open, then each is on a stream. Visitors at the front are released every second, so
that all others receive updates. Bytes are those that the gate sends and receives; memory is the
growth of its worker; CPU is that of the worker and of the store. All figures are for one waiting
visitor; bytes and CPU are per minute.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvloop

from benchmarks.readme_section import table, write_section
from benchmarks.rig import Rig, cpu_s, running_rig
from tests.integration.load.processes import memory_bytes

MAX_AHEAD = 4_000  # visitors ahead of all measured ones; they are released one by one
_MAX_CONCURRENT = 50
_HEAD_END = b"\r\n\r\n"
_ADMISSION = """\
rate = "{rate}/min"
burst = 1
claim_timeout = "1h"
confirm_timeout = "1h"
heartbeat_timeout = "90s"
[waiting]
updates = "{updates}"
"""


@dataclass(frozen=True)
class Cost:
    """The cost of one waiting visitor: bytes and CPU per minute, and memory."""

    sent_bytes: float
    received_bytes: float
    gate_us: float
    store_us: float
    memory_bytes: float


class WaitingVisitor:
    """One visitor on one connection, like the waiting page in a browser."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self.cookie = ""
        self.poll_interval_s = 30.0
        self.sent = self.received = 0

    async def arrive(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        head, _ = await self._request("/tickets", "text/html")
        cookie = next(line for line in head.split("\r\n") if line.lower().startswith("set-cookie"))
        self.cookie = cookie.partition(": ")[2].partition(";")[0]

    async def poll(self) -> None:
        head, body = await self._request("/.gatekeeper/status", "application/json")
        status = json.loads(body)
        if status["state"] != "waiting":
            raise SystemExit(f"a measured visitor no longer waits: {status}")
        self.poll_interval_s = status["refresh_seconds"]
        for line in head.split("\r\n"):
            if line.lower().startswith("set-cookie"):
                self.cookie = line.partition(": ")[2].partition(";")[0]

    async def open_stream(self) -> None:
        self._send("/.gatekeeper/status", "text/event-stream")
        head = await self._reader.readuntil(_HEAD_END)
        if b"text/event-stream" not in head:
            raise SystemExit(f"the response is not a stream: {head.decode()}")
        self.received += len(head)

    async def read_stream(self) -> None:
        """Read the stream until the caller cancels. Exits if the stream ends."""
        while data := await self._reader.read(65536):
            self.received += len(data)
        raise SystemExit("a stream ended")

    def close(self) -> None:
        self._writer.close()

    def _send(self, path: str, accept: str) -> None:
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nAccept: {accept}\r\n"
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0\r\n"
            "Accept-Language: de-DE,de;q=0.9,en;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\n"
            f"Cookie: {self.cookie or 'theme=dark'}\r\n\r\n"
        ).encode()
        self._writer.write(request)
        self.sent += len(request)

    async def _request(self, path: str, accept: str) -> tuple[str, bytes]:
        self._send(path, accept)
        head = await self._reader.readuntil(_HEAD_END)
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        body = await self._reader.readexactly(int(length))
        self.received += len(head) + len(body)
        return head.decode(), body


async def measured(updates: str, *, waiting: int, seconds: float, rate: int) -> Cost:
    admission = _ADMISSION.format(rate=rate, updates=updates)
    async with running_rig(1, admission=admission) as rig:
        await rig.admin("POST", "/admin/mode?mode=hold")
        at = urlsplit(rig.urls[0])
        assert at.hostname is not None
        assert at.port is not None
        front = [WaitingVisitor(at.hostname, at.port) for _ in range(min(MAX_AHEAD, waiting * 2))]
        await _run_bounded([_line_up_and_disconnect(each) for each in front])
        [worker] = rig.workers()
        empty_bytes = memory_bytes(worker)
        visitors = [WaitingVisitor(at.hostname, at.port) for _ in range(waiting)]
        await _run_bounded([each.arrive() for each in visitors])
        if updates == "stream":
            await _run_bounded([each.open_stream() for each in visitors])
        else:
            await _run_bounded([each.poll() for each in visitors])
        grown_bytes = memory_bytes(worker) - empty_bytes
        await rig.admin("POST", "/admin/mode?mode=auto")
        return await _measure_cost(
            rig, visitors, updates=updates, seconds=seconds, grown_bytes=grown_bytes
        )


async def _measure_cost(
    rig: Rig, visitors: Sequence[WaitingVisitor], *, updates: str, seconds: float, grown_bytes: int
) -> Cost:
    for visitor in visitors:
        visitor.sent = visitor.received = 0
    [worker] = rig.workers()
    began_s, gate_s, store_s = time.monotonic(), cpu_s(worker), cpu_s(rig.store_pid)
    try:
        async with asyncio.timeout(seconds):
            if updates == "stream":
                await asyncio.gather(*(each.read_stream() for each in visitors))
            else:
                await _poll_at_interval(visitors)
    except TimeoutError:
        pass
    minutes = (time.monotonic() - began_s) / 60 * len(visitors)
    gate_s, store_s = cpu_s(worker) - gate_s, cpu_s(rig.store_pid) - store_s
    for visitor in visitors:
        visitor.close()
    return Cost(
        sent_bytes=sum(each.received for each in visitors) / minutes,
        received_bytes=sum(each.sent for each in visitors) / minutes,
        gate_us=gate_s * 1e6 / minutes,
        store_us=store_s * 1e6 / minutes,
        memory_bytes=grown_bytes / len(visitors),
    )


async def _poll_at_interval(visitors: Sequence[WaitingVisitor]) -> None:
    """Poll for each visitor at the last reported interval; the first polls are evenly spread."""
    loop = asyncio.get_running_loop()
    now_s, count = loop.time(), len(visitors)
    due = [(now_s + each.poll_interval_s * at / count, at) for at, each in enumerate(visitors)]
    heapq.heapify(due)
    while True:
        at_s, at = heapq.heappop(due)
        if (left_s := at_s - loop.time()) > 0:
            await asyncio.sleep(left_s)
        await visitors[at].poll()
        heapq.heappush(due, (max(at_s, loop.time() - 1) + visitors[at].poll_interval_s, at))


async def _line_up_and_disconnect(visitor: WaitingVisitor) -> None:
    await visitor.arrive()
    await visitor.poll()  # returns the ticket
    visitor.close()


async def _run_bounded(work: Sequence[object]) -> None:
    limiter = asyncio.Semaphore(_MAX_CONCURRENT)

    async def one(each: object) -> None:
        async with limiter:
            await each  # type: ignore[misc]

    await asyncio.gather(*(one(each) for each in work))


def text_of(found: dict[str, dict[str, Cost]], *, waiting: int, seconds: float) -> str:
    rows = []
    for where, costs in found.items():
        for updates, cost in costs.items():
            rows.append(
                [
                    f"{where}, {updates}",
                    f"{cost.sent_bytes:,.0f}",
                    f"{cost.received_bytes:,.0f}",
                    f"{cost.gate_us:,.0f}",
                    f"{cost.store_us:,.0f}",
                    f"{cost.memory_bytes / 1024:,.1f}",
                ]
            )
    head = [
        "",
        "bytes from the gate",
        "bytes to the gate",
        "CPU of the gate, µs",
        "CPU of the store, µs",
    ]
    head.append("memory, KiB")
    return f"""\
Written by `make bench-stream`: {waiting:,} waiting visitors at one worker for {seconds:.0f} s, \
with releases ahead of them all the time. Each polls at the reported interval on a connection kept \
open (poll), or is on a stream. Figures are per waiting visitor and minute, without TLS; memory is \
the growth of the worker per visitor.

{table(head, rows)}"""


RATES = {"far back": 300, "close to the front": 6_000}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="a short run, writes nothing")
    chosen = options.parse_args()
    waiting, seconds = (500, 8.0) if chosen.quick else (2_000, 30.0)
    found = {
        where: {
            updates: uvloop.run(measured(updates, waiting=waiting, seconds=seconds, rate=rate))
            for updates in ("poll", "stream")
        }
        for where, rate in RATES.items()
    }
    text = text_of(found, waiting=waiting, seconds=seconds)
    print(text)
    if not chosen.quick:
        write_section("bench-stream", text)


if __name__ == "__main__":
    main()
