"""The fast path decides like the pipeline, for any contents of its caches.

Rules: every request goes through a lookup that has seen others, and through a new one. The result
from a cache must be the result of the first lookup of the same bytes from the same peer.
"""

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.access import (
    AccessRule,
    CookieCondition,
    FieldCondition,
    NamedValue,
    PathCondition,
    RuleAction,
)
from gatekeeper.policy.default_rules import DEFAULT_RULES
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.routing import Bypassed, InRoom, Route, Router
from tests.unit.web.fastpath.lookup_scene import (
    ONE_ROOM,
    OTHER_PEER,
    PASS_FIELD,
    PASSES,
    PEER,
    ROOMS,
    TRUSTED_PEER,
    bypass,
    client,
    exit_of,
    head,
    lookup,
)


def test_known_fields_keep_a_bypass_to_its_path() -> None:
    """With rate 0: `/secret` waits, `/free/a` is forwarded, then `/secret` waits as before."""
    looked = lookup(ONE_ROOM, [bypass(PathCondition(("/free/**",)))])
    ways = [exit_of(looked, head(path), PEER).way for path in ("/secret", "/free/a", "/secret")]
    assert ways == ["respond_page", "forward", "respond_page"]
    assert exit_of(looked, head("/free/b"), PEER).route == Bypassed("free")


def test_known_head_does_not_keep_an_exempt_address_waiting() -> None:
    """A waiting visitor and an exempt one behind a proxy have the same head without the address."""
    looked = lookup(ONE_ROOM, [bypass(client("203.0.113.9"))])
    waiting = head("/b", "X-Forwarded-For: 203.0.113.1")
    exempt = head("/b", "X-Forwarded-For: 203.0.113.9")
    for _ in range(2):
        assert exit_of(looked, waiting, TRUSTED_PEER).way == "respond_page"
        assert exit_of(looked, exempt, TRUSTED_PEER).way == "forward"
        assert exit_of(looked, exempt, PEER).way == "respond_page"  # not a trusted proxy


def test_known_head_does_not_keep_an_exempt_cookie_waiting() -> None:
    looked = lookup(ONE_ROOM, [bypass(CookieCondition((NamedValue("staff", ("yes",)),)))])
    for value, way in (("no", "respond_page"), ("yes", "forward"), ("no", "respond_page")):
        assert exit_of(looked, head("/b", f"Cookie: staff={value}"), PEER).way == way


@pytest.mark.parametrize(
    ("name", "values"),
    [("Cookie", ("a=1", "staff=yes")), ("X-Forwarded-For", ("198.51.100.1", "203.0.113.9"))],
)
@pytest.mark.parametrize("action", ["bypass", "block"])
def test_heads_are_not_cached_if_a_rule_reads_removed_fields(
    name: str, values: tuple[str, str], action: RuleAction
) -> None:
    rule = AccessRule("field", action, (FieldCondition((NamedValue(name, (values[1],)),)),))
    looked = lookup(ONE_ROOM, [rule])
    way = {"bypass": "forward", "block": "aiohttp"}[action]
    for value, expected in ((values[0], "respond_page"), (values[1], way)) * 2:
        assert exit_of(looked, head("/b", f"{name}: {value}"), PEER).way == expected


def test_known_fields_forward_in_the_room_of_the_pass_alone() -> None:
    looked = lookup(ROOMS)
    fields = f"Cookie: {PASSES['default']}"
    ways = [
        exit_of(looked, head(path, fields), PEER).way
        for path in ("/", "/free/checkout/", "/x", "/free/checkout/")
    ]
    assert ways == ["forward", "respond_page", "forward", "respond_page"]


def test_recall_finds_known_fields_with_another_request_line() -> None:
    looked = lookup(ROOMS, [bypass(PathCondition(("/free/a/**",)))])
    fields = f"Cookie: {PASSES['default']}"
    assert exit_of(looked, head("/", fields), PEER).route == InRoom(RoomName("default"))
    for _ in range(2):
        assert looked.recall(head("/x", fields, method="HEAD"), PEER) is not None
        assert looked.recall(head("/free/checkout/", fields), PEER) is None
        assert looked.recall(head("/free/a/b", fields), PEER) is None
        assert looked.recall(head("/x", fields), OTHER_PEER) is None


