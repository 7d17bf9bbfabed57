"""The line told instead of asked for: `GET status` as a stream of server-sent events.

Rules. What everybody has in common is written once and sent to all, at most once a second; from it
each page counts on from its own last place. That place is exact and goes out with each heartbeat,
which this replica makes for those connected, in the store's batches; it claims nothing, since only
an answer to a request can bring the pass. Who is released is told as soon as this replica hears of
the watermark. A stream costs a bounded amount: there are only so many, none lives longer than a
ticket allows for, and one that does not take what it is sent is dropped. Who gets none polls.

    place      the JSON of a poll, and `released_total` at that instant: exact
    room       what changed of `released_total`, `queue_length`, `rate_per_minute`, `reason` and
               `message`. `ahead` less what `released_total` grew is an estimate: those who leave
               the line and those who return to it are in the next place
    admitted   ask for the status: the answer brings the pass
    gone       the place counts no more
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import assert_never, cast

import structlog

from gatekeeper.policy.decision import QueuePosition, SlotGrant, Standing, VoidToken
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.ordering import is_released, turn_of
from gatekeeper.policy.tokens import Ticket, VisitorId
from gatekeeper.stepper import step
from gatekeeper.web.admission import Admission, Wait
from gatekeeper.web.waiting_status import room_reason, waiting_status_of

EVENT_STREAM = "text/event-stream"
MOST_STREAMS = 20_000  # of one worker, and at most half of the files it may open
_BEAT_S = 1.0
_EXACT_EVERY_S = 5.0  # at most, however near the front
_QUIET_S = 15.0  # proxies close what is silent for a minute
_AT_ONCE = 100  # streams written to in one turn of the event loop
_RETRY_MS = (500, 3000)
_UNSENT_BYTES = 4096  # in the process, and as much again, doubled, in the kernel
_DEAD_AFTER_MS = 30_000  # nothing acknowledged for so long

log = structlog.get_logger()


def event(name: str, data: bytes) -> bytes:
    """One event. JSON has no line breaks."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_LAST_CHUNK = chunk(b"")
_STILL_HERE = chunk(b":\n\n")
_ADMITTED = event("admitted", b"{}")
_GONE = event("gone", b'{"state": "none"}')


