"""Parameters and cookies: names and values in every reading, with linear and bounded work."""

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config.patterns import NetworkSet
from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy import parameters
from gatekeeper.policy.access import (
    AccessRule,
    ClientCondition,
    CookieCondition,
    NamedValue,
    QueryCondition,
)
from gatekeeper.policy.explain import explain
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.invitation_address import find_invitation, line_may_hold_invitation
from gatekeeper.policy.parameters import (
    TooManyValues,
    cookie_values,
    first_value,
    form_decoded,
    is_read_as,
    parameter_values,
    value_readings,
)
from gatekeeper.policy.request_readings import RequestReadings
from gatekeeper.policy.routing import Bypassed, InRoom, Rejected, Router
from tests.work import calls_of

LONGEST = 8000
MALFORMED = "The request is malformed."
CHECKOUT = RoomConfig.model_validate({"name": "checkout", "query": "s=1"})
SITE = RoomConfig.model_validate({"name": "site"})


def query_pairs(query: str, separator: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True, errors="replace", separator=separator)


def every_value(query: str, wanted: str) -> set[str]:
    """The contract of `parameter_values`: every pair is examined completely."""
    pairs = query_pairs(query, "&") + query_pairs(query.replace(";", "&"), "&")
    plain = {value for name, value in query_pairs(query, "&") if name == wanted}
    loose = [
        value
        for name, value in pairs
        if is_read_as(name, wanted) or is_read_as(form_decoded(name), wanted)
    ]
    return plain | {each for value in loose for each in value_readings(value)}


PIECES = ["&", ";", "=", "+", "%20", "%00", "[", "]", ".", "_", "%2e", "%5B", "%5f", "x", "-", "%"]
PIECES += ["%25", "%2561", "%255f", "%2542", "%2520", "%2500", "%255B"]
PIECES += ["A_B", "%41", "%42", "A", "&A_b"]
PIECES += ["%C2%A0", "%EF%BB%BF", "%e3%80%80", "\t", "%61", "a_b", "a", "b", "&a_b", ";a_b", "%ff"]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.sampled_from(["a_b", "a"]))
def test_search_for_a_name_misses_no_reading(query: str, wanted: str) -> None:
    assert set(parameter_values(query, wanted, every=False)) == every_value(query, wanted)


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_search_for_a_cookie_misses_no_reading(cookies: str) -> None:
    pairs = [crumb.partition("=") for crumb in cookies.split(";")]
    expected = {v.strip().strip('"') for n, _, v in pairs if is_read_as(n.strip(), "a_b")}
    assert set(cookie_values([cookies], "a_b", every=False)) == expected


@given(st.text("%4a1z", max_size=20))
def test_escapes_that_appear_when_others_are_gone_go_too(value: str) -> None:
    shorter = value
    while (once := parameters._ESCAPED_BYTE.sub("", shorter)) != shorter:
        shorter = once
    assert parameters._unescaped(value) == shorter


@pytest.mark.parametrize("query", ["%2573=1", "a&%2553=%2531", "%2573%255B%255D=1", "%2520s=1"])
def test_name_that_is_encoded_twice_only_tightens(query: str) -> None:
    """Like a path; so does a value."""
    bypass = AccessRule("b", "bypass", (QueryCondition((NamedValue("s", ("1",)),)),))
    assert route(query, "", bypass) == InRoom(CHECKOUT.name)
    assert parameter_values(f"s=2&{query}", "s", every=True)[1:], "counts beside the plain one"


@pytest.mark.parametrize("query", ["S=1", "%53=1", "a;S=1", "S[]=1", "+S=1"])
def test_name_in_another_letter_case_only_tightens(query: str) -> None:
    """Since ASP.NET ignores the letter case."""
    bypass = AccessRule("b", "bypass", (QueryCondition((NamedValue("s", ("1",)),)),))
    assert route(query) == InRoom(CHECKOUT.name)
    assert not parameter_values(query, "s", every=True)
    assert route(query.replace("S", "T").replace("%53", "T"), "", bypass) == InRoom(SITE.name)
    assert cookie_values(["S=1"], "s", every=False) == ("1",)
    assert cookie_values(["S=1"], "s", every=True) == ()


