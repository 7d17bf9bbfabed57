"""The request's way to the origin: its head, and its body as fast as the origin takes it.

Rules: a body that is here already goes out in one write with the head; only one that is still
arriving needs a task. aiohttp took the client's framing off and checked it; what goes on is
framed anew from what the client declared. Trailers of a request end here (RFC 9110 section
6.5.1 allows it): aiohttp does not hand them on.
"""

from __future__ import annotations

import asyncio

from aiohttp.web import BaseRequest, RequestPayloadError

from gatekeeper.errors import BadRequest
from gatekeeper.proxy.upstream import OriginConnection

_REQUEST_TIMEOUT = 408
_LAST_CHUNK = b"0\r\n\r\n"


def send(
    request: BaseRequest, connection: OriginConnection, *, head: bytes, timeout_s: float
) -> asyncio.Task[None] | None:
    """Write the head and what there is of the body; the task that brings the rest, if any."""
    if not request.body_exists:
        connection.write(head)
        return None
    chunked = "Transfer-Encoding" in request.headers
    content = request.content
    if not content.is_eof():
        connection.write(head)
        upload = _upload(request, connection, chunked=chunked, timeout_s=timeout_s)
        return asyncio.create_task(upload, name="upload")
    body = content.read_nowait()
    connection.write(head + (_chunk(body) + _LAST_CHUNK if chunked else body))
    return None


async def stop(upload: asyncio.Task[None]) -> None:
    """End an upload whose answer is complete, or whose exchange failed."""
    upload.cancel()
    await asyncio.wait({upload})  # until it let go of the client's stream


async def _upload(
    request: BaseRequest, connection: OriginConnection, *, chunked: bool, timeout_s: float
) -> None:
    """Runs beside the exchange; a failure of the client's ends the exchange."""
    content = request.content
    try:
        while not content.at_eof():
            with connection.excused():
                async with asyncio.timeout(timeout_s):
                    data = await content.readany()
            if data:
                connection.write(_chunk(data) if chunked else data)
                await connection.writable()
            if connection.closing:
                return
    except TimeoutError:
        connection.fail(BadRequest("the request's body stopped coming", status=_REQUEST_TIMEOUT))
    except OSError:
        connection.fail(BadRequest("the client left"))
    except RequestPayloadError:
        connection.fail(BadRequest("the request's body is malformed"))
    else:
        if chunked:
            connection.write(_LAST_CHUNK)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
