"""`Clear-Site-Data`: the pass survives, and every other cookie of the request is deleted."""

import pytest

from gatekeeper.policy.facts import Client
from gatekeeper.web.site_data import clears_cookies, deletions, without_cookies

OWN = frozenset({"gatekeeper", "__Host-gatekeeper"})
PLAIN = Client("192.0.2.1", "http", "localhost:8080")
SECURE = Client("192.0.2.1", "https", "www.Shop.example.com:8443")


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ('"cookies"', ""),
        ('"cache", "cookies", "storage"', '"cache", "storage"'),
        (' "cookies" , "a directive of tomorrow" ', '"a directive of tomorrow"'),
        (
            '"*"',
            (
                '"cache", "clientHints", "executionContexts", "prefetchCache", '
                '"prerenderCache", "storage"'
            ),
        ),
    ],
)
def test_directive_that_clears_cookies_is_removed(value: str, left: str) -> None:
    assert clears_cookies(value)
    assert without_cookies(value) == left


@pytest.mark.parametrize("value", ["", '"cache"', "cookies", "*", '"Cookies"', '"storage","cache"'])
def test_value_without_the_directive_clears_no_cookies(value: str) -> None:
    """A directive is a quoted string, in this letter case."""
    assert not clears_cookies(value)


def test_cookies_of_the_request_are_deleted_but_the_gates() -> None:
    sent = ["a=1; gatekeeper=x;  b = 2", "__Host-gatekeeper=y; a=3"]
    fields = deletions(sent, PLAIN, own=OWN)
    assert fields == (
        (b"Set-Cookie", b"a=; Max-Age=0; Path=/"),
        (b"Set-Cookie", b"b=; Max-Age=0; Path=/"),
    )


def test_cookies_are_deleted_for_every_domain_they_can_have() -> None:
    fields = deletions(["sid=1; __Host-x=2"], SECURE, own=OWN)
    assert [value.decode() for _, value in fields] == [
        "__Host-x=; Max-Age=0; Path=/; Secure",
        "sid=; Max-Age=0; Path=/; Secure",
        "sid=; Max-Age=0; Domain=www.shop.example.com; Path=/; Secure",
        "sid=; Max-Age=0; Domain=shop.example.com; Path=/; Secure",
        "sid=; Max-Age=0; Domain=example.com; Path=/; Secure",
    ]


@pytest.mark.parametrize("host", ["192.0.2.7", "192.0.2.7:80", "[2001:db8::1]:80"])
def test_address_has_no_domains(host: str) -> None:
    fields = deletions(["a=1"], Client("192.0.2.1", "http", host), own=OWN)
    assert fields == ((b"Set-Cookie", b"a=; Max-Age=0; Path=/"),)


@pytest.mark.parametrize(
    "name",
    ["a[b]", "a b", "a@b", "a:b", "a/b", "a,b", "{a}", '"a"', "(a)", "<a>", "a\\b", "ü", "\udcfc"],
)
def test_cookie_with_an_unusual_name_is_deleted_by_that_name(name: str) -> None:
    fields = deletions([f"{name}=1; gatekeeper=x"], PLAIN, own=OWN)
    encoded = name.encode("utf-8", "surrogateescape")
    assert fields == ((b"Set-Cookie", encoded + b"=; Max-Age=0; Path=/"),)


@pytest.mark.parametrize("name", ["a\tb", "a\x01", "\x7f", "a\r\nSet-Cookie: b", ""])
def test_name_with_a_control_character_is_left_out(name: str) -> None:
    fields = deletions([f"{name}=1; sid=1"], PLAIN, own=OWN)
    assert fields == ((b"Set-Cookie", b"sid=; Max-Age=0; Path=/"),)


def test_more_cookies_than_fit_are_deleted_as_far_as_they_fit() -> None:
    """Cookies of the host are deleted before those of its parent domains."""
    sent = "; ".join(f"a{number}=1" for number in range(200))
    fields = deletions([sent], SECURE, own=OWN)
    values = [value for _, value in fields]
    assert 3000 < sum(map(len, values)) <= 3072
    assert not any(b"Domain" in value for value in values)


def test_long_name_does_not_keep_the_others() -> None:
    fields = deletions([f"a{'b' * 4000}=1; sid=1"], PLAIN, own=OWN)
    assert fields == ((b"Set-Cookie", b"sid=; Max-Age=0; Path=/"),)


@pytest.mark.parametrize("sent", ["gatekeeper=x; flag", " gatekeeper =x", "=a", ""])
def test_request_with_the_gates_cookie_alone_needs_no_deletion(sent: str) -> None:
    assert deletions([sent], PLAIN, own=OWN) == ()
