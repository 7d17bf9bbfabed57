"""Cookies of the gate: names, attributes, and which of several counts."""

import time

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.tokens import Keyring, Tokens
from gatekeeper.web.credentials import CookiePolicy, Credentials, all_cookie_names
from tests.builders import SECRET, make_pass, make_ticket

ROOM = RoomName("sale")
NOW_S = round(time.time(), 3)
TOKENS = Tokens(Keyring([SECRET]), ROOM)
TICKET = make_ticket(ROOM, now_s=NOW_S)
PASS = make_pass(ROOM, now_s=NOW_S)


def facts(
    cookies: str = "", *, scheme: str = "https", host: str = "shop.example.com"
) -> RequestFacts:
    return RequestFacts(
        Client("192.0.2.1", scheme, host), "GET", "/", cookies=(cookies,) if cookies else ()
    )


def credentials(policy: CookiePolicy | None = None) -> Credentials:
    return Credentials(TOKENS, cookie="gatekeeper", room=ROOM, policy=policy)


def cookie_set(
    policy: CookiePolicy, *, scheme: str = "https", host: str = "shop.example.com"
) -> tuple[str, str]:
    """Name and attributes of the cookie that a response sets."""
    [(_, value)] = credentials(policy).headers(
        TICKET, facts=facts(scheme=scheme, host=host), by_header=False, now_s=NOW_S
    )
    pair, _, attributes = value.partition("; ")
    return pair.partition("=")[0], attributes.partition("; ")[2]


@pytest.mark.parametrize(
    ("policy", "scheme", "expected"),
    [
        (CookiePolicy(), "https", "Path=/; HttpOnly; SameSite=None; Secure"),
        (CookiePolicy(), "http", "Path=/; HttpOnly; SameSite=Lax"),
        (CookiePolicy("lax"), "https", "Path=/; HttpOnly; SameSite=Lax; Secure"),
        (CookiePolicy("strict"), "http", "Path=/; HttpOnly; SameSite=Strict"),
        (CookiePolicy("none"), "http", "Path=/; HttpOnly; SameSite=Lax"),
        (
            CookiePolicy(partitioned=True),
            "https",
            "Path=/; HttpOnly; SameSite=None; Secure; Partitioned",
        ),
        (CookiePolicy(partitioned=True), "http", "Path=/; HttpOnly; SameSite=Lax"),
    ],
)
def test_attributes_follow_policy_and_scheme(
    policy: CookiePolicy, scheme: str, expected: str
) -> None:
    name, attributes = cookie_set(policy, scheme=scheme)
    assert attributes == expected
    assert name == ("__Host-gatekeeper-sale" if scheme == "https" else "gatekeeper-sale")


@pytest.mark.parametrize(
    ("host", "has_domain"),
    [
        ("example.com", True),
        ("www.example.com:8443", True),
        ("WWW.example.com.", True),
        ("example.org", False),
        ("badexample.com", False),
        ("127.0.0.1", False),
    ],
)
def test_cookie_domain_is_set_for_its_own_hosts(host: str, has_domain: bool) -> None:
    """A browser refuses a cookie whose Domain does not cover the host."""
    name, attributes = cookie_set(CookiePolicy(domain="example.com"), host=host)
    assert name == "__Secure-gatekeeper-sale"
    assert attributes.startswith("Domain=example.com; ") is has_domain


def test_secure_cookie_counts_before_a_plain_one() -> None:
    other = TOKENS.mint(make_ticket(ROOM, now_s=NOW_S))
    cookies = f"gatekeeper-sale={other}; __Host-gatekeeper-sale={TOKENS.mint(TICKET)}"
    assert credentials().read(facts(cookies), now_s=NOW_S).token == TICKET


def test_place_from_http_counts_behind_tls_and_a_pass_does_not() -> None:
    plain = f"gatekeeper-sale={TOKENS.mint(TICKET)}"
    assert credentials().read(facts(plain), now_s=NOW_S).token == TICKET
    planted = f"gatekeeper-sale={TOKENS.mint(PASS)}"
    assert credentials().read(facts(planted), now_s=NOW_S).token is None
    assert credentials().read(facts(planted, scheme="http"), now_s=NOW_S).token == PASS


def test_no_cookie_of_the_gate_reaches_the_origin() -> None:
    assert all_cookie_names("gatekeeper", [ROOM, RoomName("default")]) == {
        prefix + name
        for prefix in ("", "__Host-", "__Secure-")
        for name in ("gatekeeper", "gatekeeper-sale")
    }
