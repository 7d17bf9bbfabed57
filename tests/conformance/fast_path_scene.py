"""One client connection of the fast path between simulated transports, on a simulated clock."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from gatekeeper.errors import OriginError
from gatekeeper.proxy.fastpath.client_connection import ClientConnection
from gatekeeper.proxy.fastpath.server import FastPathServer
from gatekeeper.proxy.upstream import OriginConnection

IDLE_S, CLIENT_S, ORIGIN_S = 75.0, 60.0, 50.0
GET = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"


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
        self.soon: list[Callable[[], object]] = []

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        self.timers.append(Timer(self.now_s + delay_s, call))
        return self.timers[-1]

    def call_soon(self, call: Callable[[], object]) -> None:
        self.soon.append(call)

    def turn(self) -> None:
        """One turn of the loop."""
        now, self.soon = self.soon, []
        for call in now:
            call()

    def turns(self) -> int:
        """Turn until no callback is left; returns the number of turns."""
        count = 0
        while self.soon:
            self.turn()
            count += 1
        return count

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
        """Like a socket, but ignores SO_LINGER."""


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
    counted = None
    own_cookies = frozenset({"gatekeeper"})

    def on_response(self, status: int, *, seconds: float) -> None:
        """Count nothing."""


class AdmitAll:
    """Admits every request, known or not."""

    def __init__(self) -> None:
        self.recalled: list[bytes] = []

    def recall(self, data: bytes, _: str) -> Plan | None:
        self.recalled.append(data)
        return Plan() if data == GET else None

    def resolve(self, _: bytes, __: str) -> Any:
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

    # The interface of the pool

    def warm(self, _: float) -> OriginConnection:
        return self.origin

    def release(self, connection: OriginConnection) -> None:
        connection.finish()
