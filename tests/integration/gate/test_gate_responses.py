"""The gate's own responses for browsers, scripts, htmx and caches."""

import asyncio

import pytest

from tests.builders import sign_token
from tests.gates import HTML, Gate, GateStarter, Origin

HTMX = {"HX-Request": "true"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_page_is_for_every_method_that_accepts_html(
    method: str, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    in_line = gate.visitor()
    await in_line.get()
    for visitor in (gate.visitor(), in_line):
        response = await visitor.request(method, "/buy?a=1", headers=HTML)
        assert response.status == 503
        assert response.headers["Content-Type"].startswith("text/html")
        assert ("Your form was not sent" in response.text) == (method != "GET")
        assert ('href="/buy?a=1"' in response.text) == (method != "GET")
    assert gate.origin.requests == []
    await gate.allow(1)
    assert (await in_line.get())[0] == 200  # the place was kept


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("application/json", False),
        ("application/json, text/plain", True),
        ("*/*", True),
        ("text/html", True),
        ("", True),
    ],
)
async def test_cloudflare_format_is_json_for_exactly_json(
    accept: str, is_page: bool, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0", json_format="cloudflare")
    response = await gate.visitor().request("GET", "/", headers={"Accept": accept})
    assert response.headers["Content-Type"].startswith("text/html") is is_page
    if not is_page:
        assert "cfWaitingRoom" in response.json


async def test_state_is_named_for_scripts(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    path = f"/.gatekeeper/status?room={gate.room_name}"
    states = [(await visitor.request("GET", path)).headers["X-Gatekeeper-State"]]
    for headers in (HTML, {}):
        response = await visitor.request("GET", "/", headers=headers)
        states.append(response.headers["X-Gatekeeper-State"])
    await gate.allow(1)
    states.append((await visitor.request("GET", path)).headers["X-Gatekeeper-State"])
    leave = f"/.gatekeeper/leave?room={gate.room_name}"
    states.append((await visitor.request("POST", leave)).headers["X-Gatekeeper-State"])
    states.append((await visitor.request("GET", "/.gatekeeper/x")).headers["X-Gatekeeper-State"])
    assert states == ["none", "waiting", "waiting", "admitted", "none", "error"]


async def test_htmx_is_made_to_load_the_page_again(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    for visitor in (gate.visitor(), gate.visitor()):
        assert "HX-Refresh" not in (await visitor.request("GET", "/part")).headers
        response = await visitor.request("GET", "/part", headers=HTMX)
        assert response.headers["HX-Refresh"] == "true"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "none", "Origin": "https://evil.example"}, 403),
        ({"Referer": "https://evil.example/"}, 403),
    ],
)
async def test_leave_is_refused_from_another_site(
    headers: dict[str, str], status: int, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    await visitor.request("GET", "/")
    path = f"/.gatekeeper/leave?room={gate.room_name}"
    assert (await visitor.request("POST", path, headers=headers)).status == status
    state = await visitor.status(room=gate.room_name)
    assert state["state"] == ("none" if status == 200 else "waiting")


async def test_leave_with_the_gates_own_origin_is_accepted(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    await visitor.request("GET", "/")
    path = f"/.gatekeeper/leave?room={gate.room_name}"
    assert (await visitor.request("POST", path, headers={"Origin": gate.url})).status == 200


@pytest.mark.parametrize("stale", ["", "x", "a.b.c"])
async def test_stale_header_token_does_not_outrank_the_cookie(
    stale: str, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    await visitor.request("GET", "/")
    before = await visitor.status(room=gate.room_name)
    path = f"/.gatekeeper/status?room={gate.room_name}"
    response = await visitor.request("GET", path, headers={"X-Queue-Token": stale})
    assert response.json["state"] == "waiting"
    assert response.json["arrived_at"] == before["arrived_at"]
    assert "X-Queue-Token" not in response.headers


async def raw_get(gate: Gate, path: str, *fields: str) -> bytes:
    async with asyncio.timeout(40):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.worker.port)
        lines = [f"GET {path} HTTP/1.1", "Host: x", *fields, "Connection: close", "", ""]
        writer.write("\r\n".join(lines).encode())
        response = await reader.read()
        writer.close()
    return response


@pytest.mark.parametrize("name", ["Cookie", "cookie", "COOKIE", "cOOkIE"])
async def test_place_is_kept_in_any_letter_case_of_cookie(
    name: str, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    await visitor.request("GET", "/")
    [(cookie, value)] = visitor.cookies().items()
    for _ in range(3):
        response = await raw_get(gate, "/", f"{name}: {cookie}={value}")
        assert b'"position": 1,' in response
        assert b"Set-Cookie" not in response
    assert (await gate.queue.read_state()).queue_length == 1


async def test_planted_cookies_do_not_hide_the_real_one(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    token = sign_token(gate.issue_pass())
    forged = [sign_token(gate.issue_pass(), secret=b"another secret of 32 bytes or more")] * 12
    cookies = "; ".join(f"{gate.cookie_name}={value}" for value in [*forged, token])
    assert b"200 OK" in (await raw_get(gate, "/", f"Cookie: {cookies}")).split(b"\r\n")[0]


CACHE_FIELDS = {
    "Cache-Control": "public, max-age=600",
    "Expires": "Thu, 01 Jan 2099 00:00:00 GMT",
    "Surrogate-Control": "max-age=600",
    "CDN-Cache-Control": "max-age=600",
    "Cloudflare-CDN-Cache-Control": "max-age=600",
    "Pragma": "public",
}


async def test_response_that_sets_a_token_is_not_cacheable(start_gate: GateStarter) -> None:
    """A response without a token keeps the origin's fields unchanged."""
    async with Origin.running(headers=CACHE_FIELDS) as origin:
        gate = await start_gate(origin_url=origin.url, rate="600/min")
        visitor = gate.visitor()
        first = await visitor.request("GET", "/")
        assert first.status == 200
        assert "Set-Cookie" in first.headers
        assert first.headers.getall("Cache-Control") == ["private, no-store"]
        assert not (CACHE_FIELDS.keys() - {"Cache-Control"}) & first.headers.keys()
        await visitor.request("GET", "/")  # confirms the pass
        third = await visitor.request("GET", "/")
        assert "Set-Cookie" not in third.headers
        assert {name: third.headers[name] for name in CACHE_FIELDS} == CACHE_FIELDS


async def test_request_that_may_not_be_forwarded_ends_here(start_gate: GateStarter) -> None:
    """`Max-Forwards: 0` (RFC 9110 section 7.6.2), for every client. The response to TRACE contains
    nothing that a proxy in front has added."""
    gate = await start_gate(rate="0")
    admitted = gate.visitor()
    await admitted.get()
    await gate.allow(1)
    assert (await admitted.get())[0] == 200
    gate.origin.requests.clear()
    for visitor in (gate.visitor(), admitted):
        for value in ("0", "000"):
            limit = {"Max-Forwards": value, "X-Secret": "of the proxy"}
            options = await visitor.request("OPTIONS", "/a", headers=limit)
            assert (options.status, options.text) == (204, "")
            trace = await visitor.request("TRACE", "/a", headers=limit)
            assert (trace.status, trace.headers["Allow"]) == (405, "OPTIONS")
            assert "of the proxy" not in trace.text
            for response in (options, trace):
                assert "Set-Cookie" not in response.headers
    assert gate.origin.requests == []
    limit = {"Max-Forwards": "1"}
    assert (await admitted.request("OPTIONS", "/a", headers=limit)).status == 200
    assert (await gate.visitor().request("OPTIONS", "/a", headers=limit)).status == 503


async def test_blocked_request_is_blocked_wherever_it_ends(start_gate: GateStarter) -> None:
    rule = '[[rule]]\nname = "no"\naction = "block"\npath = "/no/**"\n'
    gate = await start_gate(rule, rate="0")
    response = await gate.visitor().request("OPTIONS", "/no/a", headers={"Max-Forwards": "0"})
    assert response.status == 403
