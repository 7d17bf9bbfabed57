"""Which scripts from other origins may read the gate's own responses."""

from collections.abc import Sequence

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.web.cors import Cors
from gatekeeper.web.message import GateResponse

SHOP, OTHER = "https://shop.example.com", "https://other.example.com:8443"
ROOM, STRICT, SILENT = RoomName("api"), RoomName("strict"), RoomName("silent")
CORS = Cors(
    [
        RoomConfig(name=ROOM, cors_origins=(SHOP, OTHER)),
        RoomConfig(name=STRICT, cors_origins=(OTHER,)),
        RoomConfig(name=SILENT),
    ]
)
ALLOW = "Access-Control-Allow-Origin"


def request(*origins: str, method: str = "GET", preflight_for: Sequence[str] = ()) -> RequestFacts:
    fields = {"origin": origins, "access-control-request-method": preflight_for}
    return RequestFacts(
        Client("192.0.2.1", "https", "api.example.com"),
        method,
        "/",
        fields=lambda name: fields.get(name.lower(), ()),
    )


def test_named_origin_may_read_the_response() -> None:
    assert dict(CORS.headers(request(SHOP), ROOM)) == {
        ALLOW: SHOP,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "X-Gatekeeper-State, Retry-After, X-Queue-Token",
        "Vary": "Origin",
    }


@pytest.mark.parametrize(
    "origins",
    [
        (),
        ("null",),
        ("",),
        ("*",),
        ("http://shop.example.com",),
        ("https://shop.example.com:443",),
        ("https://shop.example.com:8443",),
        ("https://shop.example.com.evil.example",),
        ("https://evilshop.example.com",),
        ("https://evil.shop.example.com",),
        ("https://shop.example.com/",),
        ("https://shop.example.com.",),
        ("https://SHOP.example.com",),
        ("HTTPS://shop.example.com",),
        (" https://shop.example.com",),
        ("https://shop.example.com https://evil.example",),
        ("https://shop.example.com,https://evil.example",),
        (SHOP, SHOP),
        (SHOP, "https://evil.example"),
        ("https://evil.example", SHOP),
        ("null", SHOP),
    ],
)
def test_other_origin_may_read_nothing(origins: tuple[str, ...]) -> None:
    assert CORS.headers(request(*origins), ROOM) == (("Vary", "Origin"),)
    preflight = request(*origins, method="OPTIONS", preflight_for=["POST"])
    assert CORS.preflight(preflight, ROOM, methods=["POST"]) is None
    assert not CORS.names(request(*origins), ROOM)


def test_origins_are_those_of_the_room_alone() -> None:
    assert ALLOW not in dict(CORS.headers(request(SHOP), STRICT))
    assert dict(CORS.headers(request(OTHER), STRICT))[ALLOW] == OTHER
    assert CORS.headers(request(SHOP), SILENT) == ()
    assert CORS.headers(request(SHOP), RoomName("unknown")) == ()


def test_response_without_room_is_for_every_named_origin() -> None:
    assert dict(CORS.headers(request(SHOP), None))[ALLOW] == SHOP
    assert Cors().headers(request(SHOP), None) == ()


def test_preflight_of_a_named_origin_lists_what_it_may_send() -> None:
    preflight = request(SHOP, method="OPTIONS", preflight_for=["POST"])
    own = CORS.preflight(preflight, ROOM, methods=["POST"])
    assert own is not None
    shared = CORS.shared(GateResponse(204, own, b""), preflight, ROOM)
    names = [name for name, _ in shared.headers if name != "Vary"]
    assert len(names) == len(set(names)), "a browser refuses a field that came twice"
    headers = dict(shared.headers)
    assert headers[ALLOW] == SHOP
    assert headers["Access-Control-Allow-Methods"] == "POST"
    assert headers["Access-Control-Allow-Headers"] == (
        "X-Queue-Token, X-Queue-Invitation, Content-Type"
    )
    assert headers["Access-Control-Max-Age"] == "600"


@pytest.mark.parametrize(("method", "asked"), [("OPTIONS", []), ("GET", ["POST"])])
def test_other_request_is_no_preflight(method: str, asked: list[str]) -> None:
    assert (
        CORS.preflight(request(SHOP, method=method, preflight_for=asked), ROOM, methods=[]) is None
    )


def test_response_keeps_its_own_headers() -> None:
    response = GateResponse(503, (("Vary", "Accept"), ("Retry-After", "5")), b"x", close=True)
    shared = CORS.shared(response, request(SHOP), ROOM)
    assert shared.headers[-2:] == response.headers
    assert (shared.status, shared.body, shared.close) == (503, b"x", True)
    assert CORS.shared(response, request(SHOP), SILENT) is response
