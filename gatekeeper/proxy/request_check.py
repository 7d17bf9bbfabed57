"""Checks for requests that RFC 9110 and 9112 forbid and aiohttp's parser accepts.

Rules: pure; the first step for every request. The parser itself rejects with 400: control
characters, bare CR or LF, folded lines, whitespace before a colon, names that are not tokens, both
Content-Length and Transfer-Encoding, either twice, an invalid length, Host twice or (in HTTP/1.1)
missing, malformed chunks, lines and fields that are too long. `tests/conformance` verifies that.
"""

from __future__ import annotations

import re

from aiohttp import HttpVersion10, HttpVersion11
from aiohttp.web import BaseRequest

from gatekeeper.errors import BadRequest
from gatekeeper.policy.facts import HOST

_ABSOLUTE = re.compile(r"(?i:(http|https))://([^/?#]*)(?:[/?].*)?", re.DOTALL)
_DEFAULT_PORT = {"http": ":80", "https": ":443"}  # RFC 9110 section 4.2.3: the same as none


def check_request(request: BaseRequest) -> None:
    """Raise `BadRequest` for a request that must neither be served nor forwarded."""
    _check_request_line(request)
    _check_host(request)
    headers = request.headers
    if "Transfer-Encoding" in headers:
        # RFC 9112 section 6.1: in HTTP/1.0 its framing is faulty by definition.
        if request.version == HttpVersion10 or "Content-Length" in headers:
            raise BadRequest("Transfer-Encoding is not allowed in this request")
        if headers["Transfer-Encoding"].lower() != "chunked":
            raise BadRequest("Transfer-Encoding must be chunked")
    # A repeated value has the same meaning, but some servers ignore it.
    expected = headers.getall("Expect", ())
    if len(expected) > 1 or any(value.lower() != "100-continue" for value in expected):
        raise BadRequest("Expect must be 100-continue", status=417)


def _check_request_line(request: BaseRequest) -> None:
    if request.version not in {HttpVersion10, HttpVersion11}:
        raise BadRequest("the HTTP version must be 1.0 or 1.1")
    method = request.method.upper()  # an origin may ignore the letter case
    if method == "CONNECT":
        raise BadRequest("CONNECT is not supported")
    if method == "TRACE" and request.body_exists:
        raise BadRequest("TRACE must not have a body")  # RFC 9110 section 9.3.8
    if "#" in request.raw_path:
        raise BadRequest("the request target must not contain a fragment")


def _check_host(request: BaseRequest) -> None:
    host = request.headers.get("Host")
    if host is None:
        if request.version == HttpVersion11:
            raise BadRequest("Host is missing")
    # Empty is valid (RFC 9112 section 3.2), and in no room.
    elif host and HOST.fullmatch(host) is None:
        raise BadRequest("Host is not a valid host name")
    if request.raw_path[:1] in {"/", "*"}:
        return
    absolute = _ABSOLUTE.fullmatch(request.raw_path)
    if absolute is None or host is None or not _is_same_host(absolute, host):
        raise BadRequest("the request target and Host must name the same host")


def _is_same_host(absolute: re.Match[str], host: str) -> bool:
    port = _DEFAULT_PORT[absolute[1].lower()]
    return absolute[2].lower().removesuffix(port) == host.lower().removesuffix(port)
