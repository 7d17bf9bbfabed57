"""Names and values as PHP and others read them: they make a rule stricter, and never looser."""

import pytest

from gatekeeper.policy.access import CookieCondition, FieldCondition, NamedValue, QueryCondition
from gatekeeper.policy.facts import Client, Fact, RequestFacts
from gatekeeper.policy.parameters import underscored_values
from tests.unit.policy.test_access import STAFF_COOKIE, facts, holds, rule

LOOSE_QUERIES = [
    "/?%20wc-ajax=checkout",
    "/?+wc-ajax=checkout",
    "/?wc-ajax%00=checkout",
    "/?wc-ajax=checkout%20",
    "/?wc-ajax=+checkout",
    "/?a;wc-ajax=checkout",
    "/?a=b;%09wc-ajax=checkout",
    "/?wc-ajax=checkout%00",
    "/?wc-ajax=%00checkout",
    "/?wc-ajax=%00%20checkout%0B%00%00",
    "/?wc-ajax=checkout%00x",
    "/?wc-ajax=%09checkout%0a",
    "/?wc-ajax=checkout%C2%A0",
    "/?wc-ajax=%EF%BB%BFcheckout",
    "/?wc-ajax[]=checkout",
    "/?wc-ajax%5B0%5D=checkout%00",
    "/?%00wc-ajax=checkout",
    "/?wc-ajax%00[x=checkout",
]


@pytest.mark.parametrize("target", LOOSE_QUERIES)
def test_parameter_as_an_origin_could_read_it_only_tightens(target: str) -> None:
    checkout = QueryCondition((NamedValue("wc-ajax", ("checkout",)),))
    assert holds(rule("block", checkout), facts(target))
    assert holds(rule("queue", checkout), facts(target))
    assert not holds(rule("bypass", checkout), facts(target))


@pytest.mark.parametrize(
    "target",
    [
        "/?wc-ajax=check%00out",
        "/?wc-ajax=checkout.",
        "/?wc-ajaxx[]=checkout",
        "/?[wc-ajax]=checkout",
    ],
)
def test_other_parameter_does_not_tighten(target: str) -> None:
    checkout = QueryCondition((NamedValue("wc-ajax", ("checkout",)),))
    assert not holds(rule("block", checkout), facts(target))


LOOSE_NAMES = ["debug[]", "debug[a][b]", "debug.x", "debug x", "debug%5B0%5D", "debug%00", " debug"]


@pytest.mark.parametrize("name", LOOSE_NAMES)
def test_name_of_a_list_or_of_a_part_only_tightens(name: str) -> None:
    debug = QueryCondition((NamedValue("debug"),))
    target = f"/?a=b&{name.replace(' ', '+')}=1"
    assert holds(rule("block", debug), facts(target))
    assert not holds(rule("bypass", debug), facts(target))
    assert holds(rule("bypass", debug), facts("/?debug=1"))


@pytest.mark.parametrize("name", ["debugs", "xdebug", "x.debug", "x[debug]", "de[bug]", "debug-x"])
def test_name_that_only_contains_it_is_another(name: str) -> None:
    assert not holds(rule("block", QueryCondition((NamedValue("debug"),))), facts(f"/?{name}=1"))


def test_loose_value_beside_the_plain_one_is_strict_for_a_bypass() -> None:
    staff = QueryCondition((NamedValue("staff", ("yes",)),))
    assert not holds(rule("bypass", staff), facts("/?staff=yes&staff[]=no"))
    assert not holds(rule("bypass", staff), facts("/?staff=yes&staff=yes%00"))


@pytest.mark.parametrize("name", ["staff[]", "staff.x", "staff[a]"])
def test_cookie_as_php_names_it_only_tightens(name: str) -> None:
    assert holds(rule("block", STAFF_COOKIE), facts(cookies=f"a=b; {name}=yes"))
    assert not holds(rule("bypass", STAFF_COOKIE), facts(cookies=f"a=b; {name}=yes"))
    assert not holds(rule("bypass", STAFF_COOKIE), facts(cookies=f"staff=yes; {name}=no"))
    assert not holds(rule("block", STAFF_COOKIE), facts(cookies=f"x{name}=yes; {name}=no"))


def test_cookie_with_dots_is_read_with_underscores() -> None:
    named = CookieCondition((NamedValue("my_staff"),))
    assert holds(rule("block", named), facts(cookies="my.staff=1"))
    assert not holds(rule("block", named), facts(cookies="mystaff=1"))


def with_fields(*fields: tuple[str, str]) -> RequestFacts:
    return RequestFacts(
        Client("192.0.2.7", "https", "shop.example"),
        "GET",
        "/",
        fields=lambda name: [value for field, value in fields if field.lower() == name.lower()],
        underscored=lambda name: underscored_values(fields, name),
    )


@pytest.mark.parametrize(
    ("named", "sent"),
    [
        ("X-Evil", "X_Evil"),
        ("X-Evil", "x_EVIL"),
        ("X-Evil-Bot", "X_Evil-Bot"),
        ("X_Evil", "X-Evil"),
        ("X_Evil-Bot", "X-Evil_Bot"),
    ],
)
def test_field_with_underscores_only_tightens(named: str, sent: str) -> None:
    condition = FieldCondition((NamedValue(named, ("1",)),))
    assert holds(rule("block", condition), with_fields((sent, "1")))
    assert not holds(rule("bypass", condition), with_fields((sent, "1")))
    assert holds(rule("bypass", condition), with_fields((named, "1")))
    assert not holds(rule("bypass", condition), with_fields((named, "1"), (sent, "2")))


@pytest.mark.parametrize("sent", ["XEvil", "X_Evil_", "_X_Evil", "X.Evil"])
def test_field_of_another_name_does_not_tighten(sent: str) -> None:
    condition = FieldCondition((NamedValue("X-Evil"),))
    assert not holds(rule("block", condition), with_fields((sent, "1")))


def test_rule_on_an_underscored_field_reads_what_the_field_is() -> None:
    """The key of the head cache does not contain the client's address."""
    assert FieldCondition((NamedValue("X_Forwarded_For"),)).reads & Fact.CLIENT


def test_name_with_dots_or_blanks_is_read_with_underscores() -> None:
    named = QueryCondition((NamedValue("add_to_cart", ("*",)),))
    for target in ("/?add.to.cart=1", "/?add+to%20cart=1", "/?add_to_cart=1"):
        assert holds(rule("block", named), facts(target))
    assert not holds(rule("block", named), facts("/?addtocart=1"))
