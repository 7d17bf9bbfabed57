"""Sends a request to the origin: its head, and its body at the pace of the origin.

Rules: a body that arrived completely is written together with the head; only a body that is still
arriving needs a task. aiohttp decoded and checked the client's framing; the body gets the same
framing as the client's. Trailers are dropped, since aiohttp does not expose them (RFC 9110 section
6.5.1 allows it).
"""

from __future__ import annotations

import asyncio

from aiohttp.web import BaseRequest, RequestPayloadError

from gatekeeper.errors import N_, BadRequest
from gatekeeper.proxy.upstream import OriginConnection

_REQUEST_TIMEOUT = 408
_LAST_CHUNK = b"0\r\n\r\n"


def send(
    request: BaseRequest, connection: OriginConnection, *, head: bytes, timeout_s: float
) -> asyncio.Task[None] | None:
    """Write the head and the body if it is complete; else return the task that sends the body."""
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
    """Cancel an upload whose response is complete, or whose exchange failed."""
    upload.cancel()
    await asyncio.wait({upload})  # until it has released the client's stream


async def _upload(
    request: BaseRequest, connection: OriginConnection, *, chunked: bool, timeout_s: float
) -> None:
    """Runs concurrently with the exchange; a failure on the client's side fails the exchange."""
    content = request.content
    try:
        while not content.at_eof():
            with connection.waiting_for_client():
                async with asyncio.timeout(timeout_s):
                    data = await content.readany()
            if data:
                connection.write(_chunk(data) if chunked else data)
                await connection.writable()
            if connection.closing:
                return
    except TimeoutError:
        connection.fail(
            BadRequest(N_("The request did not arrive in time."), status=_REQUEST_TIMEOUT)
        )
    except OSError:
        connection.fail(BadRequest("the client disconnected"))
    except RequestPayloadError:
        connection.fail(BadRequest(N_("The request is malformed.")))
    else:
        if chunked:
            connection.write(_LAST_CHUNK)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
