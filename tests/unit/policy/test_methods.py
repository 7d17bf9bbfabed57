"""Rules on methods, if an origin may use another method than that of the request line."""

import pytest

from gatekeeper.config.rule_schema import RuleConfig
from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.access import AccessRule
from gatekeeper.policy.facts import Client, Fact, RequestFacts
from gatekeeper.policy.parameters import underscored_values
from gatekeeper.policy.request_readings import RequestReadings
from gatekeeper.policy.routing import Blocked, Bypassed, InRoom, Router

ROOM = RoomConfig()


def facts(method: str, target: str = "/wp-json/cart", **fields: str) -> RequestFacts:
    dashed = {name.replace("_", "-").lower(): value for name, value in fields.items()}
    return RequestFacts(
        Client("192.0.2.7", "https", "shop.example"),
        method,
        target,
        fields=lambda name: [dashed[name.lower()]] if name.lower() in dashed else [],
    )


def rule(action: str, *methods: str, **keys: object) -> AccessRule:
    return AccessRule.of(
        RuleConfig.model_validate({"name": "r", "action": action, "method": methods, **keys})
    )


def holds(rule: AccessRule, request: RequestFacts) -> bool:
    return rule.evaluate(RequestReadings(request))[0]


OTHER = [
    facts("GET", X_HTTP_Method_Override="POST"),
    facts("GET", X_HTTP_Method="post"),
    facts("GET", X_Method_Override=" Post "),
    facts("GET", "/wp-json/cart?_method=POST"),
    facts("GET", "/wp-json/cart?a=b&_METHOD=post&c"),
    facts("GET", "/wp-json/cart?%5fmethod=%50OST"),
    facts("GET", "/wp-json/cart?_method[]=POST"),
    facts("HEAD", "/wp-json/cart?a;_method=POST"),
]


@pytest.mark.parametrize("request_facts", OTHER)
def test_method_that_an_origin_takes_instead_counts(request_facts: RequestFacts) -> None:
    assert holds(rule("block", "POST"), request_facts)
    assert holds(rule("queue", "POST"), request_facts)
    assert not holds(rule("bypass", "GET", "HEAD"), request_facts)
    assert not holds(rule("bypass", "POST"), request_facts)
    assert holds(rule("bypass", "GET", "HEAD", "POST"), request_facts)


def test_field_with_underscores_counts_too() -> None:
    request = RequestFacts(
        Client("192.0.2.7", "https", "shop.example"),
        "GET",
        "/",
        underscored=lambda name: underscored_values([("X_HTTP_Method_Override", "POST")], name),
    )
    assert holds(rule("block", "POST"), request)
    assert not holds(rule("bypass", "GET"), request)


@pytest.mark.parametrize(
    "request_facts",
    [
        facts("GET"),
        facts("GET", "/wp-json/cart?method=POST&_methods=POST"),
        facts("GET", "/wp-json/cart?_method="),
        facts("GET", X_HTTP_Method_Override="GET"),
        facts("GET", X_HTTP_Method_Override=""),
    ],
)
def test_request_without_another_method_is_what_it_says(request_facts: RequestFacts) -> None:
    assert not holds(rule("block", "POST"), request_facts)
    assert holds(rule("bypass", "GET", path="/wp-json/**"), request_facts)


def test_writes_wait_where_reads_are_exempt() -> None:
    router = Router([ROOM], [rule("bypass", "GET", "HEAD", path="/wp-json/**")])
    assert isinstance(router.route(facts("GET")), Bypassed)
    for request in [facts("POST"), *OTHER]:
        assert isinstance(router.route(request), InRoom)


def test_own_method_is_blocked_whatever_stands_for_it() -> None:
    router = Router([ROOM], [rule("block", "DELETE")])
    assert isinstance(router.route(facts("DELETE", X_HTTP_Method_Override="GET")), Blocked)
    assert isinstance(router.route(facts("POST", X_HTTP_Method_Override="DELETE")), Blocked)


def test_routes_declare_what_they_read_of_other_methods() -> None:
    """The field with another method is not in the request line, so a cache must not share the
    route."""
    for action in ("block", "queue"):
        reads = Router([ROOM], [rule(action, "POST")]).route(facts("GET")).reads
        assert reads & Fact.FIELDS
        assert reads & Fact.TARGET
    writes = Router([ROOM], [rule("queue", "POST", path="/wp-json/**")])
    assert not writes.route(facts("GET", "/x")).reads & Fact.FIELDS
    exempt = Router([ROOM], [rule("bypass", "GET", path="/wp-json/**")])
    assert exempt.route(facts("GET")).reads & Fact.FIELDS
    assert not exempt.route(facts("GET", "/x")).reads & Fact.FIELDS


def test_line_with_another_method_can_decide() -> None:
    assert Router([ROOM], [rule("queue", "POST")]).deciding_prefixes == ("/",)
    assert Router([ROOM], [rule("bypass", "POST", path="/hooks/**")]).deciding_prefixes == ()


def test_other_method_leaves_the_exemption_of_an_address_alone() -> None:
    router = Router([ROOM], [rule("queue", "GET", client=["192.0.2.0/24"])])
    assert router.is_from_shared_address(facts("POST"), ROOM.name)
