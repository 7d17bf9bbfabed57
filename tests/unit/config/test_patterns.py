"""Patterns of an operator: correct for any input, and in linear time."""

from ipaddress import ip_network

import pytest

from gatekeeper.config.patterns import NetworkSet, glob_matcher, network_of, regex_matcher
from tests.linear_time import assert_linear


@pytest.mark.parametrize(
    ("glob", "text", "matched"),
    [
        ("/webhooks/**", "/webhooks/", True),
        ("/webhooks/**", "/webhooks/a/b", True),
        ("/webhooks/**", "/webhooks", False),
        ("/a/*", "/a/b", True),
        ("/a/*", "/a/b/c", False),
        ("/a/*/c", "/a/b/c", True),
        ("/*.png", "/x.png", True),
        ("/*.png", "/x/y.png", False),
        ("/**.png", "/x/y.png", True),
        ("/a.c", "/abc", False),
        ("/[a](b)+", "/[a](b)+", True),
        ("/é*", "/é\udcff", True),
    ],
)
def test_path_glob_matches_within_and_across_segments(glob: str, text: str, matched: bool) -> None:
    assert glob_matcher(glob, separator="/")(text) is matched


def test_value_glob_matches_any_text() -> None:
    assert glob_matcher("*Pingdom*")("a/b Pingdom c\n")
    assert not glob_matcher("Pingdom")("Pingdom 2")


@pytest.mark.parametrize("glob", ["*a" * 20, "**a" * 20])
def test_glob_takes_linear_time(glob: str) -> None:
    matches = glob_matcher(glob, separator="/")
    assert not matches("a" * 100_000 + "b")
    assert_linear(matches, lambda size: "a" * size + "b", largest=100_000)


def test_regex_matches_the_whole_text() -> None:
    matches = regex_matcher("/orders/[0-9]+|/carts/.*")
    assert matches("/orders/12")
    assert not matches("/orders/12/items")
    assert not matches("/x/carts/")


@pytest.mark.parametrize("pattern", ["(", "a{3,1}", "(?<=a)b", "a{1000}{1000}"])
def test_invalid_regex_is_a_value_error(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        regex_matcher(pattern)


def test_regex_takes_linear_time() -> None:
    matches = regex_matcher("(a*)*b")
    assert not matches("a" * 100_000)
    assert_linear(matches, lambda size: "a" * size, largest=100_000)


def test_network_set_holds_addresses_of_its_networks() -> None:
    networks = NetworkSet(
        map(ip_network, ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "0.0.0.0/32"])
    )
    assert len(networks) == 4
    for address in ("10.255.0.1", "192.0.2.1", "2001:db8::1", "0.0.0.0"):
        assert address in networks
    for address in ("11.0.0.1", "192.0.2.2", "2001:db9::1", "::", "unknown", ""):
        assert address not in networks


def test_network_of_every_address_holds_one_family() -> None:
    everyone = NetworkSet([ip_network("0.0.0.0/0")])
    assert "203.0.113.1" in everyone
    assert "::1" not in everyone


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("::ffff:0:0:1", "::ffff:0:0:1/128"),
    ],
)
def test_mapped_network_is_that_of_its_ipv4_addresses(text: str, network: str) -> None:
    """An address of a client is compared as IPv4, also if a dual-stack socket mapped it."""
    assert str(network_of(text)) == network
