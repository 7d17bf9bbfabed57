"""Who asked, behind proxies that are trusted and proxies that are not."""

from ipaddress import ip_network
from unittest.mock import Mock

import pytest
from aiohttp import HttpVersion10
from aiohttp.test_utils import make_mocked_request
from aiohttp.web import BaseRequest
from multidict import CIMultiDict

from gatekeeper.policy.facts import Client
from gatekeeper.proxy import client_of

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def asked_from(
    peer: str, *fields: tuple[str, str], host: str | None = "shop.example"
) -> BaseRequest:
    transport = Mock()
    transport.get_extra_info = lambda name, default=None: (
        (peer, 1234) if name == "peername" else default
    )
    headers = CIMultiDict(fields)
    if host is not None:
        headers["Host"] = host
    return make_mocked_request("GET", "/", headers, transport=transport, version=HttpVersion10)


def test_a_stranger_is_believed_nothing() -> None:
    request = asked_from(
        "203.0.113.7",
        ("X-Forwarded-For", "1.1.1.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
    )
    assert client_of(request, trusted=TRUSTED, tls=False) == Client(
        "203.0.113.7", "http", "shop.example"
    )


def test_our_own_listener_tells_the_scheme() -> None:
    assert client_of(asked_from("203.0.113.7"), trusted=[], tls=True).scheme == "https"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("1.1.1.1, 203.0.113.7", "203.0.113.7"),
        ("1.1.1.1, 203.0.113.7, 10.2.3.4", "203.0.113.7"),
        ("10.5.5.5,10.2.3.4", "10.5.5.5"),
        ("203.0.113.7:5678", "203.0.113.7"),
        ("[2001:db8::1]:5678", "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("203.0.113.7, fd00::1", "203.0.113.7"),
        ("203.0.113.7, unknown", "10.0.0.1"),
        ("203.0.113.7, _hidden, 10.2.3.4", "10.2.3.4"),
        ("203.0.113.7, 999.1.1.1", "10.0.0.1"),
        ("", "10.0.0.1"),
        (" , ", "10.0.0.1"),
    ],
)
def test_a_trusted_chain_is_read_from_the_right(forwarded: str, address: str) -> None:
    request = asked_from("10.0.0.1", ("X-Forwarded-For", forwarded))
    assert client_of(request, trusted=TRUSTED, tls=False).address == address


def test_several_fields_are_one_chain() -> None:
    request = asked_from(
        "10.0.0.1", ("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-For", "10.0.0.2")
    )
    assert client_of(request, trusted=TRUSTED, tls=False).address == "203.0.113.7"


@pytest.mark.parametrize(
    ("forwarded", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http, https", "https"),
        ("gopher", "http"),
        ("", "http"),
    ],
)
def test_a_trusted_proxy_tells_the_scheme(forwarded: str, scheme: str) -> None:
    request = asked_from("10.0.0.1", ("X-Forwarded-Proto", forwarded))
    assert client_of(request, trusted=TRUSTED, tls=False).scheme == scheme


@pytest.mark.parametrize(
    ("forwarded", "host"),
    [
        ("www.example:8443", "www.example:8443"),
        ("evil.example, www.example", "www.example"),
        ("a b", ""),
        ("www.example/path", ""),
        ("", ""),
    ],
)
def test_a_trusted_proxy_tells_the_host_it_was_asked_for_and_never_the_one_that_routes(
    forwarded: str, host: str
) -> None:
    request = asked_from("10.0.0.1", ("X-Forwarded-Host", forwarded))
    client = client_of(request, trusted=TRUSTED, tls=False)
    assert client.forwarded_host == host
    assert client.host == "shop.example"


def test_an_ipv4_peer_of_a_dual_stack_listener_is_an_ipv4_client() -> None:
    assert client_of(asked_from("::ffff:10.0.0.9"), trusted=[], tls=False).address == "10.0.0.9"


def test_a_client_without_host_has_none() -> None:
    assert client_of(asked_from("203.0.113.7", host=None), trusted=[], tls=False).host == ""