class Stream(asyncio.Protocol):
    """One visitor's connection, from the head of the answer on."""

    __slots__ = ("_room", "_transport", "due_s", "ends_s", "first", "is_slow", "ticket")

    def __init__(self, room: Broadcast, ticket: Ticket, *, first: bytes) -> None:
        self._room = room
        self._transport: asyncio.Transport | None = None
        self.ticket = ticket
        self.first = first  # is sent with the head
        self.due_s = self.ends_s = 0.0
        self.is_slow = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.first = b""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        socket_ = transport.get_extra_info("socket")
        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT_BYTES)
        socket_.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_MS)
        self._room.add(self)

    def data_received(self, data: bytes) -> None:
        """Nothing more is answered on this connection."""

    def pause_writing(self) -> None:
        self.is_slow = True

    def resume_writing(self) -> None:
        self.is_slow = False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._room.forget(self)

    def say(self, chunked: bytes) -> None:
        """Send it, unless what was sent before still waits to be taken: then this is the end."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self.is_slow:
            transport.abort()
        else:
            transport.write(chunked)

    def end(self, last: bytes = b"") -> None:
        """The whole answer, after which a browser comes back, at a time of its own."""
        retry = b"retry: %d\n\n" % random.randint(*_RETRY_MS)  # noqa: S311
        self.say(chunk(retry + last) + _LAST_CHUNK)
        if self._transport is not None:
            self._transport.close()


class Broadcast:
    """The streams of one room on this replica, and the task that speaks to them."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.streams: set[Stream] = set()
        self._rules = admission.room.rules
        self._view = admission.room.view
        self._view.on_change = self._wake
        admission.on_left = self._look_at
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._told_through_us = 0  # the watermark, when those it passed were last told
        self._nearest_us = 0  # nobody above it arrived before
        self._said: dict[str, object] = {}
        self._said_at_s = 0.0

    def _wake(self) -> None:
        if self.streams:
            self._woken.set()

    def _look_at(self, visitor: VisitorId) -> None:
        """Who left here is told with the next beat; elsewhere their next heartbeat tells."""
        for stream in self.streams:
            if stream.ticket.visitor == visitor:
                stream.due_s = 0.0

    def open(self, stay: Wait) -> Stream:
        first = b"retry: %d\n\n" % _RETRY_MS[1] + self._place(stay.ticket, stay.placed)[0]
        return Stream(self, stay.ticket, first=chunk(first))

    def add(self, stream: Stream) -> None:
        now_s = asyncio.get_running_loop().time()
        stream.due_s = now_s
        if not self._is_due(stream.ticket):  # else perhaps released since the place was asked for
            stream.due_s += self._rules.longest_poll_interval_s * random.uniform(0.3, 1)  # noqa: S311
        stream.ends_s = now_s + self._rules.stream_life_s * random.uniform(0.8, 1)  # noqa: S311
        self.streams.add(stream)
        self._nearest_us = min(self._nearest_us, self._turn_us(stream.ticket))
        if self._task is None:
            self._told_through_us = self._view.decisive.watermark_us
            self._task = asyncio.create_task(self._speak(), name=f"streams {self._rules.room}")

    def forget(self, stream: Stream) -> None:
        self.streams.discard(stream)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for stream in tuple(self.streams):
            stream.end()

    async def _speak(self) -> None:
        try:
            await self._speak_on()
        except Exception:
            log.exception("streams_failed", room=self._rules.room)
            for stream in tuple(self.streams):
                stream.end()
        finally:
            self._task = None

    async def _speak_on(self) -> None:
        """While there is anyone: once a second, and as soon as something decisive changes."""
        loop = asyncio.get_running_loop()
        beat_at_s = 0.0
        while self.streams:
            self._woken.clear()
            self._tell_released()
            if loop.time() >= beat_at_s:
                beat_at_s = loop.time() + _BEAT_S
                await self._tick()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(beat_at_s):
                    await self._woken.wait()

    def _is_due(self, ticket: Ticket) -> bool:
        """Below the watermark: released, or away at their turn and let in as the rate allows.
        Only a heartbeat can tell."""
        return is_released(self._turn_us(ticket), self._view.decisive.watermark_us)

    def _turn_us(self, ticket: Ticket) -> int:
        return turn_of(ticket, self._view.decisive.ordering)

    def _tell_released(self) -> None:
        """Tell those whom the watermark passed while they were connected."""
        through_us, watermark_us = self._told_through_us, self._view.decisive.watermark_us
        self._told_through_us = watermark_us
        if watermark_us <= through_us or watermark_us < self._nearest_us:
            return
        turns = []
        for stream in tuple(self.streams):
            turn_us = self._turn_us(stream.ticket)
            if through_us < turn_us <= watermark_us:
                stream.end(_ADMITTED)
            elif turn_us > watermark_us:
                turns.append(turn_us)
        self._nearest_us = min(turns, default=watermark_us)

    async def _tick(self) -> None:
        now_s = asyncio.get_running_loop().time()
        news = self._news(now_s)
        revoked = self._view.decisive.revoked
        for number, stream in enumerate(tuple(self.streams)):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if stream.ticket.visitor in revoked:
                stream.end(_GONE)
            elif now_s >= stream.ends_s:
                stream.end()
            else:
                if news:
                    stream.say(news)
                if now_s >= stream.due_s:
                    self._attend(stream, now_s)

    def _news(self, now_s: float) -> bytes:
        """For all: what changed since it was last said."""
        state = self._view.state
        changed: dict[str, object] = {}
        if state is not None and self._view.store_up:
            common: dict[str, object] = {
                "released_total": state.released_total,
                "queue_length": state.queue_length,
                "rate_per_minute": state.effective_rate_per_minute,
                "reason": room_reason(state, rules=self._rules),
                "message": state.message or None,
            }
            changed = dict(common.items() - self._said.items())
            self._said = common
        if changed:
            self._said_at_s = now_s
            return chunk(event("room", json.dumps(changed).encode()))
        if now_s - self._said_at_s < _QUIET_S:
            return b""
        self._said_at_s = now_s
        return _STILL_HERE

    def _attend(self, stream: Stream, now_s: float) -> None:
        """The heartbeat of one who is connected. Its answer is the next place."""
        stream.due_s = now_s + self._rules.longest_poll_interval_s  # should no answer come

        def receive(standing: Standing | BaseException | None) -> None:
            match standing:
                case SlotGrant():
                    stream.end(_ADMITTED)
                case VoidToken():
                    stream.end(_GONE)
                case QueuePosition() | None:
                    complete_response, again_s = self._place(stream.ticket, standing)
                    stream.due_s = now_s + again_s
                    stream.say(chunk(complete_response))
                case BaseException():
                    stream.end()
                case _:
                    assert_never(standing)

        step(self.admission.attend(stream.ticket), receive)

    def _place(self, ticket: Ticket, placed: QueuePosition | None) -> tuple[bytes, float]:
        """A place as an event, and when the next is due."""
        state = self._view.state
        place = waiting_status_of(ticket, placed, state, rules=self._rules)
        released = state.released_total if state else 0
        data = place.encoded()[:-1] + b', "released_total": %d}' % released
        again_s = float(place.refresh_seconds)
        if placed is not None and not self._is_due(ticket):
            again_s = max(again_s, _EXACT_EVERY_S)
        return event("place", data), min(again_s, self._rules.longest_poll_interval_s)


class Streams:
    """All streams of one worker."""

    def __init__(self, admissions: Iterable[Admission]) -> None:
        self._rooms = {
            admission.config.name: Broadcast(admission)
            for admission in admissions
            if admission.config.updates == "stream"
        }
        self._most = min(MOST_STREAMS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._closing = False

    def __len__(self) -> int:
        return sum(len(room.streams) for room in self._rooms.values())

    def serve(self, admission: Admission, facts: RequestFacts) -> bool:
        """Whether this asks for a stream, of a room that has them."""
        return admission.config.name in self._rooms and facts.accepts(EVENT_STREAM)

    def open(self, admission: Admission, stay: Wait) -> Stream | None:
        """A stream for one who waits, or None: then they poll."""
        room = self._rooms.get(admission.config.name)
        if room is None or self._closing or len(self) >= self._most:
            return None
        return room.open(stay)

    def close(self) -> None:
        """End all, in good order; they come back to another worker, each at a time of its own."""
        self._closing = True
        for room in self._rooms.values():
            room.close()
