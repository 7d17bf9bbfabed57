"""Parsers of heads and bodies take time linear in their input, also for adversarial input.

The patterns of `re` behind them must not backtrack.
"""

import re
from collections.abc import Callable
from contextlib import suppress

import pytest

from gatekeeper.errors import OriginProtocolError
from gatekeeper.policy.facts import HOST
from gatekeeper.proxy.framing import ChunkedBody
from gatekeeper.proxy.plain_head import MAX_PLAIN_BYTES, may_be_plain, parse_plain_head
from gatekeeper.proxy.response import MAX_HEAD_BYTES, parse_response_head
from tests.linear_time import MAX_RATIO, assert_linear, growth

_STATUS_LINE = b"HTTP/1.1 200 OK"
_REQUEST_LINE = b"GET / HTTP/1.1\r\n"
_REFUSED = b"\r\n\0\r\n\r\n"

# Each returns an input of about `size` bytes.
Input = Callable[[int], bytes]

RESPONSE_HEADS: dict[str, Input] = {
    "short fields, then NUL": lambda size: _STATUS_LINE + b"\r\na:" * (size // 4) + _REFUSED,
    "short fields without an end": lambda size: _STATUS_LINE + b"\r\na:" * (size // 4),
    "a long name without a colon": lambda size: _STATUS_LINE + b"\r\n" + b"a" * size + b"\r\n\r\n",
    "a long value, then NUL": lambda size: _STATUS_LINE + b"\r\na:" + b" " * size + _REFUSED,
    "a long reason, then NUL": lambda size: _STATUS_LINE + b" " * size + _REFUSED,
    "names like those of the connection": lambda size: (
        _STATUS_LINE + b"\r\nconnectio:" * (size // 12) + b"\r\n\r\n"
    ),
    "one Connection that names many fields": lambda size: (
        (_STATUS_LINE + b"\r\nConnection: " + b"a," * (size // 4) + b"\r\na:" * (size // 8))
        + b"\r\n\r\n"
    ),
}

REQUEST_HEADS: dict[str, Input] = {
    "short fields, then NUL": lambda size: (
        _REQUEST_LINE + b"a: b\r\n" * (size // 6) + b"\0\r\n\r\n"
    ),
    "short fields without an end": lambda size: _REQUEST_LINE + b"a: b\r\n" * (size // 6),
    "a long target without a version": lambda size: b"GET /" + b"a" * size + b"\r\n\r\n",
    "a long name without a colon": lambda size: _REQUEST_LINE + b"a" * size + b"\r\n\r\n",
    "spaces around a value": lambda size: _REQUEST_LINE + b"a: b" + b" " * size + b"\r\n\r\n",
    "bare CR": lambda size: _REQUEST_LINE + b"\r" * size,
    "bare LF": lambda size: _REQUEST_LINE + b"\n" * size,
    "empty lines": lambda size: _REQUEST_LINE + b"\r\n" * (size // 2),
}

TRAILERS: dict[str, Input] = {
    "short trailers, then NUL": lambda size: b"0\r\n" + b"a:\r\n" * (size // 4) + b"\0\r\n",
    "a long name without a colon": lambda size: b"0\r\n" + b"a" * size + b"\r\n",
    "a long value, then NUL": lambda size: b"0\r\na:" + b" " * size + b"\0\r\n",
    "extensions of one byte": lambda size: b"1;a\r\nx\r\n" * (size // 8),
}

HOSTS: dict[str, Input] = {
    "a long name, then NUL": lambda size: b"a." * (size // 2) + b"\0",
    "a long address": lambda size: b"[" + b":" * size,
    "a long port": lambda size: b"a:" + b"1" * size,
}


@pytest.mark.parametrize("name", RESPONSE_HEADS)
def test_response_head_parses_in_linear_time(name: str) -> None:
    def parse(data: bytes) -> None:
        with suppress(OriginProtocolError):
            parse_response_head(data)

    assert_linear(parse, RESPONSE_HEADS[name], largest=MAX_HEAD_BYTES - 100)


@pytest.mark.parametrize("name", REQUEST_HEADS)
def test_plain_head_parses_in_linear_time(name: str) -> None:
    assert_linear(parse_plain_head, REQUEST_HEADS[name], largest=MAX_PLAIN_BYTES)


@pytest.mark.parametrize("name", REQUEST_HEADS)
def test_begun_plain_head_is_judged_in_linear_time(name: str) -> None:
    assert_linear(may_be_plain, REQUEST_HEADS[name], largest=MAX_PLAIN_BYTES)


@pytest.mark.parametrize("name", TRAILERS)
def test_chunked_body_is_scanned_in_linear_time(name: str) -> None:
    def parse(data: bytes) -> None:
        with suppress(OriginProtocolError):
            ChunkedBody(decode=False).take(data)

    assert_linear(parse, TRAILERS[name], largest=16_000)


@pytest.mark.parametrize("name", HOSTS)
def test_host_is_checked_in_linear_time(name: str) -> None:
    def check(data: bytes) -> None:
        HOST.fullmatch(data.decode("latin-1"))

    assert_linear(check, HOSTS[name], largest=MAX_PLAIN_BYTES)


def test_backtracking_is_detected() -> None:
    """Cubic work grows 64 times, far above the bound, also if a small input has constant costs."""
    backtracking = re.compile(rb"a*[ab]*[abc]*d")
    assert growth(backtracking.match, lambda size: b"a" * size, largest=240) > MAX_RATIO
