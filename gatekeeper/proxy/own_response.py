"""The gate's own responses on aiohttp's path, as bytes.

Rules. The bytes are those that the fast path would send, so the status line is always HTTP/1.1 and
no library adds a field. A client that reads nothing for `WRITE_TIMEOUT_S` is disconnected.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from http import HTTPStatus

from aiohttp import HttpVersion11
from aiohttp.web import BaseRequest

from gatekeeper.proxy.downstream import ClientTimeout, Downstream
from gatekeeper.proxy.write_deadline import WRITE_TIMEOUT_S

# Creates the response to a malformed request. Arguments: the received part of the head, the status,
# and the reason in one sentence. The connection closes after it.
Refuse = Callable[[bytes, int, str], bytes]


class OwnResponse:
    """A whole response, in the form that aiohttp's server expects.

    `head` has the status line and the fields, each with its CRLF, without the empty line.
    """

    def __init__(self, head: bytes, body: bytes, *, keep_alive: bool) -> None:
        self._head = head
        self._body = body
        self.keep_alive = keep_alive
        self._client: Downstream | None = None

    async def prepare(self, request: BaseRequest) -> None:
        """Write it. Raises ConnectionResetError when the client has disconnected."""
        self._client = Downstream(request, timeout_s=WRITE_TIMEOUT_S)
        head = self._head
        if not self.keep_alive:
            head += b"Connection: close\r\n"
        elif request.version != HttpVersion11:
            head += b"Connection: keep-alive\r\n"
        body = b"" if request.method == "HEAD" else self._body
        self._client.begin(head + b"\r\n" + body)

    async def write_eof(self) -> None:
        """Wait for a slow client. Raises `ClientTimeout` and resets a client that does not read."""
        client = self._client
        assert client is not None
        if client.slow:
            try:
                await client.drained()
            except ClientTimeout:
                client.abort()
                raise


class StreamedResponse:
    """A response whose body is generated while it is sent, in the form that aiohttp's server
    expects.

    `head` is like that of `OwnResponse`, without Content-Length. An incomplete body ends in a
    reset, so that it never looks complete. A slow client pauses `parts`; after `limit_s` it is
    reset.
    """

    def __init__(
        self, head: bytes, parts: AsyncGenerator[bytes, None], *, keep_alive: bool, limit_s: float
    ) -> None:
        self._head = head
        self._parts = parts
        self._limit_s = limit_s
        self.keep_alive = keep_alive
        self._is_chunked = False
        self._has_body = True
        self._client: Downstream | None = None

    async def prepare(self, request: BaseRequest) -> None:
        """Write the head. Raises ConnectionResetError when the client has disconnected."""
        self._client = Downstream(request, timeout_s=WRITE_TIMEOUT_S)
        self._is_chunked = request.version == HttpVersion11
        self.keep_alive &= self._is_chunked  # HTTP/1.0: the body ends with the connection
        framing = b"Transfer-Encoding: chunked\r\n" if self._is_chunked else b""
        if not self.keep_alive:
            framing += b"Connection: close\r\n"
        self._has_body = request.method != "HEAD"
        self._client.reset_when_closed(armed=True)
        self._client.begin(self._head + framing + b"\r\n")

    async def write_eof(self) -> None:
        """Write the body at the client's pace. If it stays incomplete, resets the client and
        raises."""
        client = self._client
        assert client is not None
        if self._has_body:
            try:
                async with asyncio.timeout(self._limit_s), aclosing(self._parts):
                    await self._write_parts(client)
            except BaseException:
                client.abort()
                raise
        client.reset_when_closed(armed=False)

    async def _write_parts(self, client: Downstream) -> None:
        async for part in self._parts:
            client.write(b"%x\r\n%b\r\n" % (len(part), part) if self._is_chunked else part)
            if client.slow:
                await client.drained()
        if self._is_chunked:
            client.write(b"0\r\n\r\n")


def plain_refusal(head: bytes, status: int, reason: str) -> bytes:
    """A refusal as plain text, for a listener without pages."""
    body = f"{reason}\n".encode()
    fields = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nServer: gatekeeper\r\n"
        "Cache-Control: no-store\r\nX-Gatekeeper-State: error\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
        f"Content-Length: {len(body)}\r\n"
    )
    return refusal(head, fields.encode(), body)


def refusal(head: bytes, fields: bytes, body: bytes) -> bytes:
    """The response to a request of which `head` was received; without body for HEAD (RFC 9110
    section 9.3.2)."""
    return fields + b"Connection: close\r\n\r\n" + (b"" if head.startswith(b"HEAD ") else body)