@pytest.mark.parametrize("query", ["s=1&a", "a=b&s=1&c=2", "s=1&a;b", "s=1&t=s"])
def test_parameter_before_others_keeps_its_value(query: str) -> None:
    """If `;` separates parameters, `&` does too."""
    bypass = AccessRule("b", "bypass", (QueryCondition((NamedValue("s", ("1",)),)),))
    assert parameter_values(query, "s", every=True) == ("1",)
    assert isinstance(route(query, "", bypass), Bypassed)


@pytest.mark.parametrize("query", ["s=1;a", "s=1;s=2", "a;s=2&s=1", "s=1&b;s=2&c"])
def test_value_that_ends_at_a_semicolon_only_tightens(query: str) -> None:
    bypass = AccessRule("b", "bypass", (QueryCondition((NamedValue("s", ("1",)),)),))
    assert route(query, "", bypass) == InRoom(CHECKOUT.name)


def test_value_in_another_letter_case_only_tightens() -> None:
    """Since WordPress finds a page by its name in any letter case."""
    till = RoomConfig.model_validate({"name": "till", "query": "page=Pay*"})
    named = QueryCondition((NamedValue("page", ("Pay*",)),))
    for query, is_exact in [("page=Payment", True), ("page=payment", False), ("PAGE=PAY", False)]:
        facts = RequestFacts(Client("1.2.3.4", "https", "h"), "GET", f"/?{query}")
        assert Router([till, SITE]).route(facts) == InRoom(till.name)
        for action in ("queue", "block"):
            assert AccessRule("r", action, (named,)).evaluate(RequestReadings(facts))[0]
        bypass = AccessRule("r", "bypass", (named,))
        assert bypass.evaluate(RequestReadings(facts))[0] is is_exact


@pytest.mark.parametrize("target", ["/%3fs=1", "/x%3Fa=b&s=1?c=d", "/%253fs=1", "/%3f%73=1"])
def test_query_that_is_encoded_in_the_path_only_tightens(target: str) -> None:
    """A proxy may write the decoded path into its own request, where it ends at the `?`."""
    facts = RequestFacts(Client("1.2.3.4", "https", "h"), "GET", target)
    named = (QueryCondition((NamedValue("s", ("1",)),)),)
    assert Router([CHECKOUT, SITE]).route(facts) == InRoom(CHECKOUT.name)
    assert AccessRule("r", "block", named).evaluate(RequestReadings(facts))[0]
    assert not AccessRule("r", "bypass", named).evaluate(RequestReadings(facts))[0]


@pytest.mark.parametrize("target", ["/%3fs=2?s=1", "/%253fs=2?s=1"])
def test_query_in_the_path_counts_against_a_bypass(target: str) -> None:
    facts = RequestFacts(Client("1.2.3.4", "https", "h"), "GET", target)
    bypass = AccessRule("r", "bypass", (QueryCondition((NamedValue("s", ("1",)),)),))
    assert not bypass.evaluate(RequestReadings(facts))[0]
    assert bypass.evaluate(RequestReadings(replace(facts, target="/%3fa?s=1")))[0]


def test_form_is_decoded_as_browsers_encode_it() -> None:
    assert form_decoded("a+b%2Bc%C3%A4%zz%") == "a b+cä%zz%"
    assert form_decoded("%ff=") == "\ufffd="


def test_first_value_of_the_gates_own_parameters() -> None:
    assert first_value("room=&a&room=x%2Fy&room=z", "room") == "x/y"
    assert first_value("r%6Fom=x", "room") == "x"
    assert first_value("rooms=x&xroom=y", "room") is None
    assert first_value("", "room") is None


def route(query: str = "", cookies: str = "", *rules: AccessRule) -> object:
    facts = RequestFacts(Client("1.2.3.4", "https", "h"), "GET", f"/?{query}", cookies=(cookies,))
    return Router([CHECKOUT, SITE], rules).route(facts)


def joined(separator: str, count: int) -> str:
    return separator.join(f"s={number}" for number in range(2, count))


def test_parameter_with_hundreds_of_values_is_refused() -> None:
    many = joined("&", 600)
    with pytest.raises(TooManyValues):
        parameter_values(many, "s", every=False)
    assert route(many) == Rejected(400, MALFORMED)
    assert route(joined("&", 300)) == InRoom(SITE.name)
    assert route(joined("&", 300) + "&s=1") == InRoom(CHECKOUT.name)
    assert route(many.replace("s=", "t=")) == InRoom(SITE.name), "no room or rule reads it"
    assert route("s=2&" * 2000) == InRoom(SITE.name), "one value"


