"""Access rules: a rule matches by the strict reading of the request."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest

from gatekeeper.config.patterns import NetworkSet
from gatekeeper.config.rule_schema import RuleConfig
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.access import (
    AccessRule,
    ClientCondition,
    Condition,
    CookieCondition,
    FieldCondition,
    HostCondition,
    NamedValue,
    PathCondition,
    QueryCondition,
    RuleAction,
)
from gatekeeper.policy.default_rules import DEFAULT_RULES
from gatekeeper.policy.facts import Client, Fact, RequestFacts
from gatekeeper.policy.methods import MethodCondition, NoOtherMethodCondition
from gatekeeper.policy.request_readings import RequestReadings
from gatekeeper.policy.routing import Blocked, Bypassed, InRoom, Route, Router

DEFAULT = RoomConfig()


def facts(
    target: str = "/",
    *,
    method: str = "GET",
    host: str = "shop.example",
    address: str = "192.0.2.7",
    cookies: str = "",
    **fields: str | list[str],
) -> RequestFacts:
    values = {
        name.replace("_", "-"): [value] if isinstance(value, str) else value
        for name, value in fields.items()
    }
    return RequestFacts(
        Client(address, "https", host),
        method,
        target,
        cookies=(cookies,) if cookies else (),
        fields=lambda name: values.get(name.lower(), ()),
    )


def rule(action: RuleAction, *conditions: Condition, room: str | None = None) -> AccessRule:
    return AccessRule("rule", action, conditions, None if room is None else RoomName(room))


SPELLINGS = ["/free/a", "/free//a", "/free/./a", "/%66ree/a", "/free/%2e/a"]
ELSEWHERE = [
    "/free/../buy",
    "/free/%2e%2e/buy",
    "/free/..%2fbuy",
    "/free/%252e%252e/buy",
    "//free/a",
]


STAFF_COOKIE = CookieCondition((NamedValue("staff", ("yes",)),))


def client(*networks: str) -> ClientCondition:
    return ClientCondition(NetworkSet(map(ip_network, networks)))


def holds(rule: AccessRule, request: RequestFacts) -> bool:
    return rule.evaluate(RequestReadings(request))[0]


@pytest.mark.parametrize("target", SPELLINGS[:3])
def test_bypass_holds_if_every_reading_matches(target: str) -> None:
    assert holds(rule("bypass", PathCondition(("/free/**",))), facts(target))


@pytest.mark.parametrize("target", [*SPELLINGS[3:4], *ELSEWHERE])
def test_bypass_fails_if_any_reading_does_not_match(target: str) -> None:
    assert not holds(rule("bypass", PathCondition(("/free/**",))), facts(target))


@pytest.mark.parametrize("action", ["block", "queue"])
@pytest.mark.parametrize("target", [*SPELLINGS, *ELSEWHERE])
def test_tightening_rule_holds_if_any_reading_matches(action: RuleAction, target: str) -> None:
    assert holds(rule(action, PathCondition(("/free/**",))), facts(target))


MIXED = [
    "/./free//../p",
    "/%66ree//../p",
    "/%2566ree//../p",
    "/%66ree/../p",
    "/%66ree/..;/p",
    "/%66ree/..%5cp",
    "/free//../p",
    "/x/../free//../p",
    "/x\\..\\free\\p",
    "/x;/../free/p",
]


@pytest.mark.parametrize("action", ["block", "queue"])
@pytest.mark.parametrize("target", MIXED)
def test_steps_of_reading_count_alone_and_together(action: RuleAction, target: str) -> None:
    assert holds(rule(action, PathCondition(("/free/**",))), facts(target))
    assert not holds(rule("bypass", PathCondition(("/free/**",))), facts(target))


def test_rule_holds_only_if_all_conditions_do() -> None:
    stripe = rule(
        "bypass",
        MethodCondition(frozenset({"POST"})),
        PathCondition(("/webhooks/**",)),
        FieldCondition((NamedValue("Stripe-Signature"),)),
        client("54.187.174.169", "10.0.0.0/8"),
    )
    good = facts("/webhooks/stripe", method="POST", address="10.1.2.3", stripe_signature="t=1")
    assert holds(stripe, good)
    for wrong in (
        replace(good, method="PUT"),
        replace(good, target="/webhook"),
        replace(good, client=replace(good.client, address="11.1.2.3")),
        replace(good, fields=lambda _: ()),
    ):
        assert not holds(stripe, wrong)


@pytest.mark.parametrize("address", ["unknown", "", "::1", "192.0.2.8"])
def test_client_outside_the_networks_is_not_matched(address: str) -> None:
    condition = client("192.0.2.7")
    assert not condition.holds(RequestReadings(facts(address=address)), every=True)


@pytest.mark.parametrize("method", ["post", "Post", "pOST"])
def test_method_in_another_letter_case_only_tightens(method: str) -> None:
    """Methods are case-sensitive, but some origins accept them in any letter case."""
    post = MethodCondition(frozenset({"POST"}))
    assert holds(rule("block", post), facts(method=method))
    assert holds(rule("queue", post), facts(method=method))
    assert not holds(rule("bypass", post), facts(method=method))
    assert not holds(rule("block", post), facts(method="POSTS"))


def test_host_condition_matches_labels() -> None:
    condition = HostCondition(("*.example.com",))
    assert condition.holds(RequestReadings(facts(host="API.example.com:8443")), every=True)
    assert not condition.holds(RequestReadings(facts(host="a.b.example.com")), every=True)


def test_query_condition_reads_decoded_names_and_values() -> None:
    checkout = QueryCondition((NamedValue("wc-ajax", ("check*",)),))
    assert checkout.holds(RequestReadings(facts("/?a=b&wc-ajax=checkout")), every=True)
    assert checkout.holds(RequestReadings(facts("/?wc%2dajax=%63heckout")), every=True)
    assert not checkout.holds(RequestReadings(facts("/?wc-ajax=other")), every=True)
    assert not checkout.holds(RequestReadings(facts("/wc-ajax=checkout")), every=False)


def test_repeated_parameter_is_strict_for_a_bypass() -> None:
    twice = facts("/?staff=yes&staff=no")
    assert not holds(rule("bypass", QueryCondition((NamedValue("staff", ("yes",)),))), twice)
    assert holds(rule("block", QueryCondition((NamedValue("staff", ("yes",)),))), twice)


def test_repeated_cookie_and_field_are_strict_for_a_bypass() -> None:
    twice = facts(cookies='staff=yes; a=b;staff="no"', x_key=["yes", "no"])
    for condition in (STAFF_COOKIE, FieldCondition((NamedValue("X-Key", ("yes",)),))):
        assert not holds(rule("bypass", condition), twice)
        assert holds(rule("block", condition), twice)
    assert holds(rule("bypass", STAFF_COOKIE), facts(cookies="staff=yes"))


def route(request: RequestFacts, *rules: AccessRule, rooms: tuple[RoomConfig, ...] = ()) -> Route:
    return Router(rooms or (DEFAULT,), rules).route(request)


def test_first_rule_that_holds_decides() -> None:
    bypass = AccessRule("first", "bypass", (PathCondition(("/a/**",)),))
    block = AccessRule("second", "block", (PathCondition(("/**",)),))
    assert route(facts("/a/b"), bypass, block) == Bypassed("first")
    assert route(facts("/b"), bypass, block) == Blocked("second")


def test_queue_rule_is_an_exception_to_a_later_bypass() -> None:
    queue = AccessRule("buy", "queue", (PathCondition(("/static/buy/**",)),))
    bypass = AccessRule("static", "bypass", (PathCondition(("/static/**",)),))
    in_room = InRoom(RoomName("default"), rule="buy")
    assert route(facts("/static/buy/1"), queue, bypass) == in_room
    assert route(facts("/static/a.css"), queue, bypass) == Bypassed("static")


def test_rule_of_a_room_holds_in_that_room_alone() -> None:
    rooms = (DEFAULT, RoomConfig(name=RoomName("checkout"), path=("/checkout/",)))
    bypass = rule("bypass", MethodCondition(frozenset({"GET"})), room="checkout")
    block = rule("block", room="checkout")
    assert route(facts("/checkout/x"), bypass, rooms=rooms) == Bypassed("rule")
    assert route(facts("/x"), bypass, rooms=rooms) == InRoom(RoomName("default"))
    either = facts("/checkout/%2e%2e/x")
    assert not isinstance(route(either, bypass, rooms=rooms), Bypassed)
    assert route(either, block, rooms=rooms) == Blocked("rule")


def test_route_depends_on_the_facts_of_all_rules_looked_at() -> None:
    first = rule("bypass", client("10.0.0.0/8"))
    second = rule("bypass", PathCondition(("/a/**",)), CookieCondition((NamedValue("staff"),)))
    assert route(facts(address="10.0.0.1"), first, second).reads == Fact.CLIENT
    assert route(facts(), first, second).reads == Fact.CLIENT | Fact.TARGET
    assert route(facts("/a/b"), first, second).reads == Fact.CLIENT | Fact.TARGET | Fact.COOKIES
    assert Router([DEFAULT], [first, second]).reads == Fact.CLIENT | Fact.TARGET | Fact.COOKIES


FREE = PathCondition(("/free/**", "/open"))
KEY = FieldCondition((NamedValue("X-Key"),))


@pytest.mark.parametrize(
    ("rules", "prefixes"),
    [
        ((), ()),
        ([rule("bypass", KEY), rule("block", HostCondition(("a.example",)))], ()),
        ([rule("bypass", MethodCondition(frozenset({"OPTIONS", "POST"})), KEY)], ()),
        ([rule("bypass", FREE, KEY), rule("bypass", KEY)], ("/free/", "/open")),
        ([rule("bypass", MethodCondition(frozenset({"GET"})), FREE)], ("/free/", "/open")),
        (DEFAULT_RULES, ("/.well-known/", "/robots.txt", "/favicon.ico")),
        # These can match any reading of any target.
        ([rule("block", FREE)], ("/",)),
        ([rule("queue", PathCondition(("/**",)))], ("/",)),
        ([rule("bypass", PathCondition(("*.png",)))], ("/",)),
        ([rule("bypass", PathCondition(regexes=["/free/.*"]))], ("/",)),
        ([rule("bypass", QueryCondition((NamedValue("free"),)))], ("/",)),
        ([rule("block", MethodCondition(frozenset({"HEAD"})))], ("/",)),
        ([rule("block", MethodCondition(frozenset({"POST", "GET"})), KEY)], ("/",)),
    ],
)
def test_request_line_decides_at_some_targets(
    rules: Sequence[AccessRule], prefixes: tuple[str, ...]
) -> None:
    assert Router([DEFAULT], rules).deciding_prefixes == prefixes


def test_request_line_decides_everywhere_among_rooms() -> None:
    rooms = [DEFAULT, RoomConfig(name=RoomName("checkout"), path=("/checkout/",))]
    assert Router(rooms).deciding_prefixes == ("/",)
    assert Router(rooms[1:]).deciding_prefixes == ("/",)
    assert Router([]).deciding_prefixes == ()


def test_condition_reads_what_it_looks_at() -> None:
    """With every key of a rule: a fact that can change the result of the condition is in `reads`.
    The caches store a route only under a key with all facts of `reads`."""
    keys = {
        "method": "GET",
        "host": "shop.example",
        "path": "/free/*",
        "path_regex": "/free/.*",
        "query": "key=1",
        "header": {"X-Api": "1"},
        "cookie": {"staff": "yes"},
        "user_agent": "monitor",
        "client": "192.0.2.0/24",
    }
    named = RuleConfig.model_validate(
        {"name": "all", "action": "bypass", "room": "default", **keys}
    )
    assert named.model_fields_set == RuleConfig.model_fields.keys()

    sent = facts("/free/a?key=1", cookies="staff=yes", **{"x-api": "1", "user-agent": "monitor"})
    others = {
        Fact.CLIENT: replace(sent, client=replace(sent.client, address="198.51.100.1")),
        Fact.SCHEME: replace(sent, client=replace(sent.client, scheme="http")),
        Fact.HOST: replace(sent, client=replace(sent.client, host="other.example")),
        Fact.METHOD: replace(sent, method="POST"),
        Fact.TARGET: replace(sent, target="/paid"),
        Fact.FIELDS: replace(sent, fields=lambda _name: ()),
        Fact.COOKIES: replace(sent, cookies=()),
    }
    *conditions, of_method_too = AccessRule.of(named).conditions
    assert isinstance(of_method_too, NoOtherMethodCondition)  # reads a fact that is missing here
    assert len(conditions) == len(keys)
    for condition in conditions:
        for every in (True, False):
            assert condition.holds(RequestReadings(sent), every=every)
            looked_at = sum(
                fact
                for fact, other in others.items()
                if not condition.holds(RequestReadings(other), every=every)
            )
            assert looked_at == condition.reads
