"""Options and connection handler of `aiohttp.web.Server`, which parses the client's side.

Rules. A head has limits in bytes and time, and a malformed request is refused by a response of the
gate (`own_response.Refuse`). The handler passes the bytes to the parser in parts, each ending with
a head at the latest, so that `HeadReader` checks the size of a head before the parser sees it.
Refusals, and the end of a client's input, queue up behind the requests before them. After some
requests the connection must close; `handled_request.ends_connection` gives the reasons.

The fast path hands a connection over with the failure of its current request, or with the cached
facts of that request. Both are used for that request only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web import BaseRequest, RequestHandler, RequestPayloadError, Server, StreamResponse
from aiohttp.web_protocol import _ErrInfo

from gatekeeper.errors import GatekeeperError
from gatekeeper.proxy.head_reader import MAX_LINE_BYTES, HeadReader
from gatekeeper.proxy.own_response import Refuse, plain_refusal
from gatekeeper.proxy.refusal_reasons import HEAD_TOO_LARGE, HEAD_TOO_SLOW, LINE_TOO_LONG, reason_of
from gatekeeper.proxy.write_deadline import WRITE_TIMEOUT_S, WriteDeadline

HEAD_TIMEOUT_S: Final = 15.0  # for a whole head, from its first byte

SERVER_OPTIONS: Final[dict[str, Any]] = {
    # A client that disconnects cancels the handler, and with it the exchange with the origin.
    "handler_cancellation": True,
    # Request bodies are forwarded byte for byte.
    "auto_decompress": False,
    # Saves the formatting of a line per request; the gate writes its own logs.
    "access_log": None,
    # Bytes of a line, bytes of a field, and number of fields; `head_reader` limits their sum.
    "max_line_size": MAX_LINE_BYTES,
    "max_field_size": 16380,
    "max_headers": 128,
    # How long the rest of an upload is discarded after an early response, so that the client can
    # read that response before the connection closes (RFC 9112 section 9.6).
    "lingering_time": 5.0,
    # Idle time between requests. Longer than the usual 60 s of a load balancer in front, so that
    # the load balancer closes an idle connection first.
    "keepalive_timeout": 75.0,
}
_MAX_QUEUED = 16  # pipelined requests; below aiohttp's own limit, which does not bound heads


class _InputEnd(Exception):
    """The client will send no further request."""


class ConnectionHandler(RequestHandler):
    """aiohttp's protocol of one client connection, with the gate's limits and responses."""

    __slots__ = (
        "_backlog",
        "_body_left",
        *("_discarding", "_discards_since_s"),
        "_gone",
        "_head_timer",
        "_input_ended",
        "_payload",
        "_reader",
        "_refuse_with",
        "_refused_head",
        "_write_deadline",
        "_write_timeout_s",
        "failure",
        "head_deadline_s",
        "is_from_edge",
        "known",
        "on_input_end",
    )

    def __init__(
        self,
        server: Server,
        *,
        refuse: Refuse = plain_refusal,
        write_timeout_s: float = WRITE_TIMEOUT_S,
        **options: Any,
    ) -> None:
        kwargs = {**SERVER_OPTIONS, **options}
        del kwargs["handler_cancellation"]  # the server's
        super().__init__(server, loop=asyncio.get_running_loop(), **kwargs)
        self._max_msg_queue_size = _MAX_QUEUED
        self._msg_queue_resume_size = _MAX_QUEUED // 2
        self._refuse_with = refuse
        self._write_timeout_s = write_timeout_s
        self._write_deadline: WriteDeadline | None = None
        self._reader = HeadReader()
        self._head_timer: asyncio.TimerHandle | None = None
        self._payload: StreamReader = EMPTY_PAYLOAD  # the body of the newest request
        self._body_left: int | None = 0  # bytes of it; None: only the parser finds its end
        self._backlog = self._refused_head = b""  # the first: for the parser once it continues
        self._input_ended = self._discarding = self.is_from_edge = False
        self._gone: asyncio.Future[None] | None = None
        self._discards_since_s: float | None = None  # the remaining steps of a response
        self.failure: GatekeeperError | None = None
        self.known: object = None
        self.on_input_end: Callable[[], None] | None = None
        self.head_deadline_s: float | None = None  # of a head that began before the hand-over

    @property
    def idle_since_s(self) -> float | None:
        """Since when it waits for a request, or only discards input (loop's clock); None: it serves
        a request."""
        if self._waiter is None:
            unsent = self.transport is not None and self.transport.get_write_buffer_size()
            return None if unsent else self._discards_since_s
        if self._waiter.done() or self._payload_parser is not None:
            return None
        return self._next_keepalive_close_time - self._keepalive_timeout

    @property
    def has_input_ended(self) -> bool:
        return self._input_ended

    def evict(self) -> None:  # with TLS, without waiting for the client to close
        if self.idle_since_s is not None and self.transport is not None:
            self.transport.abort()

    # Input

    def data_received(self, data: bytes) -> None:
        if self._discarding or self._force_close or self._close:
            return
        if not data:  # aiohttp continues
            super().data_received(data)
        data, self._backlog = self._backlog + data, b""
        start = 0
        while start < len(data) and not self._discarding:
            if self._upgraded or self._payload_parser is not None:
                super().data_received(data[start:])
                break
            if self._reading_paused or len(self._messages) >= _MAX_QUEUED:
                self._backlog = data[start:]
                break
            start += self._take(data, start)
        if self._input_ended and not self._backlog:
            self._queue(_ErrInfo(status=400, exc=_InputEnd(), message=""))
            self._discarding = True
        self._watch_head()

    def _take(self, data: bytes, start: int) -> int:
        """Pass the next part to the parser: of a body, or up to the end of a head. Returns its
        length."""
        requests, is_of_body = self._request_count, self._body_left != 0
        if is_of_body:
            left = len(data) - start
            size = left if self._body_left is None else min(left, self._body_left)
            super().data_received(data[start : start + size])
            if self._body_left is not None:
                self._body_left -= size
            elif self._payload.is_eof():
                self._body_left = 0
        else:
            part, size = self._reader.take(data, start)
            if self._reader.is_too_long:
                has_line = self._reader.has_request_line
                self._refuse(*((431, HEAD_TOO_LARGE) if has_line else (414, LINE_TOO_LONG)))
                return size
            if part:
                super().data_received(part)
        if self._request_count != requests:
            self._end_head(is_of_body=is_of_body)
        return size

    def _end_head(self, *, is_of_body: bool) -> None:
        """The parser completed a head, or failed, possibly in a body."""
        self._discards_since_s = None
        message, payload = self._messages[-1]
        if isinstance(message, _ErrInfo):
            self._discarding = True
            if is_of_body:
                self._fail_body()
            else:
                self._refused_head = bytes(self._reader.head)
        else:
            target = self._reader.target or message.path
            method = self._reader.method or message.method
            message = message._replace(path=target, method=method)
            self._messages[-1] = message, payload
            self._payload = payload
            length = message.headers.get("Content-Length")
            if payload.is_eof():
                self._body_left = 0
            else:
                self._refused_head = bytes(self._reader.head)  # if the body is malformed
                self._body_left = None if message.chunked or length is None else int(length)
        self._reader.reset()

    def _fail_body(self) -> None:
        """The body of the newest request is malformed; aiohttp does not notify its handler."""
        if len(self._messages) > 1 and self._messages[-2][1] is self._payload:
            del self._messages[-2]  # not handled yet: it is refused like a malformed head
        elif not self._payload.is_eof():
            self._payload.set_exception(RequestPayloadError("the body is malformed"))

    def _watch_head(self) -> None:
        """Start the timeout of a head that has begun."""
        if self._discarding or not self._reader.head:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
        elif self._head_timer is None:
            end_s, self.head_deadline_s = self.head_deadline_s, None
            end_s = self._loop.time() + HEAD_TIMEOUT_S if end_s is None else end_s
            self._head_timer = self._loop.call_at(end_s, self._head_timed_out)

    def _head_timed_out(self) -> None:
        self._head_timer = None
        if self._reading_paused or self._buffer_paused:  # the client cannot send the rest
            self._watch_head()
        else:
            self._refuse(408, HEAD_TOO_SLOW)

    def _process_keepalive(self) -> None:
        if self._reader.head:  # discarding has its own limit
            self._keepalive_handle = None
        else:
            super()._process_keepalive()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client closed its half, or everything. Complete requests still get a response. Only
        without TLS: a TLS connection closes with its input.
        """
        if self._input_ended:  # called again after reading was resumed
            return True
        transport = self.transport
        is_idle = self._waiter is not None and not self._waiter.done()
        if transport is None or is_idle or self._upgraded or self._gone is not None:
            return False
        if transport.get_extra_info("sslcontext") is not None:
            return False
        is_cut = not self._payload.is_eof() or self._payload_parser is not None
        if is_cut and not self._discarding:
            return False  # a truncated upload, or a tunnel
        self._input_ended = True
        if self.on_input_end is not None:
            self.on_input_end()
        # Else a refusal is pending, possibly behind other responses.
        if not self._backlog and not self._discarding:
            self._queue(_ErrInfo(status=400, exc=_InputEnd(), message=""))
            self._discarding = True
            self._watch_head()
        return True

    # Refusals

    def _refuse(self, status: int, reason: str) -> None:
        """Refuse the current head, after the responses to the requests before it."""
        self._discarding = True
        self._refused_head = bytes(self._reader.head)
        self._watch_head()
        self._queue(_ErrInfo(status=status, exc=GatekeeperError(reason), message=""))

    def _queue(self, end: _ErrInfo) -> None:
        self._messages.append((end, EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  names the library, and shows bytes
    ) -> StreamResponse:
        """The last response of this connection. aiohttp calls it for requests that it cannot
        serve."""
        if request.writer.output_size > 0:
            raise ConnectionError("a response has begun")
        if isinstance(exc, _InputEnd):
            return cast(StreamResponse, _NoResponse())
        status, reason = reason_of(exc, status)
        refusal = self._refuse_with(self._refused_head, status, reason)
        return cast(StreamResponse, _LastResponse(self, refusal))

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """aiohttp calls it for unexpected errors; a malformed body that is found after the response
        is the client's fault and not logged."""
        if not isinstance(kw.get("exc_info"), RequestPayloadError):
            super().log_exception(*args, **kw)

    async def linger(self) -> None:
        """Discard input until the client closes, for a limited time, so that the client can read
        the response before the connection closes (RFC 9112 section 9.6)."""
        transport = self.transport
        if transport is None or self._input_ended:
            return
        if transport.can_write_eof():
            with suppress(OSError):  # the client has reset the connection
                transport.write_eof()
        self._gone, self._discards_since_s = self._loop.create_future(), self._loop.time()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lingering_time):
                await self._gone

    # Output, and the end

    async def _handle_request(self, *request: Any) -> tuple[StreamResponse, bool]:
        # Pipelined: from Python 3.12 on, aiohttp would not yield to other connections.
        if self._messages:
            await asyncio.sleep(0)
        try:
            return await super()._handle_request(*request)
        finally:
            if not self._payload.is_eof():
                self._discards_since_s = self._loop.time()

    async def finish_response(self, *response: Any) -> tuple[StreamResponse, bool]:
        if self._upgraded and not self._messages and self._payload_parser is None:
            self._end_upgrade()
        return await super().finish_response(*response)

    def _end_upgrade(self) -> None:
        """The upgrade was refused, so the following bytes are requests. aiohttp would pass them to
        the parser without limits."""
        assert self._parser is not None
        self._parser.set_upgraded(False)
        self._upgraded = False
        tail, self._message_tail = self._message_tail, b""
        if tail:
            self.data_received(tail)
        if self._buffer_paused and not self._upgraded:
            self._resume_reading_if_drained()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._limit_write()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_limit()

    async def start(self) -> None:
        transport = self.transport
        try:
            await super().start()
        finally:  # the connection is closed, or is closing once the client has read everything
            if transport is not None and transport.get_write_buffer_size():
                self._limit_write(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._discarding = True
        self._backlog = b""
        self._end_limit()
        self._watch_head()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _limit_write(self, transport: asyncio.Transport | None = None) -> None:
        self._end_limit()
        transport = transport or self.transport
        if transport is not None:
            self._write_deadline = WriteDeadline(
                transport, loop=self._loop, limit_s=self._write_timeout_s
            )

    def _end_limit(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None


class _NoResponse:
    """A placeholder for a response, when there is no request."""

    keep_alive = False

    async def prepare(self, _request: BaseRequest) -> None:
        """Do nothing."""

    async def write_eof(self) -> None:
        """Do nothing."""


class _LastResponse(_NoResponse):
    """A response after which the connection closes, even if the client sends more."""

    def __init__(self, handler: ConnectionHandler, response: bytes) -> None:
        self._handler = handler
        self._response = response

    async def prepare(self, request: BaseRequest) -> None:
        transport = self._handler.transport
        if transport is not None and not transport.is_closing():
            request.writer.output_size += len(self._response)
            transport.write(self._response)

    async def write_eof(self) -> None:
        await self._handler.linger()
