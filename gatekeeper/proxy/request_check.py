"""What RFC 9110 and 9112 forbid in a request and aiohttp's parser lets through.

Rules: pure; the gate asks this first, for every request. The parser itself refuses, with 400 and
before any of our code: control characters, bare CR or LF, folding, whitespace before a colon,
names that are no tokens, both Content-Length and Transfer-Encoding, either twice, a length that
is no number, Host twice or (in 1.1) missing, malformed chunks, lines and heads that are too long.
The tests hold it to that.
"""

from __future__ import annotations

import re

from aiohttp import HttpVersion10, HttpVersion11
from aiohttp.web import BaseRequest

from gatekeeper.errors import BadRequest

# RFC 3986 section 3.2.2, without what no host in use has: percent-encoding and sub-delimiters.
HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")

_ABSOLUTE = re.compile(r"(?i:https?)://([^/?#]*)(?:[/?].*)?", re.DOTALL)


def check_request(request: BaseRequest) -> None:
    """Raise `BadRequest` for what must be neither answered from within nor forwarded."""
    _check_request_line(request)
    _check_host(request)
    headers = request.headers
    if "Transfer-Encoding" in headers:
        # RFC 9112 section 6.1: in 1.0 its framing is faulty by definition.
        if request.version == HttpVersion10 or "Content-Length" in headers:
            raise BadRequest("Transfer-Encoding is not allowed here")
        if headers["Transfer-Encoding"].lower() != "chunked":
            raise BadRequest("Transfer-Encoding must be chunked")
    # Twice the same or in a list is no other expectation, but some who read it see none.
    expected = headers.getall("Expect", ())
    if len(expected) > 1 or any(value.lower() != "100-continue" for value in expected):
        raise BadRequest("the only expectation is 100-continue", status=417)


def _check_request_line(request: BaseRequest) -> None:
    if request.version not in {HttpVersion10, HttpVersion11}:
        raise BadRequest("this is a server of HTTP/1.1")
    if request.method == "CONNECT":
        raise BadRequest("this is no tunnel")
    if request.method == "TRACE" and request.body_exists:
        raise BadRequest("TRACE has no body")  # RFC 9110 section 9.3.8
    if "#" in request.raw_path:
        raise BadRequest("a request target has no fragment")


def _check_host(request: BaseRequest) -> None:
    host = request.headers.get("Host")
    if host is None:
        if request.version == HttpVersion11:
            raise BadRequest("Host is missing")
    elif HOST.fullmatch(host) is None:
        raise BadRequest("Host is not a host")
    if request.raw_path[:1] in {"/", "*"}:
        return
    absolute = _ABSOLUTE.fullmatch(request.raw_path)
    if absolute is None or host is None or absolute[1].lower() != host.lower():
        raise BadRequest("the request target is at another host")
