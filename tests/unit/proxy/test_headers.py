"""The request head for the origin, of a plain request on the fast path."""

import pytest

from gatekeeper.policy.facts import Client
from gatekeeper.proxy import ForwardContext
from gatekeeper.proxy.headers import interim_head, plain_head, switching_head
from gatekeeper.proxy.plain_head import parse_plain_head
from gatekeeper.proxy.response import parse_response_head


def forwarded(*fields: str, is_proxied: bool) -> list[str]:
    """The lines that the origin receives between Host and the gate's own fields."""
    lines = ["GET / HTTP/1.1", "Host: shop.example", *fields, "", ""]
    request = parse_plain_head("\r\n".join(lines).encode())
    assert request is not None
    client = Client("192.0.2.1", "http", "shop.example", is_proxied=is_proxied)
    context = ForwardContext(
        room="", visitor="", client=client, strip_cookies=frozenset({"gatekeeper"})
    )
    head = plain_head(request, context, origin_host=b"origin", preserve_host=True).decode()
    received = head.split("\r\n")
    return received[2 : received.index("X-Forwarded-Host: shop.example")]


CLAIMS = [
    "X-Real-IP: a",
    "x-original-url: /a",
    "CF-Connecting-IP: a",
    "X-Rewrite-URL: /a",
    "X-Forwarded-Prefix: /a",
    "x-forwarded-PORT: 1",
]


@pytest.mark.parametrize("at", range(4))
def test_proxy_claims_of_a_client_are_removed_and_order_is_kept(at: int) -> None:
    fields = ["Accept: a/b", "Cookie: gatekeeper=x; a=b", "Accept-Language: de"]
    kept = ["Accept: a/b", "Cookie: a=b", "Accept-Language: de"]
    for claim in CLAIMS:
        with_claim = [*fields[:at], claim, *fields[at:]]
        assert forwarded(*with_claim, is_proxied=False) == kept
    assert forwarded(*CLAIMS, *fields, *[], is_proxied=False) == kept


def test_proxy_claims_of_a_trusted_proxy_are_forwarded() -> None:
    assert forwarded(*CLAIMS, is_proxied=True) == CLAIMS


CLEARING = (
    b"HTTP/1.1 101 Switching Protocols\r\nA: 1\r\n"
    b'clear-site-data: "cookies"\r\nClear-Site-Data: "cache"\r\nB: 2\r\n\r\n'
)


@pytest.mark.parametrize(
    ("left", "lines"), [(b"", b"B: 2\r\n"), (b'"cache"', b'B: 2\r\nClear-Site-Data: "cache"\r\n')]
)
def test_switch_of_protocols_does_not_clear_the_token(left: bytes, lines: bytes) -> None:
    response = parse_response_head(CLEARING)
    assert response is not None
    added = ((b"Clear-Site-Data", left), (b"Set-Cookie", b"sid=; Max-Age=0"))
    assert switching_head(response, added=added) == (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"A: 1\r\n%bSet-Cookie: sid=; Max-Age=0\r\n\r\n" % lines
    )


def test_interim_response_clears_nothing() -> None:
    response = parse_response_head(CLEARING.replace(b"101 Switching Protocols", b"103 Hints"))
    assert response is not None
    assert interim_head(response) == b"HTTP/1.1 103 Hints\r\nA: 1\r\nB: 2\r\n\r\n"
