"""A request that differs from a known one only in values is forwarded like by a new lookup.

Rules: a lookup that has seen other heads gives the same result as a new one.
"""

from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.access import (
    AccessRule,
    CookieCondition,
    FieldCondition,
    NamedValue,
    PathCondition,
)
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.proxy.response import parse_response_head
from gatekeeper.web.fastpath.known_forwards import KnownForward, VariedForward
from gatekeeper.web.fastpath.lookup import FastPathLookup
from gatekeeper.web.lasting_exchanges import LastingExchanges
from tests.linear_time import assert_linear
from tests.unit.web.fastpath.lookup_scene import (
    DAY_S,
    GATES,
    ONE_ROOM,
    OTHER_PEER,
    PASSES,
    PEER,
    ROOMS,
    block,
    bypass,
    cookie,
    exit_of,
    head,
    lookup,
)

PASS = PASSES["default"]
REFERER = "Referer: https://shop.example/"
WHOLE = f"{REFERER}1"


def visit(number: object, *, pass_: str = PASS, target: str = "/") -> bytes:
    """A request with this number in its referrer and in one of its cookies."""
    return head(target, f"{REFERER}{number}", f"Cookie: a=b; n={number}; {pass_}; c=%d")


def experienced(*requests: bytes, rooms: tuple[RoomConfig, ...] = ONE_ROOM) -> FastPathLookup:
    looked = lookup(rooms)
    for each in requests:
        exit_of(looked, each, PEER)
    return looked


def is_varied(looked: FastPathLookup, data: bytes, peer: str = PEER) -> bool:
    return isinstance(looked.recall(data, peer), VariedForward)


def test_other_values_are_forwarded_in_their_places() -> None:
    looked = experienced(visit(1))
    assert is_varied(looked, visit(2))
    plan = looked.recall(visit(2), PEER)
    assert isinstance(plan, VariedForward)
    lines = plan.rest.split(b"\r\n")
    assert lines[1:3] == [f"{REFERER}2".encode(), b"Cookie: a=b; n=2; c=%d"]
    assert exit_of(looked, visit(2), PEER) == exit_of(lookup(ONE_ROOM), visit(2), PEER)


@pytest.mark.parametrize(
    "fields",
    [
        [REFERER, f"Cookie: {PASS}"],
        [REFERER, f"Cookie: {PASS}; a=b"],
        [REFERER, f"Cookie: ; {PASS} ;a=b"],
        [f"cookie: a=b; {PASS}", "referer: /"],
        [f"Cookie: a=b; {PASS}", 'If-None-Match: "a"', 'if-none-match: "b"', "X-Request-ID: 1"],
        [f"Cookie: a=b; {PASS}", "If-Modified-Since: Sun, 29 Nov 2026 12:00:00 GMT", "X-P: 100%d"],
    ],
)
def test_head_with_other_values_is_as_a_fresh_one(fields: list[str]) -> None:
    looked = experienced(head("/", *fields))
    others = [
        each.replace("/", "/x").replace("a=b", "a=bb; d").replace('"', '"x').replace("2026", "2027")
        for each in fields
    ]
    data = head("/", *others)
    assert is_varied(looked, data)
    assert exit_of(looked, data, PEER) == exit_of(lookup(ONE_ROOM), data, PEER)


@pytest.mark.parametrize(
    ("field", "other"),
    [
        (WHOLE, "Referer: a\x01"),
        (WHOLE, "Referer: a\nX-Other: b"),
        (WHOLE, "Referer:  a"),
        (WHOLE, "Referer: a "),
        (WHOLE, "Referer: "),
        (WHOLE, f"{WHOLE}\r\n{WHOLE}"),
        ("c=%d", "gatekeeper"),
        ("c=%d", "gatekeeper =1"),
        ("c=%d", "x=\x7f"),
        (f"; {PASS}", ""),
        (PASS, PASS + "\x01"),
        (PASS, PASS[:-1]),
        ("Cookie", "Cookie: a=b\r\nCookie"),
        (": a=b; n=1", ": \r\nX-Cookie: a=b; n=1"),
    ],
)
def test_head_that_is_not_alike_is_looked_at_in_full(field: str, other: str) -> None:
    data = visit(1).replace(field.encode(), other.encode())
    assert data != visit(1)
    assert experienced(visit(1)).recall(data, PEER) is None