def test_known_fields_need_no_route_at_ordinary_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the default rules, only targets with the same beginnings are examined."""
    looked = lookup(ONE_ROOM, DEFAULT_RULES)
    assert exit_of(looked, head("/", PASS_FIELD), PEER).way == "forward"
    routed: list[str | None] = []
    route = Router.route

    def noted(
        self: Router, facts: RequestFacts, *, method: str | None = None, target: str | None = None
    ) -> Route:
        routed.append(target)
        return route(self, facts, method=method, target=target)

    monkeypatch.setattr(Router, "route", noted)
    for target in ("/a", "/b?c", "/favicon.ic", "//robots.txt", "/.well-know/x", "/A/robots.txt"):
        assert looked.recall(head(target, PASS_FIELD), PEER) is not None
        assert looked.recall(head(target, PASS_FIELD, method="HEAD"), PEER) is not None
    assert routed == []
    for target in ("/favicon.ico", "/robots.txt", "/.well-known/x"):
        assert looked.recall(head(target, PASS_FIELD), PEER) is None
    for target in ("/robots.txt.old", "/.well-known/../x"):
        assert looked.recall(head(target, PASS_FIELD), PEER) is not None
    assert len(routed) == 5


@pytest.mark.parametrize("first", ["/robots.txt", "/x"])
def test_known_fields_of_a_bypass_do_not_count_elsewhere(first: str) -> None:
    looked = lookup(ONE_ROOM, DEFAULT_RULES)
    for _ in range(2):
        for target in (first, "/robots.txt", "/y", "/favicon.ico", "/y"):
            expected: Route = InRoom(RoomName("default"))
            if target in ("/robots.txt", "/favicon.ico"):
                expected = Bypassed(target[1:].partition(".")[0])
            assert exit_of(looked, head(target, PASS_FIELD), PEER).route == expected


@pytest.mark.parametrize(
    "line",
    [
        "GET /.gatekeeper/status HTTP/1.1",
        "POST / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET /\xe4 HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET x HTTP/1.1",
        "",
    ],
)
@pytest.mark.parametrize("rooms", [ONE_ROOM, ROOMS], ids=["one room", "rooms"])
def test_recall_needs_a_request_line_for_the_site(rooms: tuple[RoomConfig, ...], line: str) -> None:
    looked = lookup(rooms, DEFAULT_RULES)
    known = head("/", PASS_FIELD)
    assert exit_of(looked, known, PEER).way == "forward"
    block = known.partition(b"\r\n")[2]
    assert looked.recall(b"GET /x HTTP/1.1\r\n" + block, PEER) is not None
    assert looked.recall(line.encode("latin-1") + b"\r\n" + block, PEER) is None


@pytest.mark.parametrize(
    ("field", "creates"),
    [
        ("Accept: text/html", True),
        ("Sec-Fetch-Mode: navigate", True),
        ("sec-fetch-dest: empty", True),
        ("Sec-Fetch-Dest: image", False),
        ("Sec-Purpose: prefetch", False),
        ("x-moz: prefetch", False),
    ],
)
def test_known_head_keeps_whether_it_creates_a_place(field: str, creates: bool) -> None:
    looked = lookup(ONE_ROOM)
    for cookies in ("a=1", "a=2", "a=3"):
        looked_at = exit_of(looked, head("/", field, f"Cookie: {cookies}"), PEER)
        assert (looked_at.way, looked_at.creates_place) == ("respond_page", creates)
    assert exit_of(looked, head("/", "Cookie: a=1"), PEER).creates_place


@pytest.mark.parametrize(
    ("value", "is_plain"),
    [
        (b"a=2", True),
        (b"a=\xc3\xbc", True),
        (b"a\tb", True),
        (b" a=2", False),
        (b"a=2 ", False),
        (b"\ta", False),
        (b"a\x01", False),
        (b"a\x7f", False),
        (b"a\nb", False),
        (b"a\rb", False),
    ],
)
@pytest.mark.parametrize("name", [b"Cookie", b"x-forwarded-for"])
def test_head_with_another_value_is_known_if_it_is_plain(
    name: bytes, value: bytes, is_plain: bool
) -> None:
    looked = lookup(ONE_ROOM)
    first = head("/", "Cookie: a=1", "x-forwarded-for: 192.0.2.1")
    assert exit_of(looked, first, PEER).way == "respond_page"
    before, _, after = first.partition(name + b": ")
    data = before + name + b": " + value + b"\r\n" + after.partition(b"\r\n")[2]
    assert (looked._heads.recall(data, trusted=False) is not None) is is_plain
    assert exit_of(looked, data, PEER) == exit_of(lookup(ONE_ROOM), data, PEER)


def test_ticket_of_a_page_is_no_part_of_a_known_head() -> None:
    """It differs by visitor: in the cache it would displace heads that many visitors share."""
    looked = lookup(ONE_ROOM)
    for number in range(3):
        data = head("/.gatekeeper/status", f"X-Queue-Ticket: {number}")
        assert exit_of(looked, data, PEER).way == "respond_status"
    assert not any(looked._heads._entries.values())
    assert exit_of(looked, head("/page", "X-Queue-Ticket: 1"), PEER).way == "aiohttp"
