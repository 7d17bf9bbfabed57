"""Input of the admin API: JSON bodies and query parameters.

Rules. A duplicate name is refused: parsers differ in which value they take. So are NaN and
Infinity, which are not JSON. A body has a limit in bytes and time: the listener has few
connections. BadRequest is 400, and nothing was changed.
"""

from __future__ import annotations

import asyncio
import json
from typing import NoReturn
from urllib.parse import unquote_to_bytes

from aiohttp import web

from gatekeeper.config.problems import shown
from gatekeeper.errors import BadRequest

_MAX_BODY_BYTES = 65_536
_TIMEOUT_S = 10.0


async def json_object(request: web.Request, *, example: str) -> dict[str, object]:
    """The body. Raises BadRequest unless it is a JSON object without repeated names, at any depth.
    `example` is shown in the error."""
    expected = f"expected a JSON object, e.g. {example}"
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            data = await request.read()  # at most 1 MiB, or aiohttp responds 413
    except TimeoutError:
        problem = f"body: did not arrive within {_TIMEOUT_S:g} s"
        raise BadRequest(f"{problem}; {expected}") from None
    if len(data) > _MAX_BODY_BYTES:
        raise BadRequest(f"body: longer than {_MAX_BODY_BYTES} bytes; {expected}")
    try:
        body = json.loads(data, object_pairs_hook=_object, parse_constant=_no_constant)
    except BadRequest:
        raise
    except (ValueError, RecursionError):
        raise BadRequest(f"body: not JSON; {expected}") from None
    if not isinstance(body, dict):
        raise BadRequest(f"body: not an object; {expected}")
    return body


def check_query(request: web.Request) -> None:
    """Raises BadRequest for a duplicate query parameter, and for one that is not UTF-8."""
    try:
        unquote_to_bytes(request.rel_url.raw_query_string).decode()
    except UnicodeDecodeError:
        raise BadRequest("query: not UTF-8; expected percent-encoded UTF-8") from None
    for name in request.query:
        if len(request.query.getall(name)) > 1:
            raise BadRequest(f"{_name(name)}: given twice in the query; expected it once")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise BadRequest(f"{_name(name)}: given twice in the body; expected it once")
        found[name] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _name(name: str) -> str:
    return name if name.isascii() and name.isidentifier() and len(name) <= 40 else shown(name)
