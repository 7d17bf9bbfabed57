"""Waiting visitors: first come, first served, and the page at the requested path."""

import asyncio
import json
import re

import pytest

from tests.gates import HTML, Gate, GateStarter, Visitor

CROWD = 9


async def test_replicas_admit_in_order_of_arrival(events_url: str, start_gate: GateStarter) -> None:
    first = await start_gate(rate="0", events_url=events_url)
    second = await start_gate(rate="0", events_url=events_url)
    third = await start_gate(rate="0", events_url=events_url)
    visitors = [Visitor(first, second, third) for _ in range(CROWD)]
    try:
        for number, visitor in enumerate(visitors):
            status, _ = await visitor.get(at=number % 3)
            assert status == 503
        positions = [
            (await visitor.status(at=(number + 1) % 3))["position"]
            for number, visitor in enumerate(visitors)
        ]
        assert positions == list(range(1, CROWD + 1))
        for admitted in range(1, CROWD + 1):
            await first.allow(1)
            states = [
                await visitor.status(at=(number + admitted) % 3)
                for number, visitor in enumerate(visitors)
            ]
            assert [state["state"] for state in states] == ["admitted"] * admitted + ["waiting"] * (
                CROWD - admitted
            )
            assert [state["position"] for state in states[admitted:]] == list(
                range(1, CROWD - admitted + 1)
            )
        for visitor in visitors:
            status, _ = await visitor.get(at=2)
            assert status == 200
    finally:
        for visitor in visitors:
            await visitor.session.close()


async def test_waiting_page_is_served_at_requested_path(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0", title="Nearly there <now>")
    visitor = gate.visitor()
    response = await visitor.request("GET", "/deep/page?and=query", headers=HTML)
    assert response.status == 503
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Nearly there &lt;now&gt;" in response.text
    assert 'data-position="1"' in response.text
    assert int(response.headers["Retry-After"]) >= 1
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Robots-Tag"] == "noindex"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert {name.strip() for name in response.headers["Vary"].split(",")} == {
        "Accept",
        "Accept-Encoding",
        "Accept-Language",
        "Cookie",
    }
    assert list(visitor.cookies()) == [gate.cookie_name]
    assert gate.origin.requests == []


@pytest.mark.parametrize("status", [200, 202, 429, 503])
async def test_waiting_status_is_as_configured(status: int, start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0", status=status)
    visitor = gate.visitor()
    for headers in (HTML, {"Accept": "application/json"}):
        response = await visitor.request("GET", headers=headers)
        assert response.status == status
        assert response.headers["Cache-Control"] == "no-store"
        assert "Retry-After" in response.headers


@pytest.mark.parametrize(
    ("method", "accept"),
    [
        ("GET", "application/json"),
        ("GET", "*/*"),
        ("OPTIONS", "application/json"),
        ("POST", "application/json"),
        ("PUT", "application/json"),
        ("PATCH", "application/json"),
        ("DELETE", "application/json"),
    ],
)
async def test_request_that_is_no_navigation_gets_json(
    method: str, accept: str, closed_gate: Gate
) -> None:
    visitor = closed_gate.visitor()
    await visitor.join()
    response = await visitor.request(method, "/api", headers={"Accept": accept})
    assert response.status == 503
    assert response.json["state"] == "waiting"
    assert response.json["position"] == 1
    assert response.headers["Retry-After"] == str(response.json["refresh_seconds"])
    assert response.headers["Cache-Control"] == "no-store"
    assert closed_gate.origin.requests == []


async def test_head_request_gets_page_headers_only(closed_gate: Gate) -> None:
    visitor = closed_gate.visitor()
    for _ in range(2):  # without a place, and with one
        response = await visitor.request("HEAD", headers=HTML)
        assert response.status == 503
        assert response.headers["Content-Type"].startswith("text/html")
        assert int(response.headers["Content-Length"]) > 1000
        assert response.body == b""
        assert "Set-Cookie" not in response.headers
        await visitor.join()


async def test_body_sent_while_waiting_is_not_forwarded_later(
    closed_gate: Gate,
) -> None:
    visitor = closed_gate.visitor()
    await visitor.join()
    response = await visitor.request("POST", "/order", data=b"x" * 2**20)
    assert response.status == 503
    assert response.json["position"] == 1
    assert closed_gate.origin.requests == []

    await closed_gate.allow(1)
    assert (await visitor.status())["state"] == "admitted"
    assert closed_gate.origin.requests == []

    response = await visitor.request("POST", "/order", data=b"small")
    assert response.status == 200
    assert response.json["length"] == 5
    assert [request.path for request in closed_gate.origin.requests] == ["/order"]


async def test_request_of_released_visitor_claims_and_is_forwarded(
    closed_gate: Gate,
) -> None:
    visitor = closed_gate.visitor()
    await visitor.get("/a")
    await closed_gate.allow(1)
    status, text = await visitor.get("/a")
    assert status == 200
    assert '"/a"' in text
    assert (await visitor.status())["state"] == "admitted"


async def test_waiting_page_is_compressed_when_accepted(closed_gate: Gate) -> None:
    visitor = closed_gate.visitor()
    await visitor.join()
    plain = await visitor.request("GET", headers=HTML | {"Accept-Encoding": "gzip;q=0, br"})
    packed = await visitor.request("GET", headers=HTML | {"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    without_figures = [re.sub(r"\d+", "", response.text) for response in (plain, packed)]
    assert without_figures[0] == without_figures[1]  # decompressed by the client


async def test_eta_follows_from_rate_and_position(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="6/min", burst=1)
    first = gate.visitor()
    second = gate.visitor()
    third = gate.visitor()
    assert (await first.get())[0] == 200
    await second.join()
    arrived = (await third.request("GET", "/api")).json
    assert (arrived["position"], arrived["queue_length"]) == (2, 2)
    response = await third.status()
    assert response["position"] == 2
    assert response["ahead"] == 1
    assert response["queue_length"] == 2
    assert response["rate_per_minute"] == 6
    assert response["eta_seconds"] == 20


async def test_expect_continue_of_waiting_visitor_gets_final_response(
    closed_gate: Gate,
) -> None:
    """RFC 9110 section 10.1.1: a final response may be sent instead of 100."""
    async with asyncio.timeout(40):
        reader, writer = await asyncio.open_connection("127.0.0.1", closed_gate.worker.port)
        writer.write(
            b"POST /upload HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1000000\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"\r\nConnection: close\r\n" in b"\r\n" + head
        writer.close()
        assert closed_gate.origin.requests == []


async def test_tabs_claiming_at_two_replicas_share_one_slot(
    start_gate: GateStarter,
) -> None:
    first = await start_gate(rate="0")
    second = await start_gate(rate="0")
    visitor = first.visitor(second)
    await visitor.get()
    await first.allow(2)
    responses = await asyncio.gather(*(visitor.get(at=turn % 2) for turn in range(6)))
    assert [status for status, _ in responses] == [200] * 6
    assert len({json.loads(text)["visitor"] for _, text in responses}) == 1
    state = await first.queue.read_state()
    assert (state.active, state.admitted_total, state.pending_grants) == (1, 1, 1)
