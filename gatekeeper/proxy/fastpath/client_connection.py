"""The express lane: plain requests of admitted visitors, from socket to socket.

Theory of operation. Every client connection begins here. Each head is looked at: if it is plain
(`plain`) and the gate lets it pass on sight (`passage.Admission`), it goes to an idle connection
of the pool, and the answer comes back from within the event loop's callbacks: no task, no future,
no object per header. The first request that is anything else takes its connection to aiohttp,
bytes and all, for good: there the same rules are applied at leisure, and everything that can go
wrong is answered. What the gate answers itself (`passage.Own`) is handed to this lane whole, so it
never speaks a word of its own to a client.

Rules. A hand-over happens between requests only: nothing of an answer was sent, nothing is on its
way. A failure before the head of an answer hands over as well, with the failure in the handler, so
that the gate answers it without asking the origin again; a failure after it breaks the
connection. A client that leaves ends the exchange, and one that closes its half has left; one
that is slow pauses the origin, and one that reads nothing at all is dropped. What a connection
holds is bounded: one head of a request and one read, one head of an answer, and what the
transport buffers before it says stop.

    head ──plain, on sight──▶ origin ──▶ answer ──▶ next head
      ├──plain, the gate's own──▶ its words ──▶ next head
      └──anything else──▶ aiohttp

Nearly every request is two calls: `data_received` with a whole head, whose fields the gate knows,
and `_from_origin` with a whole answer. What is done there is done for each of them; what can be
done once, or seldom, is done elsewhere. `benchmarks/README.md` says what that came to.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from time import perf_counter
from typing import TYPE_CHECKING, assert_never, cast

from gatekeeper.errors import GatekeeperError, OriginError, OriginProtocolError
from gatekeeper.proxy.downstream import reset
from gatekeeper.proxy.fastpath.interface import (
    CompleteResponse,
    FastPathReply,
    ForwardPlan,
    GateExchange,
    HandOver,
    SwitchProtocol,
)
from gatekeeper.proxy.fastpath.plain_head import MAX_PLAIN_BYTES, may_be_plain
from gatekeeper.proxy.framing import Body
from gatekeeper.proxy.headers import interim_head, response_head
from gatekeeper.proxy.pool import MAX_IDLE_S
from gatekeeper.proxy.response import body_of, parse_response_head
from gatekeeper.proxy.upstream import OriginClosed, OriginConnection
from gatekeeper.stepper import step

if TYPE_CHECKING:
    from gatekeeper.proxy.fastpath.server import FastPathServer

_HEAD_END = b"\r\n\r\n"
_FIRST_FINAL = 200
_CLOSE = b"Connection: close\r\n\r\n"


class _State(Enum):
    HEAD = auto()  # waiting for a request
    CONNECTING = auto()
    ANSWER = auto()  # waiting for the head of the answer
    BODY = auto()
    OWN = auto()  # waiting for the gate's own words
    SAID = auto()  # they are said; the client has yet to take them
    GONE = auto()  # closed, or handed over


# A name of the module is found several times sooner than a member of an Enum.
_HEAD, _CONNECTING, _ANSWER, _BODY, _OWN, _SAID, _GONE = _State


class ClientConnection(asyncio.Protocol):
    """One client's connection while it is in the lane.

    Between requests it holds no part of one: most of its life it idles.
    """

    __slots__ = (
        "_answer",
        "_began_s",
        "_body",
        "_connecting",
        "_head",
        "_keep_alive",
        "_lane",
        "_last_s",
        "_loop",
        "_origin",
        "_passage",
        "_peer",
        "_received",
        "_slow",
        "_state",
        "_timer",
        "_transport",
        "_unread_bytes",
    )

    def __init__(self, lane: FastPathServer) -> None:
        self._lane = lane
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._peer = ""
        self._state = _HEAD
        self._received = b""  # from the client, not yet sent on
        self._passage: ForwardPlan | None = None
        self._head = b""  # the request's bytes as they came, for a hand-over
        self._origin: OriginConnection | None = None
        self._answer = b""  # of the origin, until its head is whole
        self._body: Body | None = None  # from the head of the answer on
        self._connecting: asyncio.Task[None] | None = None
        self._keep_alive = True
        self._slow = False
        self._began_s = 0.0
        self._last_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._unread_bytes = 0

    # The client's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._lane.connections.add(self)
        self._last_s = self._loop.time()
        self._timer = self._loop.call_later(self._lane.idle_timeout_s, self._look_at_the_clock)
        if self._lane.closing:  # accepted just before the listener closed
            self.close_if_idle()

    def data_received(self, data: bytes) -> None:
        if self._state is _HEAD and not self._received and len(data) <= MAX_PLAIN_BYTES:
            passage = self._lane.admission.recall(data, self._peer)
            if passage is not None:
                self._pass(passage, data)
                return
        self._received += data
        if self._state is _HEAD:
            self._next()
        elif len(self._received) > MAX_PLAIN_BYTES and self._state is not _GONE:
            self._transport.pause_reading()  # pipelined; the answer under way comes first

    def _next(self) -> None:
        """Begin with the next request if its head is here."""
        end = self._received.find(_HEAD_END, 0, MAX_PLAIN_BYTES)
        if end < 0:
            # What is malformed already is refused at once, without waiting for its end.
            if len(self._received) >= MAX_PLAIN_BYTES or not may_be_plain(self._received):
                self._hand_over(self._received)
            return
        end += len(_HEAD_END)
        head, rest = self._received[:end], self._received[end:]
        admission = self._lane.admission
        passage = admission.recall(head, self._peer) or admission.look(head, self._peer)
        if passage is None:
            self._hand_over(self._received)
            return
        self._received = rest
        if not isinstance(passage, GateExchange):
            self._pass(passage, head)
            return
        self._head = head
        self._keep_alive = passage.keep_alive
        self._state = _OWN
        step(passage.respond(), self._reply)

    def _pass(self, passage: ForwardPlan, head: bytes) -> None:
        """This request goes to the origin."""
        self._passage, self._head = passage, head
        self._keep_alive = passage.keep_alive
        self._began_s = perf_counter()
        origin = self._lane.pool.warm(MAX_IDLE_S)
        if origin is not None:
            self._send(origin)
        else:
            self._connect()

    def _reply(self, reply: FastPathReply | BaseException) -> None:
        """The gate's reply to a request of its own; the client may have left by now."""
        if self._state is not _OWN:
            return
        match reply:
            case BaseException():
                self._hand_over(self._head + self._received)
            case HandOver(known=known):
                self._hand_over(self._head + self._received, known=known)
            case CompleteResponse(head=head, body=body, close=close):
                self._keep_alive &= not (close or self._lane.closing)
                end = b"\r\n" if self._keep_alive else _CLOSE
                self._transport.write(head + end + body)
                self._state = _SAID
                if not self._slow:
                    self._finish()
            case SwitchProtocol(head=head, protocol=protocol):
                self._leave()
                self._lane.forget(self)
                self._transport.write(head)
                self._transport.set_protocol(protocol)
                protocol.connection_made(self._transport)
                self._transport.resume_reading()
            case _:
                assert_never(reply)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._leave()
        self._lane.forget(self)

    def pause_writing(self) -> None:
        self._slow = True
        self._last_s = self._loop.time()
        self._unread_bytes = self._transport.get_write_buffer_size()
        if self._origin is not None:
            self._origin.pause_reading()

    def resume_writing(self) -> None:
        self._slow = False
        if self._origin is not None:
            self._origin.resume_reading()
        if self._state is _SAID or (self._body is not None and self._body.complete):
            self._finish()

    # The origin's side

    def _connect(self) -> None:
        self._state = _CONNECTING
        self._connecting = self._loop.create_task(self._connected(), name="connect to the origin")

    async def _connected(self) -> None:
        """Cancelled by a client that leaves: whoever gets past the await still has a client."""
        try:
            origin = await self._lane.pool.connect()
        except OriginError as error:
            self._connecting = None
            self._fail(error)
        else:
            self._connecting = None
            self._send(origin)

    def _send(self, origin: OriginConnection) -> None:
        assert self._passage is not None
        self._origin = origin
        self._state = _ANSWER
        origin.begin(deliver=self._from_origin, on_wake=self._woken)
        if origin.ended:  # it closed as soon as it had accepted, and will not say so again
            self._woken()
            return
        head = self._head
        origin.write(head[: head.find(b"\n") + 1] + self._passage.rest)

    def _from_origin(self, data: bytes) -> None:
        body = self._body
        if body is None:
            data = self._take_head(self._answer + data)
            body = self._body
            if body is None:  # the head is not whole
                return
        else:
            data = body.take(data)
        if data:
            self._transport.write(data)
        if body.complete and not self._slow:
            self._finish()

    def _take_head(self, data: bytes) -> bytes:
        """Read the head of the answer; what of it, and of the body, is for the client by now."""
        while (answer := parse_response_head(data)) is None or answer.status < _FIRST_FINAL:
            if answer is None:
                self._answer = data
                return b""
            if answer.status == 101:  # we asked for no upgrade
                raise OriginProtocolError("the origin switched protocols unasked")
            self._transport.write(interim_head(answer))
            data = data[answer.size :]
        passage, origin = self._passage, self._origin
        assert passage is not None
        assert origin is not None
        method = "HEAD" if self._head.startswith(b"HEAD ") else "GET"
        body = body_of(answer, method=method, http11_client=True)
        # Before anything is counted or sent: up to here it may fail well.
        early = body.take(data[answer.size :]) if len(data) > answer.size else b""
        if body.until_close or self._lane.closing:
            self._keep_alive = False
        command = answer.command
        head = response_head(
            answer,
            body,
            http11_client=True,
            keep_alive=self._keep_alive,
            added=passage.command(command) if command is not None else (),
        )
        passage.on_response(answer.status, seconds=perf_counter() - self._began_s)
        self._state, self._body, self._answer = _BODY, body, b""
        origin.reusable = answer.persistent
        return head + early

    def _finish(self) -> None:
        """The answer is through: make both connections ready for the next."""
        origin, self._origin = self._origin, None
        body, self._body = self._body, None
        if origin is not None and body is not None:
            if body.surplus:
                origin.reusable = False
            self._lane.pool.release(origin)
        self._state = _HEAD
        self._passage, self._head = None, b""
        self._last_s = self._loop.time()
        if not self._keep_alive or self._lane.closing:
            self._close()
        elif self._received:
            self._transport.resume_reading()
            if origin is not None:
                self._next()
            else:  # in a turn of its own: a row of requests that are answered at once is no stack
                self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._state is _HEAD and self._received:
            self._next()

    def _woken(self) -> None:
        """The origin's connection failed or ended."""
        origin = self._origin
        if origin is None:
            return
        if origin.failure is not None:
            self._fail(origin.failure)
        elif origin.ended and self._state is _ANSWER:
            if origin.requests > 1 and not origin.answered:
                # RFC 9110 section 9.2.2: it closed while our request was on its way.
                self._release()
                self._connect()
            else:
                self._fail(OriginClosed("the origin closed without an answer"))
        elif origin.ended and self._body is not None and not self._body.complete:
            self._end(self._body, origin)

    def _end(self, body: Body, origin: OriginConnection) -> None:
        """The origin closed: the end of this body, or a failure of it."""
        if origin.broken is not None:
            self._fail(OriginProtocolError("the origin's connection broke"))
            return
        try:
            self._transport.write(body.end())
        except OriginProtocolError as error:
            self._fail(error)
        else:
            if not self._slow:
                self._finish()

    # The end

    def _fail(self, error: GatekeeperError) -> None:
        self._release()
        if self._state is _BODY:
            self.abort()
        elif self._state is not _GONE:
            self._hand_over(self._head + self._received, failure=error)

    def _hand_over(
        self, data: bytes, *, failure: GatekeeperError | None = None, known: object = None
    ) -> None:
        """This connection is aiohttp's from here on, beginning with `data`."""
        self._leave()
        self._lane.forget(self)
        handler = self._lane.handler()
        handler.failure, handler.known = failure, known
        self._transport.set_protocol(handler)
        handler.connection_made(self._transport)
        if self._slow:  # of interim answers; aiohttp will be told when that is over
            handler.pause_writing()
        self._transport.resume_reading()
        handler.data_received(data)

    def _release(self) -> None:
        """Give the origin's connection back, in the middle of an exchange: it is closed."""
        origin, self._origin = self._origin, None
        if origin is not None:
            origin.reusable = False
            self._lane.pool.release(origin)

    def _leave(self) -> None:
        self._state = _GONE
        self._received = self._head = b""
        self._passage = self._body = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connecting is not None:
            self._connecting.cancel()
        self._release()

    def abort(self) -> None:
        self._leave()
        reset(self._transport)

    def close_if_idle(self) -> None:
        if self._state is _HEAD:
            self._close()

    def _close(self) -> None:
        """Close when the client has taken what is written, or has had long enough to."""
        self._leave()
        self._transport.close()
        if not self._transport.get_write_buffer_size():
            self._lane.forget(self)
        else:  # the end of the worker waits for this one
            limit_s = self._lane.client_timeout_s
            self._timer = self._loop.call_later(limit_s, self._transport.abort)

    def _look_at_the_clock(self) -> None:
        """Close a connection that idles, or whose client takes nothing of its answer."""
        lane, now_s = self._lane, self._loop.time()
        limit_s = lane.idle_timeout_s
        if self._slow:
            limit_s = lane.client_timeout_s
            unread = self._transport.get_write_buffer_size()
            if unread < self._unread_bytes:
                self._last_s = now_s
            self._unread_bytes = unread
        elif self._state is not _HEAD:
            self._last_s = now_s  # the origin's own watchdog is on it
        left_s = limit_s - (now_s - self._last_s)
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look_at_the_clock)
            return
        self._timer = None
        if self._state is _HEAD:
            self.close_if_idle()
        else:
            self.abort()
