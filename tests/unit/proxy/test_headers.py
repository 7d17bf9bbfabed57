"""The request head for the origin, of a plain request on the fast path."""

import pytest

from gatekeeper.policy.facts import Client
from gatekeeper.proxy import ForwardContext
from gatekeeper.proxy.headers import plain_head
from gatekeeper.proxy.plain_head import parse_plain_head


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
