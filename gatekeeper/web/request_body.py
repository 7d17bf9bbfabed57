"""The short body of a request for one of the gate's own endpoints.

Rules. A body is read only if an endpoint needs it, up to `MAX_BODY_BYTES`, and for at most
`_TIMEOUT_S`. Its fields are texts: of a form, of a JSON object, or a single one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

import orjson
from aiohttp.web import BaseRequest, RequestPayloadError

from gatekeeper.errors import N_, BadRequest

MAX_BODY_BYTES: Final = 16_384  # hCaptcha's proofs have up to 8 KB
_TIMEOUT_S: Final = 10.0
_MAX_FIELDS: Final = 20
_TOO_LARGE = N_("The request is too large.")
_MALFORMED = N_("The request is malformed.")
_WRONG_TYPE = N_("This type of content is not accepted here.")

# Reads the body of a request; raises BadRequest.
ReadBody = Callable[[], Awaitable[bytes]]


async def no_body() -> bytes:
    """The body of a request that has none."""
    return b""


async def read_body(request: BaseRequest) -> bytes:
    """The whole body. Raises BadRequest if it is too large, or does not arrive in time."""
    body = bytearray()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            async for part in request.content.iter_any():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise BadRequest(_TOO_LARGE, status=413)
    except TimeoutError as error:
        raise BadRequest(_MALFORMED, status=408) from error
    except RequestPayloadError as error:
        raise BadRequest(_MALFORMED) from error
    return bytes(body)


def fields_of(body: bytes, content_type: str) -> Mapping[str, str]:
    """The fields of a body; that of plain text is "". Raises BadRequest."""
    media_type = content_type.partition(";")[0].strip().lower()
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(_MALFORMED) from error
    match media_type:
        case "application/json":
            return _of_json(text)
        case "application/x-www-form-urlencoded":
            return _of_form(text)
        case "text/plain":
            return {"": text.strip()}
        case _:
            raise BadRequest(_WRONG_TYPE, status=415)


def _of_form(text: str) -> Mapping[str, str]:
    """A duplicate name is malformed, since it is ambiguous."""
    try:
        pairs = set(parse_qsl(text, max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise BadRequest(_MALFORMED) from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadRequest(_MALFORMED)
    return fields


def _of_json(text: str) -> Mapping[str, str]:
    try:
        sent = orjson.loads(text)
    except ValueError as error:
        raise BadRequest(_MALFORMED) from error
    if not isinstance(sent, dict):
        raise BadRequest(_MALFORMED)
    return {name: value for name, value in sent.items() if isinstance(value, str)}
