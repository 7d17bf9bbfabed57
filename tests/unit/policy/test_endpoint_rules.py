"""Rules at the gate's own endpoints: a client that is blocked for the site is blocked there too."""

from typing import Any

import pytest

from gatekeeper.config.rule_schema import RuleConfig
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.default_rules import access_rules
from gatekeeper.policy.facts import Client, Fact, RequestFacts
from gatekeeper.policy.routing import Blocked, InRoom, Route, Router

SITE, OTHER = RoomName("site"), RoomName("other")
ROOMS = [
    RoomConfig(name=SITE),
    RoomConfig.model_validate({"name": "other", "path": "/other/"}),
]
FIELDS = {"user-agent": ["BadBot/1.0"], "x-app": ["old"]}
FACTS = RequestFacts(
    Client("203.0.113.9", "https", "shop.example"),
    "POST",
    "/.gatekeeper/enqueue?room=site",
    cookies=("staff=no",),
    fields=lambda name: FIELDS.get(name.lower(), ()),
)


def rule(action: str, name: str = "rule", **keys: object) -> RuleConfig:
    return RuleConfig.model_validate({"name": name, "action": action, **keys})


def route(*rules: RuleConfig, room: RoomName = SITE) -> Route:
    router = Router(ROOMS, access_rules(rules, default_rules=True))
    return router.route_of_endpoint(FACTS, room)


OF_THE_CLIENT: list[dict[str, Any]] = [
    {"client": "203.0.113.0/24"},
    {"user_agent": "BadBot*"},
    {"header": {"X-App": "old"}},
    {"cookie": {"staff": "no"}},
    {"host": "*.example"},
    {"method": ["POST"]},
    {"client": "203.0.113.9", "user_agent": ["*Bot*", "curl*"], "room": "site"},
]
OF_THE_SITE: list[dict[str, Any]] = [
    {"path": "/**"},
    {"path": "/.gatekeeper/**"},
    {"path_regex": ".*"},
    {"query": "room"},
    {"path": "/admin/**", "client": "203.0.113.9"},
    {"query": "room=site", "user_agent": "BadBot*"},
]
OF_OTHERS: list[dict[str, Any]] = [
    {"client": "203.0.114.0/24"},
    {"user_agent": "GoodBot*"},
    {"header": {"X-App": "old", "X-Other": "*"}},
    {"cookie": {"staff": "yes"}},
    {"host": "shop.example.com"},
    {"method": ["GET"]},
    {"client": "203.0.113.9", "room": "other"},
]


@pytest.mark.parametrize("keys", OF_THE_CLIENT)
def test_blocked_client_is_blocked_at_endpoints(keys: dict[str, Any]) -> None:
    assert route(rule("block", **keys)) == Blocked("rule")


@pytest.mark.parametrize("keys", [*OF_THE_SITE, *OF_OTHERS])
def test_block_of_the_site_or_of_others_is_none_there(keys: dict[str, Any]) -> None:
    assert route(rule("block", **keys)) == InRoom(SITE)


@pytest.mark.parametrize("action", ["queue", "bypass"])
def test_first_rule_that_holds_decides_there_too(action: str) -> None:
    exempt = rule(action, "office", client="203.0.113.9")
    block = rule("block", client="203.0.113.0/24")
    assert route(exempt, block) == InRoom(SITE)
    assert route(block, exempt) == Blocked("rule")
    assert route(rule(action, "office", client="203.0.113.8"), block) == Blocked("rule")


def test_visitor_of_an_exempt_path_polls_in_spite_of_a_block() -> None:
    """The visitor may be in line for that path; a request with a bypass never is."""
    block = rule("block", client="203.0.113.0/24")
    assert route(rule("queue", "pay", path="/pay/**"), block) == InRoom(SITE)
    assert route(rule("queue", "pay", path="/pay/**", method=["GET"]), block) == Blocked("rule")
    assert route(rule("bypass", "hooks", path="/hooks/**"), block) == Blocked("rule")
    assert route(rule("queue", "pay", path="/pay/**", room="other"), block) == Blocked("rule")


def test_rule_of_a_room_is_for_the_room_that_is_named() -> None:
    block = rule("block", client="203.0.113.9", room="other")
    assert route(block) == InRoom(SITE)
    assert route(block, room=OTHER) == Blocked("rule")


def test_route_reads_what_its_rules_read() -> None:
    """A poll stays in the cache of known heads unless a rule reads a fact that is not in the cache
    key."""
    by_agent = route(rule("block", user_agent="GoodBot*"))
    by_client = route(rule("block", client="203.0.114.0/24"))
    without = route(rule("block", path="/**"), rule("bypass", "office", client="203.0.113.9"))
    assert by_agent.reads == Fact.FIELDS
    assert by_client.reads == Fact.CLIENT
    assert without.reads == Fact.NONE


def test_default_rules_block_no_endpoint() -> None:
    assert route() == InRoom(SITE)
