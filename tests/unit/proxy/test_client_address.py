"""The client of a request behind trusted and untrusted proxies."""

from ipaddress import ip_network
from unittest.mock import Mock

import pytest
from aiohttp import HttpVersion10
from aiohttp.test_utils import make_mocked_request
from aiohttp.web import BaseRequest
from multidict import CIMultiDict

from gatekeeper.policy.facts import Client
from gatekeeper.proxy import client_of
from gatekeeper.proxy.aiohttp_server import ConnectionHandler

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


def asked_on_the_edge(forwarded: str, *fields: tuple[str, str]) -> BaseRequest:
    """A request on the edge's socket: `forwarded` is the X-Forwarded-For of the edge."""
    request = asked_from("", ("X-Forwarded-For", forwarded), *fields)
    handler = Mock(spec=ConnectionHandler)
    handler.is_from_edge = True
    request._protocol = handler
    return request


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::1", "::1"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 10.0.0.1", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("", "unknown"),
        ("unix", "unknown"),
    ],
)
def test_edge_reports_the_address_of_its_own_peer(forwarded: str, address: str) -> None:
    client = client_of(asked_on_the_edge(forwarded), trusted=TRUSTED, tls=False)
    assert (client.address, client.scheme) == (address, "https")


def test_visitor_at_the_edge_is_no_trusted_proxy() -> None:
    forged = (("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", "evil.example"))
    request = asked_on_the_edge("10.9.9.9, 203.0.113.7", *forged)
    expected = Client("203.0.113.7", "https", "shop.example")
    assert client_of(request, trusted=TRUSTED, tls=False) == expected


def test_trusted_proxy_at_the_edge_is_believed() -> None:
    fields = (("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", "www.example"))
    client = client_of(
        asked_on_the_edge("203.0.113.7, 10.0.0.1", *fields), trusted=TRUSTED, tls=False
    )
    assert client == Client("203.0.113.7", "http", "shop.example", "www.example", is_proxied=True)


def test_connection_without_an_address_is_not_the_edge() -> None:
    """A client that has reset its connection has no address."""
    client = client_of(asked_from("", ("X-Forwarded-For", "10.0.0.1")), trusted=TRUSTED, tls=False)
    assert client == Client("unknown", "http", "shop.example")


def test_untrusted_peer_is_not_believed() -> None:
    request = asked_from(
        "203.0.113.7",
        ("X-Forwarded-For", "1.1.1.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
    )
    assert client_of(request, trusted=TRUSTED, tls=False) == Client(
        "203.0.113.7", "http", "shop.example"
    )


def test_listener_determines_scheme() -> None:
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
def test_trusted_chain_is_read_from_the_right(forwarded: str, address: str) -> None:
    request = asked_from("10.0.0.1", ("X-Forwarded-For", forwarded))
    assert client_of(request, trusted=TRUSTED, tls=False).address == address


def test_repeated_fields_are_one_chain() -> None:
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
        ("wss", "https"),
        ("https, ws", "http"),
        ("gopher", "http"),
        ("", "http"),
    ],
)
def test_trusted_proxy_determines_scheme(forwarded: str, scheme: str) -> None:
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
def test_trusted_proxy_sets_forwarded_host_only(forwarded: str, host: str) -> None:
    request = asked_from("10.0.0.1", ("X-Forwarded-Host", forwarded))
    client = client_of(request, trusted=TRUSTED, tls=False)
    assert client.forwarded_host == host
    assert client.host == "shop.example"


def test_mapped_ipv4_peer_is_ipv4_client() -> None:
    assert client_of(asked_from("::ffff:10.0.0.9"), trusted=[], tls=False).address == "10.0.0.9"


def test_client_without_host_has_empty_host() -> None:
    assert client_of(asked_from("203.0.113.7", host=None), trusted=[], tls=False).host == ""
