"""The original request of a check is read from the fields of the proxy, never from fields that a
client adds."""

from collections.abc import Sequence

import pytest

from gatekeeper.errors import BadRequest
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.fetch_metadata import creates_place
from gatekeeper.policy.original_request import is_check, original_request

Fields = Sequence[tuple[str, str]]
URI, METHOD, HOST = "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Host"
URL, URL_METHOD = "X-Original-URL", "X-Original-Method"


def check(*fields: tuple[str, str], method: str = "GET", path: str = "auth") -> RequestFacts:
    """A check by a trusted proxy, as the reader of facts receives it."""

    def values(name: str) -> list[str]:
        return [value for field, value in fields if field.lower() == name.lower()]

    hosts = [host for host in values(HOST) if not set(host) & set("/ @")]
    scheme = next(iter(values("X-Forwarded-Proto")), "http")
    client = Client("198.51.100.7", scheme, "gate:8080", "".join(hosts[-1:]), is_proxied=True)
    return RequestFacts(client, method, f"/.gatekeeper/{path}", fields=values)


def described(facts: RequestFacts) -> str:
    original = original_request(facts)
    return f"{original.method} {original.client.scheme}://{original.client.host}{original.target}"


@pytest.mark.parametrize(
    ("facts", "original"),
    [
        (
            check(
                (METHOD, "POST"), ("X-Forwarded-Proto", "https"), (HOST, "shop"), (URI, "/a?b=c")
            ),
            "POST https://shop/a?b=c",
        ),
        (check((URI, "/")), "GET http://gate:8080/"),
        (check((URI, "/"), method="HEAD"), "HEAD http://gate:8080/"),
        (check((URI, "/grün")), "GET http://gate:8080/gr%C3%BCn"),
        (check((URI, "*"), (METHOD, "OPTIONS")), "OPTIONS http://gate:8080*"),
        (check((URI, "//evil.example/x")), "GET http://gate:8080//evil.example/x"),
        (check((URI, "/a"), (URI, "/a")), "GET http://gate:8080/a"),
        (
            check((URL, "https://shop:8443/a?b"), (URL_METHOD, "PUT")),
            "PUT https://shop:8443/a?b",
        ),
        (check((URL, "http://shop/"), ("X-Forwarded-Proto", "https")), "GET https://shop/"),
        (check((URL, "http://shop/a"), (URI, "/a"), (HOST, "shop")), "GET http://shop/a"),
        (check(method="POST", path="auth/a/b?c=d"), "POST http://gate:8080/a/b?c=d"),
        (check(path="auth/"), "GET http://gate:8080/"),
        (check(path="auth//x"), "GET http://gate:8080//x"),
    ],
)
def test_original_request_is_read(facts: RequestFacts, original: str) -> None:
    assert described(facts) == original


@pytest.mark.parametrize(
    "facts",
    [
        check((URI, "/cart?x"), (URL, "http://a/b"), (URL_METHOD, "PUT"), (HOST, "evil"), path=path)
        for path in ("auth/free", "auth/free?")
    ],
)
def test_address_in_the_path_outranks_every_field(facts: RequestFacts) -> None:
    original = original_request(facts)
    assert original.target.rstrip("?") == "/free"
    assert (original.method, original.client.host) == ("GET", "gate:8080")
    assert original.client.forwarded_host == ""


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ([], "is missing"),
        ([(METHOD, "GET")], "is missing"),
        ([(URI, "")], "is not a path"),
        ([(URI, "cart")], "is not a path"),
        ([(URI, "http://evil/cart")], "is not a path"),
        ([(URI, "/a b")], "is not a path"),
        ([(URI, "/a#b")], "is not a path"),
        ([(URI, "/a\x00")], "is not a path"),
        ([(URI, "*/a")], "is not a path"),
        ([(URI, "/a"), (URI, "/b")], "different values"),
        ([(URI, "/a"), (METHOD, "GET"), (METHOD, "POST")], "different values"),
        ([(URI, "/a"), (METHOD, "GET"), (URL_METHOD, "POST")], "different values"),
        ([(URI, "/a"), (METHOD, "GET, POST")], "method"),
        ([(URI, "/a"), (METHOD, "")], "method"),
        ([(URI, "/a"), (HOST, "a/b")], "not a valid host"),
        ([(URI, "/a"), (HOST, "")], "not a valid host"),
        ([(URI, "/a"), (URL, "http://gate:8080/b")], "different addresses"),
        ([(URI, "/a"), (HOST, "shop"), (URL, "http://evil/a")], "different hosts"),
        ([(URI, "/a"), (URL, "http://evil/a")], "different hosts"),
        ([(URL, "http://shop/a"), (URL, "http://shop/b")], "different values"),
        ([(URL, "/a")], "not a URL"),
        ([(URL, "http://shop")], "not a URL"),
        ([(URL, "http://user@shop/")], "not a URL"),
        ([(URL, "ftp://shop/")], "not a URL"),
        ([(URI, "*")], "for OPTIONS only"),
        ([(URI, "*"), (METHOD, "POST")], "for OPTIONS only"),
        ([(URI, "/a"), (METHOD, "connect")], "CONNECT is not supported"),
        ([(URI, "/a"), (HOST, "shop"), (HOST, "evil")], "different hosts"),
        ([(URI, "/a"), (HOST, "evil,shop")], "different hosts"),
    ],
)
def test_unclear_original_request_is_refused(fields: Fields, problem: str) -> None:
    with pytest.raises(BadRequest, match=problem):
        original_request(check(*fields))


def test_handshake_is_known_without_upgrade() -> None:
    """Traefik and Envoy remove Upgrade from a check, since it applies to one connection."""
    without = check((URI, "/ws"))
    assert creates_place(original_request(without))
    handshake = check((URI, "/ws"), ("Sec-WebSocket-Version", "13"))
    assert not creates_place(original_request(handshake))
    assert list(original_request(handshake).fields("Upgrade")) == ["websocket"]


def test_other_fields_stay_those_of_the_check() -> None:
    original = original_request(check((URI, "/"), ("Accept", "text/html"), ("X-Signature", "s")))
    assert list(original.fields("X-Signature")) == ["s"]
    assert original.client.address == "198.51.100.7"


@pytest.mark.parametrize("name", ["auth", "auth?nginx", "auth/", "auth/a?b"])
def test_check_is_known_by_its_path(name: str) -> None:
    assert is_check(name)


@pytest.mark.parametrize(
    "name", ["", "authority", "aut", "Auth", "status?auth", "%61uth", "auth;x"]
)
def test_other_paths_are_no_checks(name: str) -> None:
    assert not is_check(name)
