"""Patterns of paths: exact if a rule is looser, in every spelling if it is stricter."""

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.access import (
    AccessRule,
    HostCondition,
    PathCondition,
    RuleAction,
)
from gatekeeper.policy.facts import Client, RequestFacts, origin_form
from gatekeeper.policy.request_readings import RequestReadings
from gatekeeper.policy.routing import Bypassed, InRoom, Router, Ungated


def facts(target: str, *, host: str = "shop.example") -> RequestFacts:
    return RequestFacts(Client("192.0.2.7", "https", host), "GET", origin_form(target))


def holds(action: RuleAction, target: str, *globs: str, regexes: tuple[str, ...] = ()) -> bool:
    rule = AccessRule("rule", action, (PathCondition(globs, regexes=regexes),))
    return rule.evaluate(RequestReadings(facts(target)))[0]


@pytest.mark.parametrize("action", ["block", "queue"])
@pytest.mark.parametrize(
    ("glob", "target"),
    [
        ("/admin/**", "/ADMIN/x"),
        ("/admin/**", "/%41dmin/x"),
        ("/admin/**", "/admin"),
        ("/admin/**", "/Admin"),
        ("/Api/*/Pay", "/api/7/pay/"),
        ("/api/pay", "/API/pay/"),
        ("/api/pay/", "/api/pay"),
        ("**/pay", "/x/PAY/"),
    ],
)
def test_other_case_and_slash_at_the_end_only_tighten(
    action: RuleAction, glob: str, target: str
) -> None:
    """Express, IIS and others serve the same page at these paths."""
    assert holds(action, target, glob)
    assert not holds("bypass", target, glob)


@pytest.mark.parametrize("target", ["/PAY/7", "/pay/7/", "/%50ay/7", "/Pay/7/"])
def test_regular_expression_tightens_in_any_case(target: str) -> None:
    assert holds("block", target, regexes=("/pay/[0-9]+",))
    assert not holds("bypass", target, regexes=("/pay/[0-9]+",))
    assert holds("block", "/Pay", regexes=("/[^p]ay",)), "as it came, too"


@pytest.mark.parametrize("target", ["/adm", "/administer", "/x/admin", "/", "/admin.html"])
def test_another_path_is_not_tightened(target: str) -> None:
    assert not holds("block", target, "/admin/**")
    assert not holds("block", target, "/admin/")


ENCODED = ["/caf%C3%A9/x", "/caf%c3%a9/x", "/%63af%C3%A9/x", "/café/x", "/./caf%C3%A9/x"]
ENCODED += ["/a/../caf%C3%A9/x", "/caf%25C3%25A9/x", "/caf%C3%A9%2fx", "/caf%C3%A9;a/x"]


@pytest.mark.parametrize("target", ENCODED)
@pytest.mark.parametrize("ignore_case", [True, False])
def test_path_of_a_room_covers_its_decoded_reading(target: str, *, ignore_case: bool) -> None:
    room = RoomConfig.model_validate(
        {"name": "till", "path": "/caf%C3%A9/", "ignore_case": ignore_case}
    )
    assert isinstance(Router([room]).route(facts(target)), InRoom)


@pytest.mark.parametrize(
    "target", ["/CAF%C3%89/", "/Caf%C3%A9", "/A%20B/x", "/%61%20b", "/a%2520b"]
)
def test_room_ignores_the_case_of_encoded_letters(target: str) -> None:
    room = RoomConfig.model_validate({"name": "till", "path": ["/caf%C3%A9/", "/a%20b/"]})
    assert isinstance(Router([room]).route(facts(target)), InRoom)
    assert isinstance(Router([room]).route(facts("/cafe/a-b/")), Ungated)


@pytest.mark.parametrize("target", [*ENCODED, "/CAF%C3%89/x"])
@pytest.mark.parametrize("glob", ["/caf%C3%A9/**", "/*f%C3%A9/x"])
def test_encoded_glob_tightens_in_every_reading(target: str, glob: str) -> None:
    assert holds("block", target, glob)


def test_encoded_glob_bypasses_the_path_that_it_names() -> None:
    assert holds("bypass", "/caf%C3%A9/x", "/caf%C3%A9/**")
    assert holds("bypass", "/a%20b/x", "/a%20b/*")
    for target in ["/%63af%C3%A9/x", "/caf%C3%A9/../x", "/caf%C3%A9/%2e%2e/x", "/caf%E9/x"]:
        assert not holds("bypass", target, "/caf%C3%A9/**"), target


def test_decoded_form_of_a_glob_bypasses_no_path_that_came_so() -> None:
    assert holds("bypass", "/a%2Fb/x", "/a%2Fb/**")
    assert not holds("bypass", "/a/b/x", "/a%2Fb/**")


def test_encoded_wildcard_of_a_glob_is_a_character() -> None:
    assert holds("block", "/a*b/x", "/a%2Ab/**")
    assert not holds("block", "/aab/x", "/a%2Ab/**")


@pytest.mark.parametrize("host", ["api.example.", "API.example.:443", "api.example.."])
def test_host_with_the_dot_of_the_root_bypasses_nothing(host: str) -> None:
    """An origin that does not know that host serves its first site."""
    rules = [
        AccessRule("api", "bypass", (HostCondition(("api.example",)),)),
        AccessRule("shop", "block", (HostCondition(("shop.example",)),)),
    ]
    router = Router([RoomConfig()], rules)
    assert isinstance(router.route(facts("/", host=host)), InRoom)
    assert isinstance(router.route(facts("/", host="API.example:443")), Bypassed)
    assert router.route(facts("/", host="shop.example.")) == router.route(facts("/"))
