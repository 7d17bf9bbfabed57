"""Forward auth: a trusted proxy asks, and receives the same decision as for the request inline.

Rules: each test runs on both paths. A field that is not plain sends the check to aiohttp.
"""

from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from gatekeeper.policy.tokens import Pass, Ticket
from tests.builders import room_toml, sign_token
from tests.gates import Gate, GateStarter
from tests.gates.http_visitor import HTML, Response

CHECK = "/.gatekeeper/auth"
TRUSTED = '[server]\ntrusted_proxies = ["127.0.0.1", "127.0.0.3"]\n'
SHOP = {
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "shop.example",
    "X-Forwarded-Uri": "/cart?a=b",
}


async def ask(
    gate: Gate,
    fields: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    path: str = CHECK,
    peer: str = "127.0.0.1",
    **options: Any,
) -> Response:
    """The response to a check of the proxy at `peer` about `SHOP`, with other `fields`."""
    connector = aiohttp.TCPConnector(local_addr=(peer, 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(
            method,
            gate.url + path,
            headers=SHOP | dict(fields or {}),
            allow_redirects=False,
            **options,
        ) as response,
    ):
        return Response(response.status, response.headers, await response.read())


def cookie(gate: Gate, token: Pass | Ticket, *, secure: bool = False) -> dict[str, str]:
    prefix = "__Host-" if secure else ""
    return {"Cookie": f"{prefix}{gate.cookie_name}={sign_token(token)}"}


def given(gate: Gate, response: Response) -> Pass | Ticket | None:
    """The token that a response sets."""
    name, _, rest = response.headers.get("Set-Cookie", "").partition("=")
    return gate.token(rest.partition(";")[0]) if name.endswith(gate.cookie_name) else None


async def test_admitted_visitor_is_named(start_gate: GateStarter, way: dict[str, str]) -> None:
    gate = await start_gate(TRUSTED)
    held = gate.issue_pass()
    response = await ask(gate, way | cookie(gate, held))
    assert (response.status, response.body) == (200, b"")
    assert response.headers["X-Gatekeeper-Visitor"] == held.visitor
    assert response.headers["X-Gatekeeper-Room"] == gate.room_name
    assert response.headers["X-Gatekeeper-State"] == "admitted"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers
    assert gate.origin.requests == []


async def test_newcomer_under_the_rate_gets_a_pass(
    start_gate: GateStarter, way: dict[str, str]
) -> None:
    gate = await start_gate(TRUSTED)
    response = await ask(gate, way)
    fresh = given(gate, response)
    assert response.status == 200
    assert isinstance(fresh, Pass)
    assert not fresh.confirmed
    assert response.headers["X-Gatekeeper-Visitor"] == fresh.visitor


async def test_newcomer_in_line_gets_page_and_place(
    start_gate: GateStarter, way: dict[str, str]
) -> None:
    gate = await start_gate(TRUSTED, rate="0")
    response = await ask(gate, way | HTML)
    assert response.status == 503
    assert "<title>" in response.text
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["X-Gatekeeper-State"] == "waiting"
    ticket = given(gate, response)
    assert isinstance(ticket, Ticket)
    json = await ask(gate, way | cookie(gate, ticket))
    assert (json.status, json.json["position"]) == (503, 1)
    await gate.allow(1)
    claimed = await ask(gate, way | cookie(gate, ticket))
    assert claimed.status == 200
    assert isinstance(given(gate, claimed), Pass)


async def test_pass_is_renewed_with_a_navigation(
    start_gate: GateStarter, way: dict[str, str]
) -> None:
    gate = await start_gate(TRUSTED)
    held = gate.issue_pass(ago_s=300, expires_in_s=1500)
    image = await ask(gate, way | cookie(gate, held) | {"Sec-Fetch-Dest": "image"})
    assert (image.status, "Set-Cookie" in image.headers) == (200, False)
    page = await ask(gate, way | cookie(gate, held))
    fresh = given(gate, page)
    assert isinstance(fresh, Pass)
    assert (page.status, fresh.visitor) == (200, held.visitor)
    assert fresh.expires_at_s > held.expires_at_s


async def test_app_gets_its_token_as_it_came(start_gate: GateStarter) -> None:
    gate = await start_gate(TRUSTED)
    held = gate.issue_pass(ago_s=1700, expires_in_s=100)
    response = await ask(gate, {"X-Queue-Token": sign_token(held)})
    assert response.status == 200
    assert isinstance(gate.token(response.headers["X-Queue-Token"]), Pass)
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 503),
        ({"X-Forwarded-Uri": "/free/x"}, 200),
        ({"X-Forwarded-Uri": "/free/../cart"}, 503),
        ({"X-Forwarded-Uri": "/free/%2e%2e/cart"}, 503),
        ({"X-Forwarded-Uri": "/closed"}, 403),
        ({"X-Forwarded-Uri": "/Closed%2Fx"}, 503),
        ({"X-Forwarded-Uri": "//closed"}, 403),
        ({"X-Forwarded-Uri": "/robots.txt"}, 200),
        ({"X-Forwarded-Uri": "/hook", "X-Forwarded-Method": "POST"}, 200),
        ({"X-Forwarded-Uri": "/hook", "X-Forwarded-Method": "GET"}, 503),
        ({"X-Forwarded-Host": "free.example"}, 200),
        ({"X-Forwarded-Host": "shop.example, free.example"}, 400),
        ({"X-Forwarded-Uri": "*"}, 400),
        ({"X-Forwarded-For": "203.0.113.9"}, 403),
        ({"X-Forwarded-For": "203.0.113.9, 198.51.100.1"}, 503),
        ({"Signature": "s"}, 200),
        ({"X-Original-URL": "http://shop.example/free/x"}, 400),
        ({"X-Original-Method": "POST"}, 400),
        ({"X-Forwarded-Uri": "/a b"}, 400),
        ({"X-Forwarded-Host": "a/b"}, 400),
        ({"X-Forwarded-Uri": "/.gatekeeper/status"}, 403),
        ({"X-Forwarded-Uri": "/.gatekeeper/auth"}, 403),
    ],
)
async def test_rules_apply_to_the_original_request(
    start_gate: GateStarter, way: dict[str, str], fields: dict[str, str], status: int
) -> None:
    rules = """
    [[rule]]
    name = "free"
    action = "bypass"
    path = "/free/**"
    [[rule]]
    name = "closed"
    action = "block"
    path = "/closed"
    [[rule]]
    name = "hook"
    action = "bypass"
    path = "/hook"
    method = "POST"
    [[rule]]
    name = "host"
    action = "bypass"
    host = "free.example"
    [[rule]]
    name = "banned"
    action = "block"
    client = "203.0.113.9"
    [[rule]]
    name = "signed"
    action = "bypass"
    header = { Signature = "*" }
    """
    gate = await start_gate(TRUSTED + rules, rate="0")
    response = await ask(gate, way | fields)
    assert response.status == status
    if status == 200:
        assert "X-Gatekeeper-Visitor" not in response.headers
        assert "Set-Cookie" not in response.headers


