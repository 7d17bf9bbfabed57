"""The status pushed instead of polled: `GET status` as a stream of server-sent events.

Rules. Data that all visitors share is encoded once and sent to all, at most once a second; each
page updates its own last place from it. That place is exact and is sent with each heartbeat, which
this replica makes for connected visitors, in the store's batches. A heartbeat claims nothing, since
only the response to a request can carry the pass. A released visitor is notified as soon as this
replica receives the watermark. Streams are bounded: their number is limited, in total and per
visitor, none lives longer than a ticket, and a client that does not read is disconnected. A visitor
without a stream polls.

    place      the JSON of a poll, and `released_total` at that instant: exact
    room       what changed of `released_total`, `queue_length`, `rate_per_minute`, `reason` and
               `message`. `ahead` less the growth of `released_total` is an estimate: visitors
               that leave the queue or return to it show in the next place
    admitted   poll the status now: its response carries the pass
    gone       the place is no longer valid
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import socket
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import assert_never, cast

import structlog

from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import Elsewhere, QueuePosition, SlotGrant, Standing, VoidToken
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.ordering import is_released, turn_of
from gatekeeper.policy.tokens import Ticket, VisitorId
from gatekeeper.proxy.downstream import reset
from gatekeeper.stepper import step
from gatekeeper.web.admission import Admission
from gatekeeper.web.event_status import event_view_of
from gatekeeper.web.outcome import Wait
from gatekeeper.web.waiting_status import room_reason, waiting_status_of

EVENT_STREAM = "text/event-stream"
MAX_STREAMS = 20_000  # per worker, and at most half of its limit of open files
# Tabs of one browser share a ticket. Further tabs poll: if the oldest stream were ended instead,
# the tabs would reconnect in turn and end each other's streams.
MAX_STREAMS_PER_VISITOR = 8
_TICK_S = 1.0
_EXACT_EVERY_S = 5.0  # at most, also near the front
_KEEP_ALIVE_EVERY_S = 15.0  # proxies close a connection that is idle for a minute
_PER_TURN = 100  # streams written to in one turn of the event loop
_RETRY_MS = (500, 3000)
_MAX_UNSENT_BYTES = 4096  # in the process; the kernel buffers twice as much again
_DEAD_AFTER_MS = 30_000  # without an acknowledgement
_MAX_IGNORED_BYTES = 65_536  # from the client, after its request

log = structlog.get_logger()


def event(name: str, data: bytes) -> bytes:
    """One event. JSON has no line breaks."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def chunk(data: bytes) -> bytes:
    """One chunk of a body (RFC 9112 section 7.1); without data the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


_LAST_CHUNK = chunk(b"")
_KEEP_ALIVE = chunk(b":\n\n")
_ADMITTED = event("admitted", b"{}")
_VOID = event("gone", b'{"state": "none"}')


class Stream(asyncio.Protocol):
    """One visitor's connection, from the response head on."""

    __slots__ = (
        "_ignored_bytes",
        "_room",
        "_transport",
        "due_s",
        "ends_s",
        "first",
        "is_slow",
        "ticket",
    )

    def __init__(self, room: Broadcast, ticket: Ticket, *, first: bytes) -> None:
        self._room = room
        self._transport: asyncio.Transport | None = None
        self.ticket = ticket
        self.first = first  # sent together with the head
        self.due_s = self.ends_s = 0.0
        self.is_slow = False
        self._ignored_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.first = b""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_MAX_UNSENT_BYTES)
        socket_ = transport.get_extra_info("socket")
        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_UNSENT_BYTES)
        if socket_.family != socket.AF_UNIX:  # the edge checks its connections itself
            socket_.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_MS)
        self._room.add(self)

    def data_received(self, data: bytes) -> None:
        """Ignored: the stream is the last response on this connection. Reading continues, to notice
        its end; a client that sends too much is disconnected."""
        self._ignored_bytes += len(data)
        if self._ignored_bytes > _MAX_IGNORED_BYTES and self._transport is not None:
            reset(self._transport)

    def pause_writing(self) -> None:
        self.is_slow = True

    def resume_writing(self) -> None:
        self.is_slow = False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._room.forget(self)

    def send(self, chunked: bytes) -> None:
        """Send an event; a client with too many unread bytes is disconnected."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self.is_slow:
            transport.abort()
        else:
            transport.write(chunked)

    def end(self, last: bytes = b"") -> None:
        """End the stream; a browser reconnects after a random delay."""
        retry = b"retry: %d\n\n" % random.randint(*_RETRY_MS)  # noqa: S311
        self.send(chunk(retry + last) + _LAST_CHUNK)
        if self._transport is not None:
            self._transport.close()


class Broadcast:
    """The streams of one room on this replica, and the task that writes to them."""

    def __init__(self, admission: Admission) -> None:
        self.streams: set[Stream] = set()
        self._per_visitor: Counter[VisitorId] = Counter()
        self._view = admission.room.view
        self._view.on_change = self._wake
        self.configure(admission)
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._notified_through_us = 0  # the watermark at the last notification
        self._first_turn_us = 0  # no stream has an earlier turn above the watermark
        self._sent: dict[str, object] = {}
        self._sent_at_s = 0.0

    def configure(self, admission: Admission) -> None:
        """Continue the streams under another configuration of the room."""
        self.admission = admission
        self._rules = admission.rules
        admission.on_left = self._on_left

    def _wake(self) -> None:
        if self.streams:
            self._woken.set()

    def _on_left(self, visitor: VisitorId) -> None:
        """A visitor who left at this replica is notified at the next tick; a visitor who left at
        another replica by their next heartbeat."""
        for stream in self.streams:
            if stream.ticket.visitor == visitor:
                stream.due_s = 0.0

    def open(self, wait: Wait) -> Stream | None:
        """A new stream; None: the visitor has the maximum number."""
        if self._per_visitor[wait.ticket.visitor] >= MAX_STREAMS_PER_VISITOR:
            return None
        first = b"retry: %d\n\n" % _RETRY_MS[1] + self._place_event(wait.ticket, wait.position)[0]
        # The latest poll, see `add`.
        self._view.note_poll_interval(
            wait.ticket, wait.position, self._rules.longest_poll_interval_s
        )
        return Stream(self, wait.ticket, first=chunk(first))

    def add(self, stream: Stream) -> None:
        """Add a stream that has begun: its place is sent again within the longest poll interval."""
        now_s = asyncio.get_running_loop().time()
        stream.due_s = now_s
        # Else it may have been released since the place was read.
        if not self._is_released(stream.ticket):
            stream.due_s += self._rules.longest_poll_interval_s * random.uniform(0.3, 1)  # noqa: S311
        stream.ends_s = now_s + self._rules.stream_life_s * random.uniform(0.8, 1)  # noqa: S311
        self.streams.add(stream)
        self._per_visitor[stream.ticket.visitor] += 1
        self._first_turn_us = min(self._first_turn_us, self._turn_us(stream.ticket))
        if self._task is None:
            self._notified_through_us = self._view.decisive.watermark_us
            self._task = asyncio.create_task(self._run(), name=f"streams {self._rules.room}")

    def forget(self, stream: Stream) -> None:
        """Remove a stream that has ended; idempotent."""
        if stream not in self.streams:
            return
        self.streams.remove(stream)
        visitor = stream.ticket.visitor
        self._per_visitor[visitor] -= 1
        if not self._per_visitor[visitor]:
            del self._per_visitor[visitor]

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for stream in tuple(self.streams):
            stream.end()

    async def _run(self) -> None:
        try:
            await self._publish()
        except Exception:
            log.exception("streams_failed", room=self._rules.room)
            for stream in tuple(self.streams):
                stream.end()
        finally:
            self._task = None

    async def _publish(self) -> None:
        """Publish while there are streams: once a second, and at once when the decisive state
        changes."""
        loop = asyncio.get_running_loop()
        tick_at_s = 0.0
        while self.streams:
            self._woken.clear()
            self._notify_released()
            if loop.time() >= tick_at_s:
                tick_at_s = loop.time() + _TICK_S
                await self._tick()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(tick_at_s):
                    await self._woken.wait()

    def _is_released(self, ticket: Ticket) -> bool:
        """Whether the turn is at or below the watermark: released, or absent at their turn and
        admitted by the rate. Only a heartbeat can distinguish the two."""
        return is_released(self._turn_us(ticket), self._view.decisive.watermark_us)

    def _turn_us(self, ticket: Ticket) -> int:
        return turn_of(ticket, self._view.decisive.ordering)

    def _notify_released(self) -> None:
        """End the streams of visitors whose turn the watermark passed while they were connected."""
        through_us, watermark_us = self._notified_through_us, self._view.decisive.watermark_us
        self._notified_through_us = watermark_us
        if watermark_us <= through_us or watermark_us < self._first_turn_us:
            return
        turns = []
        for stream in tuple(self.streams):
            turn_us = self._turn_us(stream.ticket)
            if through_us < turn_us <= watermark_us:
                stream.end(_ADMITTED)
            elif turn_us > watermark_us:
                turns.append(turn_us)
        self._first_turn_us = min(turns, default=watermark_us)

    async def _tick(self) -> None:
        now_s = asyncio.get_running_loop().time()
        room_event = self._room_event(now_s)
        revoked = self._view.decisive.revoked
        for number, stream in enumerate(tuple(self.streams)):
            if number % _PER_TURN == 0:
                await asyncio.sleep(0)
            if stream.ticket.visitor in revoked:
                stream.end(_VOID)
            elif now_s >= stream.ends_s:
                stream.end()
            else:
                if room_event:
                    stream.send(room_event)
                if now_s >= stream.due_s:
                    self._attend(stream, now_s)

    def _room_event(self, now_s: float) -> bytes:
        """The event for all streams: the changes since the last one."""
        state = self._view.state
        changed: dict[str, object] = {}
        if state is not None and self._view.store_up:
            common: dict[str, object] = {
                "phase": state.phase,
                "released_total": state.released_total,
                "queue_length": state.queue_length,
                "rate_per_minute": state.effective_rate_per_minute,
                "reason": room_reason(state, rules=self._rules),
                "message": state.shown_message or None,
            }
            changed = dict(common.items() - self._sent.items())
            self._sent = common
        if changed:
            self._sent_at_s = now_s
            return chunk(event("room", json.dumps(changed).encode()))
        if now_s - self._sent_at_s < _KEEP_ALIVE_EVERY_S:
            return b""
        self._sent_at_s = now_s
        return _KEEP_ALIVE

    def _attend(self, stream: Stream, now_s: float) -> None:
        """The heartbeat of a connected visitor; its result is the next place event."""
        stream.due_s = now_s + self._rules.longest_poll_interval_s  # used if there is no result

        def receive(standing: Standing | BaseException | None) -> None:
            match standing:
                case SlotGrant():
                    stream.end(_ADMITTED)
                case VoidToken() | Elsewhere():
                    stream.end(_VOID)
                case QueuePosition() | None:
                    place, again_s = self._place_event(stream.ticket, standing)
                    stream.due_s = now_s + again_s
                    stream.send(chunk(place))
                case BaseException():
                    stream.end()
                case _:
                    assert_never(standing)

        step(self.admission.attend(stream.ticket), receive)

    def _place_event(self, ticket: Ticket, position: QueuePosition | None) -> tuple[bytes, float]:
        """A place event, and the seconds until the next is due."""
        state = self._view.state
        event_view = event_view_of(state, now_s=self.admission.now_s(), ticket=ticket)
        estimate, about_ahead = self._view.estimated(ticket, position)
        status = waiting_status_of(
            ticket,
            estimate,
            state,
            rules=self._rules,
            event=event_view,
            about_ahead=about_ahead,
        )
        released = state.released_total if state else 0
        data = status.encoded()[:-1] + b', "released_total": %d}' % released
        again_s = float(status.refresh_seconds)
        if position is not None and not self._is_released(ticket):
            again_s = max(again_s, _EXACT_EVERY_S)
        again_s = min(again_s, self._rules.longest_poll_interval_s)
        self._view.note_poll_interval(ticket, position, again_s + _TICK_S)
        return event("place", data), again_s


class Streams:
    """All streams of one worker."""

    def __init__(self, admissions: Iterable[Admission]) -> None:
        self._rooms: dict[RoomName, Broadcast] = {}
        self.configure(admissions)
        self._most = min(MAX_STREAMS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._closing = False

    def __len__(self) -> int:
        return sum(len(room.streams) for room in self._rooms.values())

    def configure(self, admissions: Iterable[Admission]) -> None:
        """Apply another configuration of the rooms. Streams continue if their room still has
        streams."""
        streaming = {
            admission.config.name: admission
            for admission in admissions
            if admission.config.updates == "stream"
        }
        for name, broadcast in tuple(self._rooms.items()):
            admission = streaming.get(name)
            if admission is not None and admission.room is broadcast.admission.room:
                broadcast.configure(admission)
            else:
                self._rooms.pop(name).close()
        for name, admission in streaming.items():
            if name not in self._rooms:
                self._rooms[name] = Broadcast(admission)

    def serve(self, admission: Admission, facts: RequestFacts) -> bool:
        """Whether this request accepts a stream and the room has streams."""
        return admission.config.name in self._rooms and facts.accepts(EVENT_STREAM)

    def open(self, admission: Admission, wait: Wait) -> Stream | None:
        """A stream for a waiting visitor; None: the visitor polls."""
        if admission.is_unsolved(wait.ticket):  # not in line, so there is nothing to report
            return None
        room = self._rooms.get(admission.config.name)
        if room is None or self._closing or len(self) >= self._most:
            return None
        return room.open(wait)

    def close(self) -> None:
        """End all streams; the browsers reconnect to another worker, after random delays."""
        self._closing = True
        for room in self._rooms.values():
            room.close()