@pytest.mark.parametrize("name", ["Referer", "X-Request-Id", "If-None-Match"])
@pytest.mark.parametrize("others", [f"a=b; {PASS}", f"{PASS}; a=b"])
def test_cookie_does_not_take_the_place_of_an_empty_value(name: str, others: str) -> None:
    known = [f"{name}: 1", f"Cookie: {PASS}"]  # the origin receives no cookie
    empty = [f"{name}: ", f"Cookie: {others}"]
    for order in (1, -1):
        looked = experienced(head("/", *known[::order]))
        assert looked.recall(head("/", *empty[::order]), PEER) is None


def test_bytes_after_the_head_are_no_cookie_of_it() -> None:
    looked = experienced(head("/", f"{REFERER}1", f"Cookie: {PASS}"))
    assert is_varied(looked, head("/", f"{REFERER}2", f"Cookie: {PASS}"))
    smuggled = head("/", f"{REFERER}2", "Cookie: ") + f";{PASS}".encode()
    assert looked.recall(smuggled, PEER) is None


def test_known_values_of_another_peer_are_looked_at_in_full() -> None:
    looked = experienced(visit(1))
    assert looked.recall(visit(2), OTHER_PEER) is None
    assert exit_of(looked, visit(2), OTHER_PEER).way == "forward"
    assert is_varied(looked, visit(3))
    assert is_varied(looked, visit(3), OTHER_PEER)


def test_other_pass_is_read_and_names_its_visitor() -> None:
    looked, other = experienced(visit(1)), cookie("default", visitor="B" * 22)
    for number, pass_ in enumerate((other, PASS, other)):
        data = visit(number + 2, pass_=pass_)
        plan = looked.recall(data, PEER)
        assert isinstance(plan, VariedForward)
        assert (b"Visitor: BBBB" in plan.rest) == (pass_ is other)
        assert exit_of(looked, data, PEER) == exit_of(lookup(ONE_ROOM), data, PEER)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_revoked_pass_is_not_recalled(times: int) -> None:
    """Known without its values, after another visitor of this peer, and completely."""
    visitor = VisitorId(f"revoked-{times}".ljust(22, "_"))
    pass_ = cookie("default", visitor=visitor)
    looked = experienced(visit(1, pass_=pass_), visit(2))
    assert all(looked.recall(visit(3, pass_=pass_), PEER) for _ in range(times))
    view = GATES[RoomName("default")].admission.room.view
    view.revoke([visitor], until_s=view.now_s() + DAY_S, count=1)
    assert looked.recall(visit(3, pass_=pass_), PEER) is None
    assert looked.recall(visit(4, pass_=pass_), PEER) is None
    assert is_varied(looked, visit(4))


@pytest.mark.parametrize("life_s", [-1.0, 7200.0])
def test_pass_that_cannot_be_forwarded_unchanged_is_not_recalled(life_s: float) -> None:
    looked = experienced(visit(1))
    other = cookie("default", visitor="B" * 22, life_s=life_s, issued_ago_s=3600.0)
    assert looked.recall(visit(2, pass_=other), PEER) is None


def test_passes_of_several_rooms_are_all_part_of_what_is_known() -> None:
    both = f"{PASSES['checkout']}; {PASS}"
    looked = experienced(visit(1, pass_=both), rooms=ROOMS)
    assert is_varied(looked, visit(2, pass_=both))
    for target in ("/", "/free/checkout/", "/robots.txt"):
        data = visit(2, pass_=both, target=target)
        assert exit_of(looked, data, PEER) == exit_of(lookup(ROOMS), data, PEER)


@pytest.mark.parametrize(
    "condition",
    [
        FieldCondition((NamedValue("Referer", ("*/2",)),)),
        CookieCondition((NamedValue("n", ("2",)),)),
    ],
)
@pytest.mark.parametrize("path", ["/**", "/secret"])
def test_rule_on_a_value_is_applied_to_each_value(
    condition: FieldCondition | CookieCondition, path: str
) -> None:
    """Also if only some addresses have such a rule, and for a field block that occurred several
    times."""
    rules = [AccessRule("closed", "block", (PathCondition((path,)), condition))]
    looked = lookup(ONE_ROOM, rules)
    for number in (1, 2, 2, 2, 2, 3, 2):
        for target in ("/", "/secret", "/"):
            data = visit(number, target=target)
            assert exit_of(looked, data, PEER) == exit_of(lookup(ONE_ROOM, rules), data, PEER)


