"""Refusals of malformed requests: their format, and which scripts may read them."""

import json

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.pages.renderer import Pages
from gatekeeper.policy.routing import Router
from gatekeeper.proxy.head_reader import MAX_LINE_BYTES
from gatekeeper.web.cors import Cors
from gatekeeper.web.refusals import Refusals
from gatekeeper.web.responses import Responses

APP, API = "https://app.example", "https://api.example"
SITE = RoomConfig.model_validate({"name": "site", "cors_origins": [APP]})
CHECKOUT = RoomConfig.model_validate(
    {"name": "checkout", "path": "/checkout/", "cors_origins": [API]}
)
SHOP = RoomConfig.model_validate({"name": "shop", "host": "shop.example", "cors_origins": [API]})
LONG = "a" * (MAX_LINE_BYTES + 1)
PAGES = Pages()


def refused(head: str, *rooms: RoomConfig) -> tuple[list[str], bytes]:
    """The field lines and the body."""
    responses = Responses(PAGES, Cors(rooms))
    data = Refusals(responses, Router(rooms))(head.encode("latin-1"), 431, "No.")
    fields, _, body = data.partition(b"\r\n\r\n")
    return fields.decode().split("\r\n"), body


def reader(head: str, *rooms: RoomConfig) -> str | None:
    fields, _ = refused(head, *rooms)
    found = [line for line in fields if line.startswith("Access-Control-Allow-Origin: ")]
    assert len(found) <= 1
    return found[0].partition(" ")[2] if found else None


def head(line: str, *fields: str) -> str:
    return "\r\n".join([line, "Host: shop.example", *fields, "X: \0", "", ""])


@pytest.mark.parametrize(
    ("line", "origin"),
    [
        ("GET / HTTP/1.1", APP),
        ("GET /checkout/x?a=b HTTP/1.1", API),
        (f"GET /checkout/?{LONG} HTTP/1.1", API),
        (f"GET /checkout/{LONG} HTTP/1.1", API),
        (f"GET /{LONG} HTTP/1.1", APP),
        (f"GET /{LONG}", APP),
        ("FOO / HTTP/1.1", APP),
    ],
)
def test_refusal_is_readable_for_origins_of_its_room(line: str, origin: str) -> None:
    for each in (APP, API, "https://evil.example", "null"):
        sent = head(line, f"Origin: {each}")
        assert reader(sent, SITE, CHECKOUT) == (each if each == origin else None)
    twice = head(line, f"Origin: {origin}", f"Origin: {origin}")
    assert reader(twice, SITE, CHECKOUT) is None


@pytest.mark.parametrize(
    "sent",
    [
        "GET /check",
        "\r\nOrigin: https://app.example\r\n",
        head("GET", f"Origin: {APP}"),
        head("GET checkout HTTP/1.1", f"Origin: {APP}"),
        head("GET /%63heckout/ HTTP/1.1", f"Origin: {API}"),
        head("GET /checkout/../x/..%2f HTTP/1.1", f"Origin: {APP}"),
    ],
)
def test_refusal_of_an_unknown_room_is_for_no_origin(sent: str) -> None:
    assert reader(sent, SITE, CHECKOUT) is None


def test_room_is_that_of_the_only_host() -> None:
    line, origin = "GET / HTTP/1.1", f"Origin: {API}"
    assert reader(head(line, origin), SHOP) == API
    assert reader(head(line, "Host: shop.example", origin), SHOP) is None, "two hosts"
    assert reader(head(line, origin).replace("shop.", "x."), SHOP) is None
    assert reader(f"{line}\r\n{origin}\r\nX: \0\r\n", SHOP) is None, "no host"


def test_only_room_is_known_whatever_the_head() -> None:
    assert reader(f"\0\r\nOrigin: {APP}\r\n", SITE) == APP
    assert reader(f"GET /a\r\norigin:{APP}  \r\n", SITE) == APP
    assert reader(f"GET /a\r\nX-Origin: {APP}\r\n", SITE) is None


def test_refusal_has_the_format_and_language_of_every_error() -> None:
    fields, body = refused(head("GET / HTTP/1.1"), SITE)
    assert json.loads(body) == {"error": "No."}
    assert fields[0] == "HTTP/1.1 431 Request Header Fields Too Large"
    assert fields[-1] == "Connection: close"
    fields, body = refused(head("GET / HTTP/1.1", "Accept: text/html", "Accept-Language: de"), SITE)
    assert "Content-Language: de" in fields
    assert b"<!doctype html>" in body


def test_refusal_of_head_has_no_body() -> None:
    fields, body = refused(head("HEAD / HTTP/1.1"), SITE)
    assert body == b""
    assert "Content-Length: 16" in fields
