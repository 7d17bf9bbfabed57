"""Which requests come from another site, by every field with which browsers name the sender."""

import pytest

from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.sender import is_from_another_site

TLS = Client("192.0.2.1", "https", "shop.test")
OTHER_PORT = Client("192.0.2.1", "https", "shop.test:8443")
BEHIND = Client("192.0.2.1", "https", "internal:8080", "shop.test")
PLAIN = Client("192.0.2.1", "http", "shop.test")


def is_foreign(client: Client, **fields: str | list[str]) -> bool:
    by_name = {
        name.replace("_", "-"): [value] if isinstance(value, str) else value
        for name, value in fields.items()
    }
    return is_from_another_site(
        RequestFacts(client, "POST", "/", fields=lambda name: by_name.get(name.lower(), ()))
    )


@pytest.mark.parametrize(
    ("client", "fields"),
    [
        (TLS, {}),
        (TLS, {"sec_fetch_site": "same-origin"}),
        (TLS, {"sec_fetch_site": "none"}),
        (TLS, {"sec_fetch_site": "same-origin", "origin": "null"}),  # without a referrer
        (TLS, {"sec_fetch_site": "none", "origin": "https://shop.test"}),
        (TLS, {"origin": "https://shop.test"}),
        (TLS, {"origin": "https://shop.test", "referer": "https://other.test/"}),
        (TLS, {"referer": "https://shop.test/a?b=https://other.test"}),
        (TLS, {"referer": "https://SHOP.test"}),
        (TLS, {"referer": "https://shop.test/@a"}),
        (OTHER_PORT, {"origin": "https://shop.test:8443"}),
        (BEHIND, {"origin": "https://shop.test"}),
        (PLAIN, {"origin": "http://shop.test"}),
        (PLAIN, {"origin": "https://shop.test"}),  # a proxy ends TLS
        (Client("192.0.2.1", "https", "shop.test:443"), {"origin": "https://shop.test"}),
    ],
)
def test_request_of_the_site_itself_or_of_an_app(
    client: Client, fields: dict[str, str | list[str]]
) -> None:
    assert not is_foreign(client, **fields)


@pytest.mark.parametrize(
    ("client", "fields"),
    [
        (TLS, {"sec_fetch_site": "same-site"}),
        (TLS, {"sec_fetch_site": "cross-site", "origin": "https://shop.test"}),
        (TLS, {"sec_fetch_site": ["same-origin", "cross-site"]}),
        (TLS, {"sec_fetch_site": ""}),
        (TLS, {"sec_fetch_site": "none", "origin": "https://other.test"}),
        (TLS, {"sec_fetch_site": "none", "origin": "null"}),
        (TLS, {"sec_fetch_site": ["same-origin", "none"], "origin": "https://other.test"}),
        (TLS, {"origin": "http://shop.test"}),
        (TLS, {"origin": "null"}),
        (TLS, {"origin": ""}),
        (TLS, {"origin": "shop.test"}),
        (TLS, {"origin": "https://shop.test:8443"}),
        (TLS, {"origin": "https://shop.test.other.test"}),
        (TLS, {"origin": ["https://shop.test", "https://other.test"]}),
        (TLS, {"origin": "https://other.test", "referer": "https://shop.test/"}),
        (TLS, {"referer": "https://other.test/"}),
        (TLS, {"referer": "http://shop.test/"}),
        (TLS, {"referer": "https://shop.test@other.test/"}),
        (TLS, {"referer": "https://shop.test.other.test/"}),
        (TLS, {"referer": "https://other.test\\@shop.test/"}),
        (TLS, {"referer": "//shop.test/"}),
        (TLS, {"referer": ["https://shop.test/", "https://other.test/"]}),
        (PLAIN, {"origin": "ftp://shop.test"}),
        (Client("192.0.2.1", "https", ""), {"origin": "https://"}),
    ],
)
def test_request_of_another_origin(client: Client, fields: dict[str, str | list[str]]) -> None:
    assert is_foreign(client, **fields)
