"""The fields that identify visitor and client to the origin, and forged ones."""

import pytest

from tests.integration.proxy.forwarding import (
    Message,
    get,
    proxying,
    responding,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def seen_by_the_origin(
    *fields: str, trusted: tuple[str, ...] = (), preserve_host: bool = True
) -> Message:
    async with proxying(responding(OK), preserve_host=preserve_host) as (server, gate):
        gate.trusted = trusted
        assert (await gate.ask(get("/", *fields))).status == 200
    return server.requests[0]


async def test_origin_receives_visitor_and_room() -> None:
    seen = await seen_by_the_origin()
    assert seen.one("X-Gatekeeper-Visitor") == b"AAAAAAAAAAAAAAAAAAAAAA"
    assert seen.one("X-Gatekeeper-Room") == b"default"


async def test_origin_receives_client_scheme_and_host() -> None:
    seen = await seen_by_the_origin()
    assert seen.one("X-Forwarded-For") == b"127.0.0.1"
    assert seen.one("X-Forwarded-Proto") == b"http"
    assert seen.one("X-Forwarded-Host") == b"shop.example"
    assert seen.one("Host") == b"shop.example"


async def test_without_preserve_host_origin_receives_own_name() -> None:
    seen = await seen_by_the_origin(preserve_host=False)
    assert (seen.one("Host") or b"").startswith(b"127.0.0.1:")
    assert seen.one("X-Forwarded-Host") == b"shop.example"


@pytest.mark.parametrize(
    "field",
    [
        "X-Forwarded-For: 9.9.9.9",
        "x-forwarded-proto: https",
        "X-FORWARDED-HOST: evil.example",
        "X_Forwarded_For: 9.9.9.9",
        "Forwarded: for=9.9.9.9;host=evil.example",
        "X-Gatekeeper-Visitor: 9.9.9.9",
        "x-gatekeeper-room: 9.9.9.9",
        "X_Gatekeeper_Visitor: 9.9.9.9",
        "X-Gatekeeper_Room: 9.9.9.9",
        "X-Gatekeeper-State: 9.9.9.9",
        "x_gatekeeper_anything: 9.9.9.9",
        "X-Queue-Token: 9.9.9.9",
        "X_Queue-Token: 9.9.9.9",
        "X-Queue-Invitation: 9.9.9.9",
        "x-queue-foo: 9.9.9.9",
        "X_QUEUE_FOO: 9.9.9.9",
    ],
)
async def test_client_cannot_forge_gate_fields(field: str) -> None:
    seen = await seen_by_the_origin(field)
    assert b"9.9.9.9" not in seen.head
    assert b"evil.example" not in seen.head
    assert seen.one("X-Forwarded-Proto") == b"http"
    assert seen.one("X-Gatekeeper-Visitor") == b"AAAAAAAAAAAAAAAAAAAAAA"


CLAIMS = [
    "X-Real-IP: 9.9.9.9",
    "True-Client-IP: 9.9.9.9",
    "CF-Connecting-IP: 9.9.9.9",
    "x-client-ip: 9.9.9.9",
    "X-Original-URL: /9.9.9.9",
    "X-Rewrite-URL: /9.9.9.9",
    "X-Original-URI: /9.9.9.9",
    "Client-IP: 9.9.9.9",
    "X-Forwarded-Port: 9.9.9.9",
    "X-Forwarded-Prefix: /9.9.9.9",
    "X-Forwarded-Uri: /9.9.9.9",
    "x-forwarded-anything: 9.9.9.9",
]


@pytest.mark.parametrize("claim", [*CLAIMS, "X_Real_IP: 9.9.9.9", "X_Forwarded-Ssl: 9.9.9.9"])
async def test_proxy_claims_of_a_client_are_removed(claim: str) -> None:
    seen = await seen_by_the_origin("Accept: a/b", claim, "Cookie: a=b")
    assert b"9.9.9.9" not in seen.head
    assert (seen.one("Accept"), seen.one("Cookie")) == (b"a/b", b"a=b")


@pytest.mark.parametrize("claim", CLAIMS)
async def test_proxy_claims_of_a_trusted_proxy_are_forwarded(claim: str) -> None:
    seen = await seen_by_the_origin(claim, trusted=("127.0.0.0/8",))
    assert claim.encode() in seen.head


async def test_trusted_proxy_is_read_from_the_right() -> None:
    seen = await seen_by_the_origin(
        "X-Forwarded-For: 1.1.1.1, 203.0.113.7",
        "X-Forwarded-For: 10.0.0.2",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: www.example",
        trusted=("127.0.0.0/8", "10.0.0.0/8"),
    )
    assert seen.all("X-Forwarded-For") == [b"203.0.113.7"]
    assert seen.all("X-Forwarded-Proto") == [b"https"]
    assert seen.all("X-Forwarded-Host") == [b"www.example"]
    assert seen.all("Host") == [b"shop.example"]  # selects the room, so no proxy may set it


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        ("a=1; gatekeeper=secret; b=2", b"a=1; b=2"),
        ("gatekeeper=secret; b=2", b"b=2"),
        ("a=1;gatekeeper=secret", b"a=1"),
        ("a=1;  gatekeeper-checkout=secret ;gatekeeper=x", b"a=1"),
        ("gatekeeper=secret", None),
        ("a=gatekeeper; my-gatekeeper=1;;odd", b"a=gatekeeper; my-gatekeeper=1;;odd"),
    ],
)
async def test_gate_cookies_are_removed(sent: str, passed: bytes | None) -> None:
    seen = await seen_by_the_origin(f"Cookie: {sent}")
    assert seen.one("Cookie") == passed


async def test_gate_cookies_are_removed_from_every_cookie_field() -> None:
    seen = await seen_by_the_origin("Cookie: gatekeeper=secret", "Cookie: a=1; gatekeeper=secret")
    assert seen.all("Cookie") == [b"a=1"]


async def test_hop_by_hop_request_fields_are_removed() -> None:
    seen = await seen_by_the_origin(
        "Connection: X-Secret, close",
        "Connection: keep-alive",
        "X-Secret: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic eA==",
        "TE: gzip",
        "Trailer: X-Sum",
        "Upgrade: h2c",
        "X-Kept: 1",
    )
    names = {line.split(b":")[0].lower() for line in seen.head.split(b"\r\n")[1:-2]}
    assert names == {
        b"host",
        b"x-kept",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-gatekeeper-visitor",
        b"x-gatekeeper-room",
    }


async def test_connection_cannot_remove_gate_or_framing_fields() -> None:
    fields = "Host, Content-Length, X-Gatekeeper-Visitor, X-Gatekeeper-Room, X-Forwarded-For"
    async with proxying(responding(OK)) as (origin, gate):
        request = get("/", f"Connection: {fields}", "Content-Length: 5", method="POST") + b"hello"
        assert (await gate.ask(request)).status == 200
    seen = origin.requests[0]
    assert seen.body == b"hello"
    assert seen.one("Host") == b"shop.example"
    assert seen.one("X-Gatekeeper-Visitor") == b"AAAAAAAAAAAAAAAAAAAAAA"
    assert seen.one("X-Gatekeeper-Room") == b"default"
    assert seen.one("X-Forwarded-For") == b"127.0.0.1"


async def test_hop_by_hop_response_fields_are_removed() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nConnection: X-Private, keep-alive, content-length\r\nX-Private: 1\r\n"
        b"Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: h2\r\nX-Kept: 1\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    async with proxying(responding(head)) as (_, gate):
        response = await gate.ask(get())
    assert response.head == b"HTTP/1.1 200 OK\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n"