def test_rule_on_the_client_keeps_values_apart_from_it() -> None:
    rules = [bypass(PathCondition(("/free/**",))), block(CookieCondition((NamedValue("n"),)))]
    looked = lookup(ONE_ROOM, rules)
    for target in ("/", "/free/a", "/secret", "/free/b"):
        for number in range(3):
            data = visit(number, target=target)
            assert exit_of(looked, data, PEER) == exit_of(lookup(ONE_ROOM, rules), data, PEER)


def test_block_is_known_as_a_whole_when_it_came_twice() -> None:
    looked = experienced(visit(1), visit(2))
    assert is_varied(looked, visit(2))
    assert not is_varied(looked, visit(2))
    assert exit_of(looked, visit(2), PEER) == exit_of(lookup(ONE_ROOM), visit(2), PEER)


@pytest.mark.parametrize("times", [1, 3])
def test_cookies_of_this_request_are_the_ones_that_are_cleared(times: int) -> None:
    looked = experienced(visit(1))
    data = head("/", f"{REFERER}2", f"Cookie: other=1; {PASS}; c=%d")
    for _ in range(times):
        plan = looked.recall(data, PEER)
    response = parse_response_head(b'HTTP/1.1 200 OK\r\nClear-Site-Data: "cookies"\r\n\r\n')
    assert isinstance(plan, VariedForward if times == 1 else KnownForward)
    assert response is not None
    fields = plan.added(response)
    assert fields is not None
    cleared = {value.partition(b"=")[0] for name, value in fields if name == b"Set-Cookie"}
    assert cleared == {b"other", b"c"}


class _Connection(NamedTuple):
    exchange: tuple[float, VariedForward]


def test_stream_to_a_varied_request_keeps_its_session() -> None:
    looked = experienced(visit(1))
    plan = looked.recall(visit(2), PEER)
    assert isinstance(plan, VariedForward)
    server: Any = SimpleNamespace(connections=[_Connection((1.0, plan))])
    exchanges = LastingExchanges(server)
    exchanges.sweep()
    assert len(exchanges) == 1


def test_number_of_known_requests_is_bounded() -> None:
    looked = lookup(ONE_ROOM)
    for number in range(9000):
        looked.resolve(head("/", f"{REFERER}{number}", f"X-Id: {number}", f"Cookie: {PASS}"), PEER)
    assert len(looked._known) == 4096
    assert len(looked._known._forms) == 8192
    for number in range(9000):
        looked.recall(head("/", f"{REFERER}{number}", "X-Id: 8999", f"Cookie: {PASS}"), PEER)
    assert len(looked._known._repeats) <= 4096


def test_large_blocks_are_forwarded_and_not_kept() -> None:
    looked = experienced(visit(1))
    for _ in range(4):
        assert is_varied(looked, visit("2" * 3000))
    assert len(looked._known) == 1
    other = f"{cookie('default', visitor='B' * 22)}; gatekeeper={'x' * 3000}"
    assert looked.recall(visit(2, pass_=other), PEER) is None


def test_values_are_cut_out_in_linear_time() -> None:
    known = experienced(visit(1))._known

    def cut(data: bytes) -> None:  # a known block would not be parsed
        known._cut(data, PEER)

    for text in (b"; gatekeepe=", b";\t ", b"; ", b"gatekeeper=a;", b"\r\nReferer: a", b"\r\n"):
        assert_linear(cut, partial(_filled, text), largest=8000)


def _filled(text: bytes, size: int) -> bytes:
    return visit(1)[:-4] + text * (size // len(text)) + b"\r\n\r\n"


CRUMBS = (
    "a=b",
    "n=2",
    PASS,
    PASSES["checkout"],
    "gatekeeper",
    "gatekeeper=",
    'q="',
    "c=%s",
    "",
    " ",
)


@given(
    crumbs=st.lists(st.sampled_from(CRUMBS), max_size=5),
    between=st.sampled_from(["; ", ";", ";\t", " ; "]),
    referer=st.text("a%\\x01\\t \\xff", max_size=3),
)
def test_any_cookie_is_forwarded_as_by_a_fresh_lookup(
    crumbs: list[str], between: str, referer: str
) -> None:
    looked = experienced(visit(1), head("/", REFERER, f"Cookie: {PASS}"))
    data = head("/", f"{REFERER}{referer}", f"Cookie: {between.join(crumbs)}")
    for _ in range(3):
        assert exit_of(looked, data, PEER) == exit_of(lookup(ONE_ROOM), data, PEER)
