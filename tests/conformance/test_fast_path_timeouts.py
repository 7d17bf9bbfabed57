"""Timeouts and bounds of the fast path, with a simulated clock and transports."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from gatekeeper.errors import OriginError, OriginProtocolError, OriginTimeout
from gatekeeper.proxy.fastpath.client_connection import ClientConnection
from gatekeeper.proxy.fastpath.plain_head import MAX_PLAIN_BYTES
from gatekeeper.proxy.fastpath.server import FastPathServer
from gatekeeper.proxy.upstream import OriginConnection

IDLE_S, CLIENT_S, ORIGIN_S = 75.0, 60.0, 50.0
GET = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@dataclass(eq=False)
class Timer:
    at_s: float
    call: Callable[[], object]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """Replaces the loop's clock; `advance` runs the timers that are due."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        self.timers.append(Timer(self.now_s + delay_s, call))
        return self.timers[-1]

    def advance(self, by_s: float) -> None:
        end_s = self.now_s + by_s
        while due := [timer for timer in self.timers if timer.at_s <= end_s]:
            timer = min(due, key=lambda timer: timer.at_s)
            self.timers.remove(timer)
            self.now_s = max(self.now_s, timer.at_s)
            if not timer.cancelled:
                timer.call()
        self.now_s = end_s


@dataclass
class Transport:
    """Records the calls to it."""

    written: bytes = b""
    unread: int = 0
    reading: bool = True
    ended: str = ""  # or "closed", "aborted"
    protocol: object = None

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def set_protocol(self, protocol: object) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str) -> Any:
        return self if name == "socket" else ("192.0.2.1", 1)

    def fileno(self) -> int:
        return 9

    def setsockopt(self, *_: object) -> None:
        """As a socket: SO_LINGER is not needed."""


@dataclass
class Aiohttp:
    """The protocol that takes a connection over."""

    failure: OriginError | None = None
    taken: bytes = b""
    paused: bool = False

    def connection_made(self, _: object) -> None:
        assert self.taken == b""

    def pause_writing(self) -> None:
        self.paused = True

    def data_received(self, data: bytes) -> None:
        self.taken += data


class Plan:
    rest = b"\r\n"
    keep_alive = True
    may_add = False

    def on_response(self, status: int, *, seconds: float) -> None:
        """Count nothing."""


class AdmitAll:
    """Admits every request, known or not."""

    def __init__(self) -> None:
        self.recalled: list[bytes] = []

    def recall(self, data: bytes, _: str) -> Plan | None:
        self.recalled.append(data)
        return Plan() if data == GET else None

    def look(self, _: bytes, __: str) -> Plan:
        return Plan()


@dataclass
class FastPathScene:
    """One client connection on the fast path, with one idle connection to the origin."""

    clock: Clock = field(default_factory=Clock)
    client: Transport = field(default_factory=Transport)
    upstream: Transport = field(default_factory=Transport)
    aiohttp: Aiohttp = field(default_factory=Aiohttp)
    policy: AdmitAll = field(default_factory=AdmitAll)

    def __post_init__(self) -> None:
        self.origin = OriginConnection(read_timeout_s=ORIGIN_S, on_lost=lambda _: None)
        self.origin._loop = cast(Any, self.clock)
        self.origin.connection_made(cast(Any, self.upstream))
        self.server = FastPathServer(
            cast(Any, self),
            admission=cast(Any, self.policy),
            handler=cast(Any, lambda: self.aiohttp),
            idle_timeout_s=IDLE_S,
            client_timeout_s=CLIENT_S,
        )
        self.connection: ClientConnection = self.server()
        self.connection._loop = cast(Any, self.clock)
        self.connection.connection_made(cast(Any, self.client))

    def end(self) -> str:
        """How the client connection ended, if it did; a method, since mypy narrows attributes."""
        return self.client.ended

    def client_may_send(self) -> bool:
        return self.client.reading

    def origin_may_send(self) -> bool:
        return self.upstream.reading

    # As the pool

    def warm(self, _: float) -> OriginConnection:
        return self.origin

    def release(self, connection: OriginConnection) -> None:
        connection.finish()


@pytest.fixture
async def scene() -> FastPathScene:
    return FastPathScene()


OTHER = b"GET /other HTTP/1.1\r\nHost: shop.example\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "recalled"),
    [
        ([GET], [GET]),
        ([OTHER], [OTHER]),
        ([OTHER + GET], [OTHER + GET, OTHER, GET]),
        ([OTHER[:9], OTHER[9:]], [OTHER[:9], OTHER]),
    ],
    ids=["known", "unknown", "two heads", "in parts"],
)
async def test_known_plan_is_looked_for_once_in_the_same_bytes(
    scene: FastPathScene, pieces: list[bytes], recalled: list[bytes]
) -> None:
    for piece in pieces:
        scene.connection.data_received(piece)
    scene.origin.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert scene.policy.recalled == recalled


def _connections() -> int:
    return sum(isinstance(each, ClientConnection) for each in gc.get_objects())


async def test_closed_connection_is_freed_without_the_garbage_collector(
    scene: FastPathScene,
) -> None:
    """Many connections serve one request: left to the collector, they cost more than that."""
    gc.disable()
    try:
        scene.connection.data_received(GET)
        scene.origin.data_received(BEGUN)
        scene.connection.abort()
        scene.connection.connection_lost(None)
        scene.clock.advance(IDLE_S)  # past the timers that were cancelled
        before = _connections()
        del scene.connection
        assert _connections() == before - 1
    finally:
        gc.enable()


