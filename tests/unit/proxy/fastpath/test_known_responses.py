"""A response head that was seen before is forwarded as one that was not.

Rules: every response goes through a server that has seen others, and through a fresh one. The
client receives the same bytes from both, and both connections end alike.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.proxy.fastpath.known_responses import KnownResponses
from gatekeeper.proxy.fastpath.server import FastPathServer
from gatekeeper.proxy.framing import LengthBody
from gatekeeper.proxy.response import parse_response_head
from gatekeeper.proxy.upstream import OriginConnection
from tests.conformance.fast_path_scene import GET, Aiohttp, Clock, Plan, Transport

DATES = tuple(f"Sun, 29 Nov 2026 12:00:{second:02} GMT" for second in range(40))
HEAD = GET.replace(b"GET", b"HEAD")
FIELDS = (
    "Server: nginx",
    "Content-Length: 3",
    "Content-Length: 0",
    "Transfer-Encoding: chunked",
    "Connection: keep-alive",
    "Connection: close",
    "Connection: date",
    "Connection: x-hop",
    "X-Hop: 1",
    "Keep-Alive: timeout=5",
    "Trailer: X-Sum",
    "Set-Cookie: a=b",
    "Set-Cookie: gatekeeper=b",
    "X-Queue-Token: b",
    "Gatekeeper-Command: revoke",
    'Clear-Site-Data: "cache"',
    "Date: today",
    "X-Date: Sun, 29 Nov 2026 12:00:00 GMT",
)
STATUS_LINES = ("HTTP/1.1 200 OK", "HTTP/1.1 200", "HTTP/1.1 304 Not Modified", "HTTP/1.0 200 OK")
BODIES = (b"", b"abc", b"abcd", b"3\r\nabc\r\n0\r\n\r\n", b"nonsense\r\n")


class AddedFields(Plan):
    """A plan whose visitor sends a command's response on, with a cookie."""

    def added(self, _: object) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"Set-Cookie", b"gatekeeper="),)


class AdmitAll:
    def recall(self, _: bytes, __: str) -> AddedFields:
        return AddedFields()


class Pool:
    """Gives the connection of this test."""

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
    looked_up = gate.responses.look_up(data)
    return looked_up is not None and looked_up[0] is not None


async def test_head_with_another_date_is_known() -> None:
    gate = server()
    for date in DATES[:3]:
        data = response("HTTP/1.1 200 OK", f"Date: {date}", "Content-Length: 3", body=b"abc")
        assert exchange(gate, data) == (data, "", "None", True)
    assert is_known(gate, data)
    assert len(gate.responses) == 1


async def test_known_head_of_closing_client_says_so() -> None:
    gate = server()
    data = response("HTTP/1.1 200 OK", f"Date: {DATES[0]}", "Content-Length: 0")
    kept = exchange(gate, data)
    gate.closing = True
    closed = exchange(gate, data, request=GET)
    assert b"Connection: close" not in kept.written
    fresh = server()
    fresh.closing = True
    assert closed == exchange(fresh, data)


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 3",),  # without a date
        ("Date: today", "Content-Length: 3"),
        (f"Date: {DATES[0]}",),  # until close
        (f"Date: {DATES[0]}", "Connection: date", "Content-Length: 3"),
        (f"Date: {DATES[0]}", "Gatekeeper-Command: revoke", "Content-Length: 3"),
        (f"Date: {DATES[0]}", "Set-Cookie: of-a-room-to-come=1", "Content-Length: 3"),
        (f"Date: {DATES[0]}", f"X-Long: {'x' * 2048}", "Content-Length: 3"),
    ],
)
async def test_head_is_not_kept(fields: tuple[str, ...]) -> None:
    gate = server()
    data = response("HTTP/1.1 200 OK", *fields, body=b"abc")
    assert exchange(gate, data) == exchange(gate, data) == exchange(server(), data)
    assert len(gate.responses) == 0


async def test_known_head_names_no_token_either() -> None:
    gate = server()
    fields = (f"Date: {DATES[0]}", "X-Queue-Token: forged", "Content-Length: 0")
    for _ in range(3):
        written = exchange(gate, response("HTTP/1.1 200 OK", *fields)).written
        assert written == response("HTTP/1.1 200 OK", fields[0], fields[2])
    assert len(gate.responses) == 1


