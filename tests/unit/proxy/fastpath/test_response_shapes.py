"""A response head with a known shape is forwarded like a parsed one.

Rules: every response goes through a server that has seen others, and through a new one. The client
receives the same bytes from both, and both connections end in the same way.
"""

import re
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.proxy.fastpath.response_shapes import ResponseShapes
from gatekeeper.proxy.fastpath.server import FastPathServer
from gatekeeper.proxy.framing import LengthBody
from gatekeeper.proxy.response import parse_response_head
from gatekeeper.proxy.upstream import OriginConnection
from tests.conformance.fast_path_scene import GET, Aiohttp, Clock, Plan, Transport
from tests.linear_time import assert_linear

DATES = tuple(f"Sun, 29 Nov 2026 12:00:{second:02} GMT" for second in range(40))
HEAD = GET.replace(b"GET", b"HEAD")
FIELDS = (
    "Server: nginx",
    "Content-Length: 3",
    "Content-Length: 0",
    "Content-Length: ?",
    "content-length:3 ",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: ?",
    "Connection: keep-alive",
    "Connection: close",
    "Connection: ?",
    "Connection: x-hop",
    "X-Hop: ?",
    "Keep-Alive: timeout=5",
    "Trailer: X-Sum",
    "Set-Cookie: a=?",
    "Set-Cookie: ?",
    "Set-Cookie: gatekeeper=?",
    "X-Queue-Token: ?",
    "Gatekeeper-Command: revoke",
    'Clear-Site-Data: "cache"',
    "Date: ?",
    "X-Date: ?",
)
VALUES = ("1", "3", "0", "", "gatekeeper=1", "gatekeeper", "a\tb", "a\nb", "\r", "x-date", "\xff%(")
STATUS_LINES = (
    "HTTP/1.1 200 OK",
    "HTTP/1.1 200",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 204 No Content",
)
BODIES = (b"", b"abc", b"abcd", b"3\r\nabc\r\n0\r\n\r\n", b"nonsense\r\n")


class AddedFields(Plan):
    """A plan that adds fields with a cookie to the response."""

    def added(self, _: object) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"Set-Cookie", b"gatekeeper="),)


class AdmitAll:
    def recall(self, _: bytes, __: str) -> AddedFields:
        return AddedFields()


class Pool:
    """Returns the connection of this test."""

    origin: OriginConnection

    def warm(self, _: float) -> OriginConnection:
        return self.origin

    def release(self, connection: OriginConnection) -> None:
        connection.finish()


class ExchangeResult(NamedTuple):
    """What the client received, and how the connections ended."""

    written: bytes
    ended: str
    failure: str
    reusable: bool


def server() -> FastPathServer:
    return FastPathServer(
        cast(Any, Pool()),
        admission=cast(Any, AdmitAll()),
        handler=cast(Any, Aiohttp),
        idle_timeout_s=75,
        client_timeout_s=60,
    )


def exchange(gate: FastPathServer, response: bytes, *, request: bytes = GET) -> ExchangeResult:
    clock, client = Clock(), Transport()
    origin = OriginConnection(read_timeout_s=50, on_lost=lambda _: None)
    origin._loop = cast(Any, clock)
    origin.connection_made(cast(Any, Transport()))
    cast(Any, gate.pool).origin = origin
    connection = gate()
    connection._loop = cast(Any, clock)
    connection.connection_made(cast(Any, client))
    connection.data_received(request)
    origin.data_received(response)
    failure = getattr(client.protocol, "failure", None)
    connection.connection_lost(None)
    return ExchangeResult(client.written, client.ended, str(failure), origin.reusable)


def response(status_line: str, *fields: str, body: bytes = b"") -> bytes:
    return "\r\n".join([status_line, *fields, "", ""]).encode() + body


def is_known(gate: FastPathServer, data: bytes) -> bool:
    return gate.responses.find(data, Plan.own_cookies) is not None