async def test_client_pause_suspends_origin_timeout(scene: FastPathScene) -> None:
    scene.connection.data_received(GET)
    scene.origin.data_received(BEGUN)
    scene.client.unread = 100_000
    scene.connection.pause_writing()
    assert not scene.origin_may_send()
    scene.clock.advance(ORIGIN_S + 9)
    assert scene.end() == ""
    scene.client.unread = 0
    scene.connection.resume_writing()
    assert scene.origin_may_send()
    scene.clock.advance(ORIGIN_S - 1)
    assert scene.end() == ""
    scene.clock.advance(ORIGIN_S)
    assert scene.end() == "aborted"  # now the origin was silent


async def test_slow_client_gets_full_timeout_after_idling(scene: FastPathScene) -> None:
    scene.clock.advance(IDLE_S - 1)
    scene.connection.data_received(GET)
    scene.origin.data_received(BEGUN)
    scene.client.unread = 100_000
    scene.connection.pause_writing()
    scene.clock.advance(CLIENT_S - 1)
    assert scene.end() == ""


async def test_slow_client_is_kept_and_stopped_client_dropped(
    scene: FastPathScene,
) -> None:
    scene.connection.data_received(GET)
    scene.origin.data_received(BEGUN)
    scene.client.unread = 100_000
    scene.connection.pause_writing()
    for _ in range(10):
        scene.client.unread -= 1
        scene.clock.advance(CLIENT_S)
        assert scene.end() == ""
    scene.clock.advance(2 * CLIENT_S)
    assert scene.end() == "aborted"


async def test_closed_connection_with_unread_bytes_times_out(scene: FastPathScene) -> None:
    scene.client.unread = 1
    scene.connection.close_if_idle()
    assert scene.end() == "closed"
    assert scene.connection in scene.server.connections  # the shutdown of the worker waits for it
    scene.clock.advance(CLIENT_S)
    assert scene.end() == "aborted"
    scene.connection.connection_lost(None)
    assert not scene.server.connections


async def test_lost_connection_leaves_no_timer(scene: FastPathScene) -> None:
    scene.client.unread = 1
    scene.connection.close_if_idle()
    scene.connection.connection_lost(None)
    assert all(timer.cancelled for timer in scene.clock.timers)


async def test_pipelining_beyond_limit_pauses_reading(scene: FastPathScene) -> None:
    scene.connection.data_received(GET + GET)
    scene.connection.data_received(GET * 10)
    assert scene.client_may_send()
    scene.connection.data_received(b"x" * MAX_PLAIN_BYTES)
    assert not scene.client_may_send()
    responses = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    scene.origin.data_received(responses)
    assert scene.client_may_send()  # a head was consumed: there is room for more
    for _ in range(11):
        scene.origin.data_received(responses)
    assert scene.client.written == responses * 12
    assert scene.client_may_send()
    assert scene.aiohttp.taken == b"x" * MAX_PLAIN_BYTES


async def test_idle_connection_keeps_nothing_of_a_request(scene: FastPathScene) -> None:
    scene.connection.data_received(GET)
    scene.origin.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    held = [getattr(scene.connection, name) for name in ("_head", "_received", "_partial_head")]
    assert held == [b"", b"", b""]
    assert (scene.connection._plan, scene.connection._body) == (None, None)


async def test_client_slow_at_interim_response_is_handed_over_paused(scene: FastPathScene) -> None:
    scene.connection.data_received(GET)
    scene.origin.data_received(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    scene.connection.pause_writing()
    scene.origin.data_received(b"nonsense\r\n\r\n")
    assert scene.aiohttp.taken == GET
    assert scene.aiohttp.paused
    assert isinstance(scene.aiohttp.failure, OriginError)


async def test_silent_origin_is_handed_over_as_timeout(scene: FastPathScene) -> None:
    scene.connection.data_received(GET + GET[:10])
    scene.clock.advance(ORIGIN_S)
    assert isinstance(scene.aiohttp.failure, OriginTimeout)
    assert scene.aiohttp.taken == GET + GET[:10]
    assert scene.client.protocol is scene.aiohttp


async def test_origin_closed_before_request_is_protocol_error(scene: FastPathScene) -> None:
    scene.origin.eof_received()
    scene.connection.data_received(GET)
    assert isinstance(scene.aiohttp.failure, OriginProtocolError)
    assert scene.upstream.written == b""


async def test_begun_head_that_is_not_plain_is_handed_over_at_once(scene: FastPathScene) -> None:
    scene.connection.data_received(b"GET / HTTP/1.1\r\nHost: a")
    assert scene.aiohttp.taken == b""
    scene.connection.data_received(b"\nX: b")
    assert scene.aiohttp.taken == b"GET / HTTP/1.1\r\nHost: a\nX: b"


async def test_connection_accepted_while_closing_is_closed(scene: FastPathScene) -> None:
    await scene.server.close(0.01)
    late = Transport()
    scene.server().connection_made(cast(Any, late))
    assert late.ended == "closed"
    assert not scene.server.connections