def test_cookie_with_hundreds_of_values_is_refused() -> None:
    block = AccessRule("b", "block", (CookieCondition((NamedValue("s", ("1",)),)),))
    many = joined("; ", 600)
    assert route("", many, block) == Rejected(400, MALFORMED)
    assert route("", joined("; ", 300), block) == InRoom(SITE.name)
    assert route("", many) == InRoom(SITE.name), "no rule reads it"


def test_cookie_with_hundreds_of_values_is_refused_at_endpoints() -> None:
    named = CookieCondition((NamedValue("s", ("1",)),))
    facts = RequestFacts(Client("1.2.3.4", "https", "h"), "GET", "/", cookies=(joined(";", 600),))
    router = Router([SITE], [AccessRule("b", "block", (named,))])
    assert router.route_of_endpoint(facts, SITE.name) == Rejected(400, MALFORMED)
    network = ClientCondition(NetworkSet([]))
    exempt = Router([SITE], [AccessRule("q", "queue", (network, named))])
    assert not exempt.is_from_shared_address(facts, SITE.name)


def test_too_many_values_are_explained() -> None:
    block = AccessRule("b", "block", (QueryCondition((NamedValue("s", ("1",)),)),))
    facts = RequestFacts(Client("", "https", "h"), "GET", "/?" + joined("&", 600))
    lines = list(explain(Router([SITE], [block]), facts))
    assert 'rule "b": a parameter or cookie has too many values to check' in lines
    assert lines[-1] == f"400: {MALFORMED}"


QUERIES = ["a&", "s&", "s=1&", "%73=%41&", "%20", "%20s%00&", ";s", "+", "s[]=1&", "s=<&", "%25"]
VALUES = ["<>", "<", "%", "+", "%20", "%25", "%00", "%2541<%20>", "%4", "%%41"]
ADDRESSES = ["a&", "gk_invitation&", "%2567k%255finvitation[&", "%25", "25", "+", "gk.", "%67"]
WORK: list[tuple[str, Callable[[str], object]]] = [
    *((piece, lambda text: parameter_values(text, "s", every=False)) for piece in QUERIES),
    *((piece, lambda text: parameter_values(f"s={text}", "s", every=False)) for piece in VALUES),
    *((piece, lambda text: cookie_values([text], "s", every=False)) for piece in ("a;", "s;", " ")),
    *((piece, lambda text: find_invitation(f"/?gk_invitation&{text}")) for piece in ADDRESSES),
    *((piece, lambda text: find_invitation(f"/?{text}gk_invitation=x")) for piece in ADDRESSES),
    *((piece, lambda text: first_value(text, "s")) for piece in ("a=1&", "%61=1&")),
]


@pytest.mark.parametrize(("piece", "read"), WORK)
def test_work_for_a_long_query_is_linear(piece: str, read: Callable[[str], object]) -> None:
    """Twice the query takes about twice the calls, at most a few for each character."""

    def calls(length: int) -> int:
        text = (piece * length)[:length]
        return calls_of(lambda: read(text))

    calls(1)  # compiles the patterns
    assert calls(LONGEST) <= 2.1 * calls(LONGEST // 2) + 100
    assert calls(LONGEST) < 6 * LONGEST


@pytest.mark.parametrize("piece", ADDRESSES)
def test_cheap_question_about_a_long_line_is_one_search(piece: str) -> None:
    line = f"GET /?{piece * LONGEST}"[:LONGEST].encode()
    assert calls_of(lambda: line_may_hold_invitation(line)) < 10


def test_values_are_read_once_for_all_rooms_and_rules() -> None:
    """A query is not read again for each reading of the path, each room and each rule."""
    rooms = [
        RoomConfig.model_validate({"name": f"r{n}", "path": f"/{n}/", "query": "s=1"})
        for n in range(20)
    ]
    router = Router([*rooms, SITE])
    target = "/a/..;/%2e%2e%5c.%252e/?" + "s=2&" * 1500
    facts = RequestFacts(Client("", "https", "h"), "GET", target)
    once = calls_of(lambda: parameter_values("s=2&" * 1500, "s", every=False))
    assert calls_of(lambda: router.route(facts)) < once + 12_000