async def test_head_with_other_values_is_known() -> None:
    gate = server()
    for number, date in enumerate(DATES[:3]):
        data = response(
            "HTTP/1.1 200 OK",
            f"Date: {date}",
            f"Content-Length: {number}",
            f"Set-Cookie: session={number}; Path=/",
            f'ETag: "{number}"',
            body=b"abc"[:number],
        )
        assert is_known(gate, data) == (number == 2)
        assert exchange(gate, data) == (data, "", "None", True)
    assert len(gate.responses) == 1


async def test_known_head_of_closing_client_says_so() -> None:
    gate = server()
    data = response("HTTP/1.1 200 OK", "Content-Length: 0")
    kept = [exchange(gate, data) for _ in range(2)]
    gate.closing = True
    assert is_known(gate, data)
    closed = exchange(gate, data)
    assert b"Connection: close" not in kept[1].written
    fresh = server()
    fresh.closing = True
    assert closed == exchange(fresh, data)


@pytest.mark.parametrize(
    "fields",
    [
        ("X-Id: 1",),  # the body ends with the connection
        ("Gatekeeper-Command: revoke", "Content-Length: 3"),
        ('Clear-Site-Data: "cache"', "Content-Length: 3"),
        (f"X-Long: {'x' * 2048}", "Content-Length: 3"),
    ],
)
async def test_head_makes_no_shape(fields: tuple[str, ...]) -> None:
    gate = server()
    data = response("HTTP/1.1 200 OK", *fields, body=b"abc")
    assert exchange(gate, data) == exchange(gate, data) == exchange(server(), data)
    assert len(gate.responses) == 0


