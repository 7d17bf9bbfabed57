"""The audience of an invitation: the gate by its name, or by a host of its configuration."""

import pytest

from gatekeeper.policy.audience import Audience, audience_in

SHOP = Audience.of_hosts(["shop.example.com", "*.shop.example", "xn--bcher-kva.example"])


@pytest.mark.parametrize(
    "name",
    [
        "gatekeeper",
        "shop.example.com",
        "Shop.Example.COM",
        "shop.example.com.",
        "https://shop.example.com",
        "https://shop.example.com/",
        "HTTPS://shop.example.com:8443",
        "http://www.shop.example",
        "xn--bcher-kva.example",
    ],
)
def test_name_of_the_gate_is_accepted(name: str) -> None:
    assert SHOP.is_named([name])
    assert SHOP.is_named(["payments", name]), "one of several is enough"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Gatekeeper",
        "gatekeeper ",
        "payments",
        "example.com",
        "evil-shop.example.com",
        "shop.example.com.evil.example",
        "a.b.shop.example",
        "https://shop.example.com/api",
        "https://shop.example.com@evil.example",
        "https://evil.example/shop.example.com",
        "https:shop.example.com",
        "ftp://shop.example.com",
        "//shop.example.com",
        " shop.example.com",
        "shop.example.com\n",
        "shop.example.com\x00",
        "*.shop.example",
        "b\u00fccher.example",
        "\u017fhop.example.com",
    ],
)
def test_any_other_name_is_refused(name: str) -> None:
    assert not SHOP.is_named([name])


def test_gate_without_hosts_has_its_name_alone() -> None:
    assert Audience().is_named(["gatekeeper"])
    for name in ("shop.example.com", "", "https://"):
        assert not Audience().is_named([name])
    assert not Audience().is_named([])


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([], ()),
        (None, None),
        (7, None),
        ([["a"]], None),
        ({"a": 1}, None),
    ],
)
def test_claim_is_a_text_or_a_list_of_texts(value: object, names: tuple[str, ...] | None) -> None:
    assert audience_in(value) == names
