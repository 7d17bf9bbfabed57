"""The lane's own time-outs and bounds, with a clock and transports of the test."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from gatekeeper.errors import OriginError, OriginProtocolError, OriginTimeout
from gatekeeper.proxy.context import Fields
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
    """Stands in for the loop where time is told; `advance` runs what falls due."""

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
    """Remembers what was done to it."""

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

    def setsockopt(self, *_: object) -> None:
        """As a socket: it is to linger for nothing."""


@dataclass
class Aiohttp:
    """What takes a connection over."""

    failure: OriginError | None = None
    taken: bytes = b""
    paused: bool = False

    def connection_made(self, _: object) -> None:
        assert self.taken == b""

    def pause_writing(self) -> None:
        self.paused = True

    def data_received(self, data: bytes) -> None:
        self.taken += data


class Pass:
    rest = b"\r\n"
    keep_alive = True

    def command(self, _: str) -> Fields:
        return ()

    def on_response(self, status: int, *, seconds: float) -> None:
        """Nothing to count."""


class Everybody:
    """Lets everybody in, whether it knows them or not."""

    def recall(self, data: bytes, _: str) -> Pass | None:
        return Pass() if data == GET else None

    def look(self, _: bytes, __: str) -> Pass:
        return Pass()


@dataclass
class Scene:
    """One client's connection in the lane, with one warm connection to the origin."""

    clock: Clock = field(default_factory=Clock)
    client: Transport = field(default_factory=Transport)
    upstream: Transport = field(default_factory=Transport)
    aiohttp: Aiohttp = field(default_factory=Aiohttp)

    def __post_init__(self) -> None:
        self.origin = OriginConnection(read_timeout_s=ORIGIN_S, on_lost=lambda _: None)
        self.origin._loop = cast(Any, self.clock)
        self.origin.connection_made(cast(Any, self.upstream))
        self.lane = FastPathServer(
            cast(Any, self),
            admission=cast(Any, Everybody()),
            handler=cast(Any, lambda: self.aiohttp),
            idle_timeout_s=IDLE_S,
            client_timeout_s=CLIENT_S,
        )
        self.connection: ClientConnection = self.lane()
        self.connection._loop = cast(Any, self.clock)
        self.connection.connection_made(cast(Any, self.client))

    def end(self) -> str:
        """How the client's connection ended, if it did; methods, since mypy trusts attributes."""
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
async def scene() -> Scene:
    return Scene()


async def test_an_origin_is_not_blamed_for_a_pause_that_the_client_asked_for(scene: Scene) -> None:
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
    assert scene.end() == "aborted"  # now it was the origin that was silent


async def test_a_slow_client_has_its_whole_time_however_long_it_was_there(scene: Scene) -> None:
    scene.clock.advance(IDLE_S - 1)
    scene.connection.data_received(GET)
    scene.origin.data_received(BEGUN)
    scene.client.unread = 100_000
    scene.connection.pause_writing()
    scene.clock.advance(CLIENT_S - 1)
    assert scene.end() == ""


async def test_a_client_that_takes_little_is_kept_and_one_that_takes_nothing_is_dropped(
    scene: Scene,
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


async def test_a_connection_closed_with_bytes_unread_is_not_kept_for_ever(scene: Scene) -> None:
    scene.client.unread = 1
    scene.connection.close_if_idle()
    assert scene.end() == "closed"
    assert scene.connection in scene.lane.connections  # the end of the worker waits for it
    scene.clock.advance(CLIENT_S)
    assert scene.end() == "aborted"
    scene.connection.connection_lost(None)
    assert not scene.lane.connections


async def test_a_connection_that_is_gone_leaves_no_timer(scene: Scene) -> None:
    scene.client.unread = 1
    scene.connection.close_if_idle()
    scene.connection.connection_lost(None)
    assert all(timer.cancelled for timer in scene.clock.timers)


async def test_a_client_may_pipeline_only_so_much_before_it_has_to_wait(scene: Scene) -> None:
    scene.connection.data_received(GET + GET)
    scene.connection.data_received(GET * 10)
    assert scene.client_may_send()
    scene.connection.data_received(b"x" * MAX_PLAIN_BYTES)
    assert not scene.client_may_send()
    answers = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    scene.origin.data_received(answers)
    assert scene.client_may_send()  # a head is gone: there is room for more
    for _ in range(11):
        scene.origin.data_received(answers)
    assert scene.client.written == answers * 12
    assert scene.client_may_send()
    assert scene.aiohttp.taken == b"x" * MAX_PLAIN_BYTES


async def test_nothing_of_a_request_is_kept_between_requests(scene: Scene) -> None:
    scene.connection.data_received(GET)
    scene.origin.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    held = [getattr(scene.connection, name) for name in ("_head", "_received", "_answer")]
    assert held == [b"", b"", b""]
    assert (scene.connection._passage, scene.connection._body) == (None, None)


async def test_a_client_slow_at_interim_answers_is_handed_over_as_slow(scene: Scene) -> None:
    scene.connection.data_received(GET)
    scene.origin.data_received(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    scene.connection.pause_writing()
    scene.origin.data_received(b"nonsense\r\n\r\n")
    assert scene.aiohttp.taken == GET
    assert scene.aiohttp.paused
    assert isinstance(scene.aiohttp.failure, OriginError)


async def test_a_silent_origin_is_handed_over_as_a_time_out(scene: Scene) -> None:
    scene.connection.data_received(GET + GET[:10])
    scene.clock.advance(ORIGIN_S)
    assert isinstance(scene.aiohttp.failure, OriginTimeout)
    assert scene.aiohttp.taken == GET + GET[:10]
    assert scene.client.protocol is scene.aiohttp


async def test_an_origin_that_ended_before_it_was_asked_is_no_silence(scene: Scene) -> None:
    scene.origin.eof_received()
    scene.connection.data_received(GET)
    assert isinstance(scene.aiohttp.failure, OriginProtocolError)
    assert scene.upstream.written == b""


async def test_what_is_no_beginning_of_a_plain_head_is_handed_over_at_once(scene: Scene) -> None:
    scene.connection.data_received(b"GET / HTTP/1.1\r\nHost: a")
    assert scene.aiohttp.taken == b""
    scene.connection.data_received(b"\nX: b")
    assert scene.aiohttp.taken == b"GET / HTTP/1.1\r\nHost: a\nX: b"


async def test_a_connection_accepted_while_closing_is_closed(scene: Scene) -> None:
    await scene.lane.close(0.01)
    late = Transport()
    scene.lane().connection_made(cast(Any, late))
    assert late.ended == "closed"
    assert not scene.lane.connections