@pytest.mark.parametrize(
    ("learned", "other"),
    [
        ("Connection: x-hop", "Connection: close"),
        ("Connection: keep-alive", "Connection: x-hop"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: gzip"),
        ("Content-Length: 3", "Content-Length: +3"),
        ("Content-Length: 3", "Content-Length: 1234567890123456789"),
        ("Content-Length: 3", "Content-Length: 3\r\nContent-Length: 3"),
        ("Content-Length: 3", "Content-Length: 3\r\nGatekeeper-Command: revoke"),
        ("Set-Cookie: a=b", "Set-Cookie: gatekeeper=b"),
        ("Set-Cookie: a=b", "Set-Cookie: a"),
        ("X-Id: 1", "X-Id: 1\nX-Other: 2"),
        ("X-Id: 1", "X-Id: 1\r\n folded"),
        ("X-Id: 1", "X-Id: \0"),
        ("X-Id: 1", "X-ID: 1"),
        ("X-Id: 1", f"X-Id: {'x' * 65536}"),
    ],
)
async def test_head_is_not_of_the_shape_of_another(learned: str, other: str) -> None:
    gate = server()
    framing = () if "-Encoding" in learned or "-Length" in learned else ("Content-Length: 3",)
    body = b"3\r\nabc\r\n0\r\n\r\n" if "chunked" in learned else b"abc"
    for _ in range(2):
        exchange(gate, response("HTTP/1.1 200 OK", "X-Hop: 1", learned, *framing, body=body))
    assert len(gate.responses) == 1
    data = response("HTTP/1.1 200 OK", "X-Hop: 1", other, *framing, body=body)
    assert not is_known(gate, data)
    assert exchange(gate, data) == exchange(server(), data)


async def test_known_head_names_no_token_either() -> None:
    gate = server()
    fields = ("X-Queue-Token: forged", "Set-Cookie: gatekeeper=forged", "X-Id: 1")
    for _ in range(3):
        written = exchange(gate, response("HTTP/1.1 200 OK", *fields, "Content-Length: 0")).written
        assert written == response("HTTP/1.1 200 OK", "X-Id: 1", "Content-Length: 0")
    assert len(gate.responses) == 1


async def test_cookies_of_a_new_room_make_known_heads_unknown() -> None:
    gate = server()
    data = response("HTTP/1.1 200 OK", "Set-Cookie: gatekeeper-new=1", "Content-Length: 0")
    for _ in range(2):
        exchange(gate, data)
    assert is_known(gate, data)
    assert gate.responses.find(data, frozenset({"gatekeeper-new"})) is None


@pytest.mark.parametrize("interim", [100, 103])
async def test_head_after_an_interim_one_makes_no_shape(interim: int) -> None:
    gate = server()
    final = response("HTTP/1.1 200 OK", "Content-Length: 0")
    data = response(f"HTTP/1.1 {interim} Wait", "X-Id: 1") + final
    assert exchange(gate, data).written == exchange(gate, data).written == data
    assert len(gate.responses) == 0
    assert exchange(gate, final).written == final


@given(
    responses=st.lists(
        st.tuples(
            st.sampled_from(STATUS_LINES),
            st.lists(st.sampled_from(FIELDS), max_size=4),
            st.sampled_from(BODIES),
            st.sampled_from([GET, GET, HEAD]),
        ),
        max_size=8,
    ),
    values=st.lists(st.sampled_from(VALUES), min_size=3, max_size=3),
)
async def test_known_and_fresh_heads_are_alike(
    responses: list[tuple[str, list[str], bytes, bytes]], values: list[str]
) -> None:
    gate = server()
    for value in values:
        for status_line, fields, body, request in responses:
            lines = [field.replace("?", value) for field in fields]
            data = response(status_line, *lines, body=body)
            assert exchange(gate, data, request=request) == exchange(
                server(), data, request=request
            )


def take(shapes: ResponseShapes, *names: object) -> int:
    """The number of heads with these fields that have a known shape; the others are learned."""
    known = 0
    for name in names:
        data = response("HTTP/1.1 200 OK", f"X-{name}: 1", "Content-Length: 0")
        if shapes.find(data, frozenset()) is not None:
            known += 1
            continue
        head = parse_response_head(data)
        assert head is not None
        shapes.learn(data, head, LengthBody(0))
    return known


def test_shape_is_made_the_second_time() -> None:
    shapes = ResponseShapes()
    assert take(shapes, "a", "b", "c", "a") == 0
    assert len(shapes) == 1
    assert take(shapes, "a", "b", "c") == 1


def test_heads_of_many_kinds_are_parsed_for_a_while() -> None:
    shapes = ResponseShapes()
    take(shapes, *range(1000))
    assert take(shapes, "a", "a", "a") == 0
    assert len(shapes) == 0
    take(shapes, *["a"] * 16_384)
    assert take(shapes, "a", "a", "a") == 3


def test_origin_with_new_kinds_is_learned_again() -> None:
    shapes = ResponseShapes()
    old, new = (list(range(start, start + 8)) * 2 for start in (0, 100))
    take(shapes, *old)
    assert take(shapes, *old) == 16
    take(shapes, *new * 1200)
    assert take(shapes, *new) == 16


def test_many_kinds_cost_a_bounded_number_of_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning a shape costs a hundred times what one use of it saves."""
    made = 0

    def count(source: bytes) -> re.Pattern[bytes]:
        nonlocal made
        made += 1
        return compile_pattern(source)

    compile_pattern = re.compile
    monkeypatch.setattr(re, "compile", count)
    shapes = ResponseShapes()
    take(shapes, *list(range(100)) * 500)
    assert 0 < made <= 50_000 / 1000
    assert len(shapes) <= 8


def test_shapes_in_turn_are_all_known() -> None:
    shapes = ResponseShapes()
    kinds = list(range(8))
    take(shapes, *kinds * 2)
    assert take(shapes, *kinds * 100) == 800


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\0", b"\r\nX-Id: 1\r\n\r\n"])
@pytest.mark.parametrize("text", [b"a", b" ", b"\t=; ", b"\xff", b"3", b": "])
def test_head_is_matched_in_linear_time(text: bytes, end: bytes) -> None:
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: 1\r\nX-B: 1\r\nSet-Cookie: a="
    shapes, head = ResponseShapes(), parse_response_head(start + b"\r\n\r\n")
    assert head is not None
    for _ in range(2):
        shapes.learn(start + b"\r\n\r\n", head, LengthBody(3))
    assert len(shapes) == 1

    def filled(size: int) -> bytes:
        value = text * (size // len(text) // 3)
        return start.replace(b"1\r", value + b"\r") + value + end

    assert_linear(lambda data: shapes.find(data, frozenset()), filled, largest=12_000)