async def test_room_is_that_of_the_original_host(
    start_gate: GateStarter, way: dict[str, str]
) -> None:
    gate = await start_gate(
        TRUSTED,
        rooms=room_toml("shop", host="shop.example", rate="0")
        + room_toml("blog", host="blog.example"),
    )
    assert (await ask(gate, way)).status == 503
    blog = await ask(gate, way | {"X-Forwarded-Host": "blog.example"})
    assert (blog.status, blog.headers["X-Gatekeeper-Room"]) == (200, "blog")
    # Like Envoy: the host is that of the check.
    envoy = await ask(gate, way | {"Host": "blog.example"}, path=f"{CHECK}/cart")
    assert (envoy.status, envoy.headers["X-Gatekeeper-Room"]) == (200, "blog")
    assert (await ask(gate, way | {"X-Forwarded-Host": "other.example"})).status == 421


async def test_secure_cookie_counts_behind_tls_only(
    start_gate: GateStarter, way: dict[str, str]
) -> None:
    gate = await start_gate(TRUSTED, rate="0")
    secure = cookie(gate, gate.issue_pass(), secure=True)
    assert (await ask(gate, way | secure | {"X-Forwarded-Proto": "https"})).status == 200
    assert (await ask(gate, way | secure)).status == 503
    new = await ask(gate, way | {"X-Forwarded-Proto": "https"})
    assert new.headers["Set-Cookie"].startswith("__Host-")
    # Traefik names the scheme of a WebSocket.
    assert (await ask(gate, way | secure | {"X-Forwarded-Proto": "wss"})).status == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"X-Forwarded-Method": "POST"},
        {"Sec-WebSocket-Version": "13"},
        {"Sec-Fetch-Dest": "image"},
        {"Accept": "text/event-stream"},
    ],
)
async def test_request_without_place_gets_no_token(
    start_gate: GateStarter, way: dict[str, str], fields: dict[str, str]
) -> None:
    gate = await start_gate(TRUSTED, rate="0")
    response = await ask(gate, way | fields)
    assert (response.status, "Set-Cookie" in response.headers) == (503, False)


async def test_nginx_gets_401_and_the_page_elsewhere(
    start_gate: GateStarter, way: dict[str, str]
) -> None:
    gate = await start_gate(TRUSTED, rate="0")
    check = await ask(gate, way | HTML, path=f"{CHECK}?nginx")
    assert (check.status, check.body) == (401, b"")
    assert "Set-Cookie" not in check.headers
    assert check.headers["Location"] == f"{CHECK}?page"
    page = await ask(gate, way | HTML, path=check.headers["Location"])
    ticket = given(gate, page)
    assert (page.status, "<title>" in page.text) == (503, True)
    assert isinstance(ticket, Ticket)
    post = await ask(
        gate, way | HTML | {"X-Forwarded-Method": "POST"}, path=check.headers["Location"]
    )
    assert (post.status, "Set-Cookie" in post.headers) == (503, False)
    await gate.allow(1)
    admitted = await ask(gate, way | cookie(gate, gate.issue_pass()), path=f"{CHECK}?nginx")
    assert admitted.status == 200