@pytest.mark.parametrize("interim", [100, 103])
async def test_head_after_an_interim_one_is_not_kept(interim: int) -> None:
    gate = server()
    final = response("HTTP/1.1 200 OK", f"Date: {DATES[0]}", "Content-Length: 0")
    data = response(f"HTTP/1.1 {interim} Wait", f"Date: {DATES[0]}") + final
    assert exchange(gate, data).written == exchange(gate, data).written == data
    assert len(gate.responses) == 0
    assert exchange(gate, final).written == final


async def test_field_in_place_of_date_is_parsed() -> None:
    """What is cut from the key is as long as a date, and could hold the end of its line."""
    gate = server()
    before, after = "X-Before: 1", "Content-Length: 3"
    for date in DATES[:2]:
        exchange(gate, response("HTTP/1.1 200 OK", before, f"Date: {date}", after, body=b"abc"))
    assert len(gate.responses) == 1
    for cut in ("a\r\nContent-Length: 9999999999", "a\r\nTransfer-Encoding: gzip,aa"):
        assert len(cut) == len(DATES[0])
        data = response("HTTP/1.1 200 OK", before, f"Date: {cut}", after, body=b"abc")
        assert not is_known(gate, data)
        assert exchange(gate, data) == exchange(server(), data)
        assert exchange(gate, data).written == b""


@given(
    responses=st.lists(
        st.tuples(
            st.sampled_from(STATUS_LINES),
            st.sampled_from(DATES[:3]),
            st.lists(st.sampled_from(FIELDS), max_size=3),
            st.integers(0, 3),
            st.sampled_from(BODIES),
            st.sampled_from([GET, GET, HEAD]),
        ),
        max_size=8,
    )
)
async def test_known_and_fresh_heads_are_alike(
    responses: list[tuple[str, str, list[str], int, bytes, bytes]],
) -> None:
    gate = server()
    for status_line, date, fields, at, body, request in responses * 3:
        lines = [*fields[:at], f"Date: {date}", *fields[at:]]
        data = response(status_line, *lines, body=body)
        assert exchange(gate, data, request=request) == exchange(server(), data, request=request)


class Heads(KnownResponses):
    """Counts what it looks up and does not know."""

    misses = 0

    def _has_come_before(self, key: bytes) -> bool:
        self.misses += 1
        return super()._has_come_before(key)

    def take(self, numbers: Iterable[int]) -> int:
        """Look these heads up and keep them; how many were known."""
        count = 0
        for number in numbers:
            data = response(
                "HTTP/1.1 200 OK", f"X-Id: {number}", f"Date: {DATES[0]}", "Content-Length: 0"
            )
            looked_up = self.look_up(data)
            if looked_up is None:
                continue
            if looked_up[0] is not None:
                count += 1
                continue
            head = parse_response_head(data)
            assert head is not None
            self.keep(looked_up, head, LengthBody(0))
        return count


def test_head_is_kept_the_second_time() -> None:
    heads = Heads()
    assert heads.take([1, 2, 3, 1]) == 0
    assert len(heads) == 1
    assert heads.take([1, 2, 3]) == 1


def test_heads_that_all_differ_are_looked_up_rarely() -> None:
    heads = Heads()
    heads.take(range(1000))
    before = heads.misses
    heads.take(range(1000, 4200))
    assert heads.misses - before == 100
    assert len(heads) == 0


def test_heads_that_repeat_are_looked_up_again() -> None:
    heads = Heads()
    heads.take(range(1000))
    heads.take([0] * 128)
    assert heads.take([0] * 100) == 100


def test_number_of_heads_and_dates_is_bounded() -> None:
    heads = Heads()
    sizes = []
    for number in range(1500):
        heads.take([number] * 4)
        sizes.append(len(heads))
    assert max(sizes) == 1024
    for date in DATES:
        heads.look_up(response("HTTP/1.1 200 OK", f"Date: {date}"))
    assert 0 < len(heads._dates) <= 16
    assert len(heads._seen) <= 1024
