"""A client connection on the fast path: plain requests, forwarded from socket to socket.

Theory of operation. Every client connection starts here, except for a `SingleExchange`. If a head
is plain (`plain_head`) and the policy (`interface.FastPathPolicy`) admits it at once, the request
goes to an idle connection of the pool, and the response is relayed from the event loop's callbacks:
no task, no future, no object per field. The first other request hands its connection over to
aiohttp permanently, with the bytes received so far. The gate's own responses
(`interface.GateExchange`) arrive here complete.

Rules. A hand-over happens only between requests, or before a response was sent. An origin failure
before the response head hands over as well, with the failure in the handler, so that the gate
reports it without a second request to the origin. A later failure aborts the connection. A client
that closes its half still receives the responses to its complete requests. A slow client pauses
reading from the origin (back-pressure). `deadlines` limits the time of each state. Memory is
bounded: one request head and one read, one response head, and the transport's write buffer.
Pipelined requests are served in order, one per turn of the event loop, and reading pauses while
more than one head of them waits.

The states and their order are in `connection_states`. Nearly every request is
two calls: `data_received` with a complete head whose fields are known, and `_from_origin` with a
complete response. Keep these short. `benchmarks/README.md` has figures.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import perf_counter
from typing import cast

from gatekeeper.errors import GatekeeperError, OriginError, OriginProtocolError
from gatekeeper.proxy.downstream import reset
from gatekeeper.proxy.fastpath.connection_states import (
    BODY,
    CLOSED,
    CONNECTING,
    GATE,
    HEAD,
    NEXT,
    RESPONSE,
    SENT,
)
from gatekeeper.proxy.fastpath.deadlines import TimedConnection
from gatekeeper.proxy.fastpath.forwarded_exchange import CLOSE, LINE_END, ForwardedExchange
from gatekeeper.proxy.fastpath.interface import (
    ConnectionOwner,
    FastPathReply,
    ForwardPlan,
    GateExchange,
    HandOver,
    RequestCount,
    SwitchProtocol,
)
from gatekeeper.proxy.framing import Body
from gatekeeper.proxy.plain_head import MAX_PLAIN_BYTES, may_be_plain
from gatekeeper.proxy.pool import MAX_IDLE_S
from gatekeeper.proxy.upstream import OriginConnection, OriginDisconnect
from gatekeeper.proxy.write_deadline import WRITE_TIMEOUT_S
from gatekeeper.stepper import step

_HEAD_END = b"\r\n\r\n"
_BETWEEN_REQUESTS, _BEFORE_RESPONSE = (HEAD, NEXT), (CONNECTING, RESPONSE)


class ClientConnection(ForwardedExchange, TimedConnection):
    """One client connection while it is on the fast path.

    Between requests it holds no part of a request: most of the time it is idle.
    """

    __slots__ = (
        "_began_s",
        "_body",
        "_connecting",
        "_counted",
        "_head",
        "_input_ended",
        "_keep_alive",
        "_origin",
        "_partial_head",
        "_peer",
        "_plan",
        "_received",
        "_server",
        "_slow",
        "_start",
        "_state",
    )

    def __init__(self, server: ConnectionOwner, *, peer: str = "", begun: bytes = b"") -> None:
        """`begun` was received before there was a transport."""
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._peer = peer  # else the peer's address is read from the socket
        self._state = HEAD
        self._received = begun  # from the client; empty once all of it was used
        self._start = 0  # of the unused bytes
        self._plan: ForwardPlan | None = None
        self._head = b""  # the request's bytes, for a hand-over
        self._origin: OriginConnection | None = None
        self._partial_head = b""  # of the response, until it is complete
        self._body: Body | None = None  # set once the response head arrived
        self._connecting: asyncio.Task[None] | None = None
        self._counted: RequestCount | None = None
        self._keep_alive = True
        self._slow = False
        self._input_ended = False
        self._began_s = 0.0

    # The client's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._peer:
            peer = transport.get_extra_info("peername")
            self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._start_deadlines(self._server.first_checks, idle_timeout_s=self._server.idle_timeout_s)
        self._server.add(self)
        if self._server.closing:  # accepted just before the listener closed
            self.close_if_idle()
        elif self._received:  # reading starts after this callback, and can be paused only then
            self._state = NEXT
            self._loop.call_soon(self._take_turn)

    def take_over(
        self, exchange: ForwardedExchange, transport: asyncio.Transport, *, unsent: bytes
    ) -> None:
        """Continue an exchange that began without a transport; `unsent` is for the client."""
        self._continue_from(exchange)
        self._state = RESPONSE if self._body is None else BODY
        self.connection_made(transport)
        self._loop.call_soon(self._go_on, unsent)

    def _go_on(self, unsent: bytes) -> None:
        origin, body = self._origin, self._body
        if origin is None:  # aborted meanwhile
            return
        if unsent:
            self._transport.write(unsent)
        if body is not None and body.complete:
            if not self._slow:
                self._finish()
            return
        early = origin.deliver_to(self._from_origin)
        origin.on_wake = self._origin_changed
        if not self._slow:
            origin.resume_reading()
        if early:
            origin.data_received(early)
        self._origin_changed()  # if the exchange ended meanwhile

    def data_received(self, data: bytes) -> None:
        if self._state is HEAD and not self._received and len(data) <= MAX_PLAIN_BYTES:
            plan = self._server.admission.recall(data, self._peer)
            if isinstance(plan, partial):
                self._serve(plan, data, is_last=False)
                return
            if plan is not None:
                if not plan.keep_alive:
                    self._server.known_closers += 1
                self._forward(plan, data)
                return
            if data.find(_HEAD_END) == len(data) - 4 > 0:  # exactly one head
                new = self._server.admission.resolve(data, self._peer)
                self._hand_over(data) if new is None else self._serve(new, data, is_last=False)
                return
        if self._state is CLOSED:
            return
        self._received, self._start = self._rest() + data, 0
        if self._state is HEAD:
            self._next()
        if self._has_much():
            self._transport.pause_reading()  # pipelined; the current response comes first

    def _rest(self) -> bytes:
        return self._received[self._start :]

    def _has_much(self) -> bool:
        return len(self._received) - self._start > MAX_PLAIN_BYTES

    def _next(self) -> None:
        """Start the next request if its head is complete."""
        received, start = self._received, self._start
        end = received.find(_HEAD_END, start, start + MAX_PLAIN_BYTES)
        if end < 0:
            self._await_head(self._rest())
            return
        end += len(_HEAD_END)
        head = received[start:end]
        admission = self._server.admission
        plan = admission.recall(head, self._peer) or admission.resolve(head, self._peer)
        if plan is None:
            self._hand_over(self._rest())  # with the deadline of its head
            return
        is_all = end == len(received)
        self._received, self._start = (b"", 0) if is_all else (received, end)
        self._end_head()
        self._serve(plan, head, is_last=is_all and self._input_ended)

    def _serve(self, plan: ForwardPlan | GateExchange, head: bytes, *, is_last: bool) -> None:
        if not isinstance(plan, partial):
            self._forward(plan, head)
            self._keep_alive &= not is_last
            return
        self._head = head
        self._keep_alive = not is_last
        self._state = GATE
        step(plan(), self._reply)

    def _await_head(self, begun: bytes) -> None:
        # A malformed start of a head is handed over at once, without waiting for its end.
        if len(begun) >= MAX_PLAIN_BYTES or not may_be_plain(begun):
            self._hand_over(begun)
        elif self._input_ended:
            self._close()
        else:
            self._begin_head()

    def _forward(self, plan: ForwardPlan, head: bytes) -> None:
        self._plan, self._head = plan, head
        if plan.counted is not None:
            self._counted = plan.counted.begin()
        self._keep_alive = plan.keep_alive
        self._began_s = perf_counter()
        origin = self._server.pool.warm(MAX_IDLE_S)
        if origin is not None:
            self._send(origin)
        else:
            self._connect()

    def _reply(self, reply: FastPathReply | BaseException) -> None:
        """Send the gate's own response; the client may have disconnected."""
        if self._state is not GATE:
            return
        match reply:
            case BaseException():
                self._hand_over(self._head + self._rest())
            case HandOver(known=known):
                self._hand_over(self._head + self._rest(), known=known)
            case SwitchProtocol(head=head, protocol=protocol):
                self._detach()
                self._server.forget(self)
                self._transport.write(head)
                self._transport.set_protocol(protocol)
                protocol.connection_made(self._transport)
                self._transport.resume_reading()
                if self._input_ended:  # no stream, since the client may have disconnected
                    self._transport.close()
            case _:
                self._keep_alive &= not (reply.close or self._server.closing)
                end = LINE_END if self._keep_alive else CLOSE
                self._transport.write(reply.head() + end + reply.body)
                self._state = SENT
                if not self._slow:
                    self._finish()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._state in _BEFORE_RESPONSE and self._plan is not None:
            self._plan.note_abandoned(seconds=perf_counter() - self._began_s)
        if self._state is not CLOSED:
            self._detach()
        elif self._closing is not None:  # all others were cancelled when closing began
            self._cancel_deadlines()
        self._server.forget(self)

    def eof_received(self) -> bool:
        """The client closed its half, or everything. With TLS, both halves close."""
        if self._input_ended:  # called again after reading was resumed
            return True
        is_over = self._state is CLOSED or (self._state is HEAD and not self._received)
        if is_over or self._transport.get_extra_info("sslcontext") is not None:
            return False
        self._input_ended = True
        if self._counted is not None:
            self._counted = self._counted.close_half()
        if not self._received:
            self._keep_alive = False
        elif self._state is HEAD:
            self._next()
        return True

    def pause_writing(self) -> None:
        self._slow = True
        if self._state in _BETWEEN_REQUESTS:  # no request is served before the client has read
            self._state = SENT
        self._begin_pause(self._limit_s)
        if self._origin is not None:
            self._origin.pause_reading()

    def resume_writing(self) -> None:
        self._slow = False
        if self._origin is not None:
            self._origin.resume_reading()
        if self._state is SENT or (self._body is not None and self._body.complete):
            self._finish()

    # The origin's side

    def _connect(self) -> None:
        self._state = CONNECTING
        self._connecting = self._loop.create_task(
            self._connect_and_send(), name="connect to the origin"
        )

    async def _connect_and_send(self) -> None:
        """Cancelled when the client disconnects, so the client exists after the await."""
        try:
            origin = await self._server.pool.connect()
        except OriginError as error:
            self._connecting = None
            self._fail(error)
        else:
            self._connecting = None
            self._send(origin)
            if self._slow:
                origin.pause_reading()

    def _send(self, origin: OriginConnection) -> None:
        assert self._plan is not None
        self._origin = origin
        self._state = RESPONSE
        origin.begin(deliver=self._from_origin, on_wake=self._origin_changed)
        if origin.ended:  # it closed right after accepting; no other callback follows
            self._origin_changed()
            return
        head = self._head
        origin.write(head[: head.find(b"\n") + 1] + self._plan.rest)

    def _from_origin(self, data: bytes) -> None:
        body = self._body
        if body is None:
            data = self._take_head(self._partial_head + data)
            body = self._body
            if body is not None:  # the head is complete
                self._state = BODY
        else:
            data = body.take(data)
        if data:
            self._transport.write(data)
        if body is not None and body.complete and not self._slow:
            self._finish()

    def _finish(self) -> None:
        """The response was sent: prepare both connections for the next request."""
        self._return_origin()
        self._state = HEAD
        if self._counted is not None:
            self._end_count()
        self._plan, self._head = None, b""
        self.last_s = self._loop.time()
        if not self._keep_alive or self._server.closing:
            self._close()
        elif self._received:
            if not self._has_much():
                self._transport.resume_reading()
            self._state = NEXT
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        if self._state is not NEXT:  # the client is slow, or has disconnected
            return
        self._state = HEAD
        if self._server.closing:
            self._close()
        else:
            self._next()

    def _origin_changed(self) -> None:
        """The origin's connection failed or ended."""
        origin = self._origin
        if origin is None:
            return
        if origin.failure is not None:
            self._fail(origin.failure)
        elif origin.ended and self._state is RESPONSE:
            if origin.requests > 1 and not origin.has_response:
                # RFC 9110 section 9.2.2: the origin closed while the request was sent. Repeat it.
                self._release()
                self._connect()
            else:
                self._fail(OriginDisconnect("the origin closed without a response"))
        elif origin.ended and self._body is not None and not self._body.complete:
            self._end(self._body, origin)

    def _end(self, body: Body, origin: OriginConnection) -> None:
        """The origin closed: the end of this body, or a failure."""
        if origin.broken is not None:
            self._fail(OriginProtocolError("the connection to the origin was reset"))
            return
        try:
            self._transport.write(body.end())
        except OriginProtocolError as error:
            self._fail(error)
        else:
            if not self._slow:
                self._finish()

    # Long exchanges

    @property
    def exchange(self) -> tuple[float, ForwardPlan] | None:
        """The arrival time and the plan of the request that is being forwarded."""
        return None if self._plan is None else (self._began_s, self._plan)

    def cut(self, began_s: float) -> None:
        """Abort the response to the request that arrived at `began_s`, if it is in progress."""
        if self._state is BODY and self._plan is not None and self._began_s == began_s:
            self.abort()

    # The end

    def _fail(self, error: GatekeeperError) -> None:
        self._release()
        if self._state is BODY:
            self.abort()
        elif self._state is not CLOSED:
            self._hand_over(self._head + self._rest(), failure=error)

    def _hand_over(
        self, data: bytes, *, failure: GatekeeperError | None = None, known: object = None
    ) -> None:
        """Let aiohttp serve this connection, starting with `data`."""
        head_deadline_s = self._end_head()
        self._detach()
        self._server.forget(self)
        handler = self._server.handler(self._peer)
        handler.failure, handler.known = failure, known
        handler.head_deadline_s = head_deadline_s
        self._transport.set_protocol(handler)
        handler.connection_made(self._transport)
        if self._slow:  # to read interim responses; aiohttp receives `resume_writing`
            handler.pause_writing()
        self._transport.resume_reading()
        handler.data_received(data)
        if self._input_ended and not handler.eof_received():
            self._transport.close()

    def _detach(self) -> None:
        self._state = CLOSED
        self._received = self._head = b""
        self._start = 0
        self._plan = self._body = None
        self._end_count()
        self._cancel_deadlines()
        if self._connecting is not None:
            self._connecting.cancel()
        self._release()

    def _end_count(self) -> None:
        """The request has ended, also for the client: stop counting it."""
        if self._counted is not None:
            self._counted.end()
            self._counted = None

    def abort(self) -> None:
        self._detach()
        reset(self._transport)

    def close_if_idle(self) -> None:
        if self._state is HEAD:
            self._close()

    def _close(self) -> None:
        """Close once the client has read the write buffer, or after the client timeout."""
        self._detach()
        self._transport.close()
        if not self._transport.get_write_buffer_size():
            self._server.forget(self)
        else:  # shutdown waits for this connection
            self._begin_closing(self._limit_s)

    def refuse_slow_head(self) -> None:
        """aiohttp refuses a head whose deadline has passed."""
        self._hand_over(self._rest())

    @property
    def idle_since_s(self) -> float | None:
        """Since when it waits for a request, or for the rest of a head; None: it does not."""
        return self.last_s if self._state is HEAD else None

    @property
    def write_timeout_s(self) -> float | None:
        """The limit for a client whose write buffer is full; None: the buffer is not full."""
        return self._limit_s if self._slow else None

    @property
    def _limit_s(self) -> float:
        return self._server.client_timeout_s if self._plan is not None else WRITE_TIMEOUT_S