async def test_page_leads_back_once_admitted(start_gate: GateStarter, way: dict[str, str]) -> None:
    gate = await start_gate(TRUSTED)
    response = await ask(gate, way, path=f"{CHECK}?page")
    assert (response.status, response.headers["Location"]) == (307, "/cart?a=b")
    assert isinstance(given(gate, response), Pass)
    held = cookie(gate, gate.issue_pass())
    for uri in ("//evil.example/x", "/\\evil.example/x"):
        fields = way | held | {"X-Forwarded-Uri": uri}
        response = await ask(gate, fields, path=f"{CHECK}?page")
        assert response.headers["Location"].startswith("http://shop.example/"), uri


async def test_page_spends_no_admission_on_a_form(start_gate: GateStarter) -> None:
    gate = await start_gate(TRUSTED, rate="1/min", burst=2)
    form = {"X-Forwarded-Method": "POST"}
    for _ in range(3):
        assert (await ask(gate, form, path=f"{CHECK}?page")).status == 503
    assert (await ask(gate, form)).status == 200


async def test_blocked_request_is_401_for_nginx(start_gate: GateStarter) -> None:
    rule = '[[rule]]\nname = "closed"\naction = "block"\npath = "/cart"\n'
    gate = await start_gate(TRUSTED + rule)
    assert (await ask(gate, path=f"{CHECK}?nginx")).status == 401
    assert (await ask(gate, path=f"{CHECK}?page")).status == 403


@pytest.mark.parametrize("status", [200, 202, 429, 503])
async def test_waiting_status_never_allows(
    start_gate: GateStarter, way: dict[str, str], status: int
) -> None:
    """For a proxy 2xx means allowed; the page behind nginx has the room's status."""
    gate = await start_gate(TRUSTED, rate="0", status=status)
    for fields in (HTML, {}, {"X-Forwarded-Method": "POST"}):
        refused = await ask(gate, way | fields)
        assert refused.status == (503 if status < 300 else status)
        page = await ask(gate, way | fields, path=f"{CHECK}?page")
        assert page.status == status
        envoy = {"X-Gatekeeper-Proxy": "envoy"}
        assert (await ask(gate, way | fields | envoy, path=f"{CHECK}/cart")).status == 429


@pytest.mark.parametrize("query", ["page=2", "page", "nginx", "nginx=1", "a=b&page", "x"])
async def test_query_that_a_proxy_leaves_asks_for_nothing(
    start_gate: GateStarter, way: dict[str, str], query: str
) -> None:
    """Caddy's `forward_auth` keeps the query of the original address in the check. If nginx may
    have set it, 401 with the page is correct for both."""
    gate = await start_gate(TRUSTED, rate="0")
    fields = way | {"X-Forwarded-Uri": f"/list?{query}"}
    path = f"{CHECK}?{query}"
    page = await ask(gate, fields | HTML, path=path)
    assert (page.status, "<title>" in page.text) == (401 if query == "nginx" else 503, True)
    held = cookie(gate, gate.issue_pass())
    for _ in range(2):  # parsed, then cached
        assert (await ask(gate, fields | held, path=path)).status == 200
    plain = await ask(gate, way | held, path=path)
    assert plain.status == (307 if query == "page" else 200)


async def test_query_of_an_original_address_is_its_own(start_gate: GateStarter) -> None:
    gate = await start_gate(TRUSTED, rate="0")
    assert (await ask(gate, path=f"{CHECK}/cart?nginx")).status == 503


async def test_leave_of_the_proxy_ends_the_session(
    start_gate: GateStarter, way: dict[str, str]
) -> None:
    """The request of a proxy after `Gatekeeper-Command: revoke`: the visitor's cookie, and no
    body."""
    gate = await start_gate(TRUSTED)
    held = cookie(gate, gate.issue_pass())
    left = await ask(gate, held, method="POST", path=f"/.gatekeeper/leave?room={gate.room_name}")
    assert left.status == 200
    await gate.room().queue.advance()
    response = await ask(gate, way | held | {"X-Forwarded-Method": "POST"})
    assert "X-Gatekeeper-Visitor" not in response.headers


async def test_gate_without_origin_forwards_nothing(
    start_gate: GateStarter, way: dict[str, str]
) -> None:
    gate = await start_gate(TRUSTED, origin_url="none")
    held = cookie(gate, gate.issue_pass())
    for fields in (held, {}, held | HTML, {"Cookie": "other=1"}):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{gate.url}/cart", headers=way | fields) as response,
        ):
            assert response.status == 421
            assert "Set-Cookie" not in response.headers
            text = await response.text()
            assert ("origin.url" in text) is ("text/html" not in fields.get("Accept", ""))
    assert (await ask(gate, way | held)).status == 200
    assert (await gate.visitor().request("GET", "/.gatekeeper/health")).status == 200
