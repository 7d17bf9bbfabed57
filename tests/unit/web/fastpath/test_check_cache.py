"""A known check of forward auth gets the same response as when it is parsed again."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product

import pytest

from gatekeeper import metrics
from gatekeeper.config.rule_schema import RuleConfig
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.access import AccessRule
from gatekeeper.policy.default_rules import access_rules
from gatekeeper.web.fastpath import check_cache
from gatekeeper.web.fastpath.exchanges import respond_ready
from gatekeeper.web.fastpath.lookup import FastPathLookup
from gatekeeper.web.message import GateResponse
from tests.unit.web.fastpath.lookup_scene import NAMED_ROOM, PASSES, client, head, lookup

PEER, OTHER = "127.0.0.1", "198.51.100.9"
COOKIE = f"Cookie: {PASSES['default']}; {PASSES['checkout']}"
TARGETS = (
    *("/", "/cart?a=b", "/secret", "/SECRET/x", "/%73ecret/x", "/a/../secret/", "//secret"),
    *("/robots.txt", "/.well-known/x", "/hook", "/closed", "/.gatekeeper/status", "/gr\xfcn", "*"),
    *("/a#b", "/cart?gk_invitation=a.b.c", "/cart?x=1&gk%5Finvitation=a"),
)
ONE_ROOM = (RoomConfig(),)
TWO_ROOMS = (*NAMED_ROOM, RoomConfig())
HOOK = RuleConfig.model_validate(
    {"name": "hook", "action": "bypass", "method": ["POST"], "path": ["/hook"]}
)
SIGNED = RuleConfig.model_validate(
    {"name": "signed", "action": "bypass", "path": "/closed", "header": {"Host": "*"}}
)
QUEUED = RuleConfig.model_validate({"name": "queued", "action": "queue", "path": "/closed"})
RULES: tuple[tuple[AccessRule, ...], ...] = (
    (),
    tuple(access_rules((), default_rules=True)),
    tuple(access_rules((HOOK,), default_rules=False)),
    tuple(access_rules((SIGNED,), default_rules=False)),
    (
        *access_rules((QUEUED,), default_rules=False),
        AccessRule("banned", "block", (client("192.0.2.0/24"),)),
    ),
    (AccessRule("banned", "block", (client("198.51.100.0/24"),)),),
)


def check(
    target: str, *fields: str, method: str = "GET", in_path: bool = False, query: str = ""
) -> bytes:
    if in_path:
        return head(f"/.gatekeeper/auth{target}", COOKIE, *fields)
    described = (f"X-Forwarded-Method: {method}", "X-Forwarded-For: 192.0.2.1")
    uri = f"X-Forwarded-Uri: {target}"
    return head(f"/.gatekeeper/auth{query}", COOKIE, *described, uri, *fields)


def verdict(looked: FastPathLookup, data: bytes, peer: str = PEER) -> bytes | None:
    """The head of a cached response; None: the check takes the full path."""
    found = looked.resolve(data, peer)
    if not isinstance(found, partial) or found.func is not respond_ready:
        return None
    exchange = found()
    try:
        exchange.send(None)
    except StopIteration as end:
        reply = end.value
        assert isinstance(reply, GateResponse)
        return reply.head().partition(b"\r\nDate:")[0]
    raise AssertionError("it waits")


def scenes() -> Iterator[tuple[Sequence[RoomConfig], tuple[AccessRule, ...], bool, str]]:
    yield from product((ONE_ROOM, TWO_ROOMS), RULES, (False, True), ("GET", "POST"))


@pytest.mark.parametrize(("rooms", "rules", "in_path", "method"), list(scenes()))
def test_known_check_is_the_fresh_check(
    rooms: Sequence[RoomConfig], rules: tuple[AccessRule, ...], in_path: bool, method: str
) -> None:
    """For each pair of addresses: the response for the second is the same after the first and
    alone."""
    fresh = {
        target: verdict(lookup(rooms, rules), check(target, method=method, in_path=in_path))
        for target in TARGETS
    }
    for first in TARGETS:
        warm = lookup(rooms, rules)
        verdict(warm, check(first, method=method, in_path=in_path))
        for second in TARGETS:
            again = verdict(warm, check(second, method=method, in_path=in_path))
            assert again == fresh[second], (first, second)


def test_browser_is_known_at_its_second_address() -> None:
    looked = lookup(ONE_ROOM, RULES[1])
    verdict(looked, check("/a"))
    assert looked._checks.recall(check("/b"), PEER) is not None
    assert looked._checks.recall(check("/robots.txt"), PEER) is None
    verdict(looked, check("/a", in_path=True))
    assert looked._checks.recall(check("/b", in_path=True), PEER) is not None


@pytest.mark.parametrize(
    "data",
    [
        check("/b", "X-Forwarded-Uri: /c"),
        check("/b", "X-Original-URL: http://shop.example/b"),
        check("/b", "Accept: text/html"),
        check("/b", query="?page"),
        check("/b").replace(b"GET /", b"HEAD /", 1),
        check("/b").replace(b"192.0.2.1", b"192.0.2.2"),
        check("/b").replace(b"shop.example", b"blog.example"),
        check("/b").replace(b"X-Forwarded-Uri: /b\r\n", b""),
        check("/b").replace(COOKIE.encode(), b"Cookie: a=b"),
    ],
)
def test_any_other_byte_is_another_check(data: bytes) -> None:
    looked = lookup(ONE_ROOM)
    verdict(looked, check("/b"))
    assert looked._checks.recall(check("/b"), PEER) is not None
    assert looked._checks.recall(data, PEER) is None


def test_check_is_known_for_its_peer_alone() -> None:
    looked = lookup(ONE_ROOM)
    verdict(looked, check("/b"))
    assert looked._checks.recall(check("/b"), "127.0.0.9") is None
    assert verdict(looked, check("/b"), OTHER) is None
    assert looked._checks.recall(check("/b"), OTHER) is None


def test_page_and_contradictions_are_never_kept() -> None:
    looked = lookup(ONE_ROOM)
    for data in (
        check("/b", query="?page"),
        check("/b", "X-Original-URL: http://shop.example/b"),
        check("/b", "X-Original-Method: GET"),
        check("/.gatekeeper/status"),
        check("/b").replace(PASSES["default"].encode(), b"gatekeeper=x"),
        check("/b", "X-Large: " + "x" * 4000),
    ):
        verdict(looked, data)
        assert len(looked._checks) == 0


def test_known_checks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_cache, "_MAX_ENTRIES", 3)
    looked = lookup(ONE_ROOM)
    for number in range(10):
        verdict(looked, check("/b", f"X-Number: {number}"))
    assert len(looked._checks) == 3
    assert looked._checks.recall(check("/b", "X-Number: 9"), PEER) is not None
    assert looked._checks.recall(check("/b", "X-Number: 0"), PEER) is None


def test_other_room_is_looked_up_again() -> None:
    """A pass of one room is not known for another one."""
    rooms = (RoomConfig(name=RoomName("checkout"), path=("/secret",)), RoomConfig())
    looked = lookup(rooms)
    default = verdict(looked, check("/a"))
    secret = verdict(looked, check("/secret"))
    assert default is not None
    assert secret is not None
    assert b"X-Gatekeeper-Room: default" in default
    assert b"X-Gatekeeper-Room: checkout" in secret
    assert verdict(looked, check("/a")) == default


def test_known_check_counts_for_its_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr(metrics.by_rule, "count", counted.append)
    looked = lookup(ONE_ROOM, tuple(access_rules((QUEUED,), default_rules=False)))
    for target in ("/closed", "/cart", "/closed", "/cart"):
        verdict(looked, check(target))
    assert counted == ["queued", "queued"]
