"""Clients that send requests without end and read nothing, and a well-behaved client next to
them."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from gatekeeper.process import worker
from gatekeeper.proxy import own_response
from gatekeeper.proxy.fastpath import client_connection, deadlines
from gatekeeper.proxy.plain_head import MAX_PLAIN_BYTES
from tests.conformance.gate_pair import Stage, running_stage, visitor_request
from tests.integration.proxy.forwarding import OK, responding

LIMIT_S = 0.5
ATTACK_S = 2.0
MAX_CPU_S = 0.6  # of the gate while the other client waits; many seconds with the fault
READ_BYTES = 262_144
HEALTH = b"GET /.gatekeeper/health HTTP/1.1\r\nHost: shop.example\r\n\r\n"
OPTIONS = HEALTH.replace(b"GET", b"PUT")  # served by aiohttp
GET = visitor_request(b"GET /")


@dataclass
class Attack:
    """Sends as much as the gate reads, over one connection after the other, from a thread."""

    port: int
    request: bytes
    ended: int = 0  # connections that the gate ended
    sent: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            with socket.socket() as client, suppress(ConnectionError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(("127.0.0.1", self.port))
                client.settimeout(0.05)
                self._send(client)
                continue
            self.ended += 1

    def _send(self, client: socket.socket) -> None:
        while not self.stop.is_set():
            with suppress(TimeoutError):
                self.sent += client.send(self.request * 50)


@contextmanager
def running(attack: Attack) -> Iterator[None]:
    thread = threading.Thread(target=attack.run)
    thread.start()
    try:
        yield
    finally:
        attack.stop.set()
        thread.join()


def kept_bytes(stage: Stage) -> int:
    """The maximum of bytes that the gate holds of one client's data."""
    assert stage.worker._fast_path is not None
    assert stage.worker._server is not None
    kept = [len(each._received) for each in stage.worker._fast_path.connections]  # type: ignore[attr-defined]
    kept += [len(each._backlog) for each in stage.worker._server.connections]  # type: ignore[attr-defined]
    return max(kept, default=0)


@pytest.mark.parametrize("request_", [HEALTH, OPTIONS, GET], ids=["own", "aiohttp", "forwarded"])
async def test_endless_requests_delay_no_other_client_and_end(
    request_: bytes, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (worker, own_response, client_connection, deadlines):
        monkeypatch.setattr(module, "WRITE_TIMEOUT_S", LIMIT_S)
    async with running_stage(
        responding(OK), store_url=store_url, fast_path=True, origin_toml='read_timeout = "500ms"'
    ) as stage:
        for listener in stage.worker._listeners[0].sockets:  # accepted connections inherit this
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        attack = Attack(stage.worker.port, request_)
        slowest_s, most_kept = 0.0, 0
        with running(attack):
            end_s = time.monotonic() + ATTACK_S
            while time.monotonic() < end_s or (not attack.ended and time.monotonic() < end_s + 30):
                wire = await stage.connect()
                began_s = time.thread_time()
                wire.send(GET)
                assert (await wire.message()).status == 200
                slowest_s = max(slowest_s, time.thread_time() - began_s)
                most_kept = max(most_kept, kept_bytes(stage))
                wire.close()
                await asyncio.sleep(0.02)
        assert slowest_s < MAX_CPU_S
        assert most_kept <= 2 * (MAX_PLAIN_BYTES + READ_BYTES)
        assert attack.ended > 0
        assert attack.sent > 0
