"""Automatic requests of browsers and machines create no place and overwrite no token."""

from dataclasses import replace
from typing import Any

import pytest

from gatekeeper.policy.phase import Mode
from tests.builders import sign_token
from tests.gates import HTML, Gate, GateStarter
from tests.servers import StoreServer, eventually

# Each of these once caused a place, an admission or an overwritten pass.
WITHOUT_PLACE: dict[str, tuple[str, dict[str, str]]] = {
    "a webhook": ("POST", {"Stripe-Signature": "t=1", "Content-Type": "application/json"}),
    "a bank's POST": ("POST", {**HTML, "Origin": "null", "Sec-Fetch-Site": "cross-site"}),
    "a form": ("POST", {**HTML, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
    "an API call": ("PUT", {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}),
    "a beacon": ("POST", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"}),
    "HEAD": ("HEAD", {}),
    "HEAD of a page": ("HEAD", HTML),
    "a prefetch": ("GET", {**HTML, "Sec-Purpose": "prefetch", "Sec-Fetch-Mode": "navigate"}),
    "a prerender": ("GET", {**HTML, "Sec-Purpose": "prefetch;prerender"}),
    "an old prefetch": ("GET", {**HTML, "Purpose": "prefetch"}),
    "a manifest": ("GET", {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "manifest"}),
    "an icon": ("GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
    "a style sheet": ("GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "style"}),
    "a WebSocket": ("GET", {"Sec-Fetch-Mode": "websocket", "Sec-Fetch-Dest": "empty"}),
    "a WebSocket of Chromium": (
        "GET",
        {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
    ),
    "a preflight": (
        "OPTIONS",
        {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"},
    ),
}
WITH_PLACE: dict[str, dict[str, str]] = {
    "no metadata": {},
    "a page": {**HTML, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    "a frame": {**HTML, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    "a fetch": {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
}
LASTING = {"a WebSocket of Chromium"}
_NO_RULES = "[server]\ndefault_rules = false\n"
cases = pytest.mark.parametrize("kind", WITHOUT_PLACE)


async def send(gate: Gate, kind: str, **options: Any) -> Any:
    method, headers = WITHOUT_PLACE[kind]
    sent = headers | options.pop("headers", {})
    return await gate.visitor().request(method, "/x", headers=sent, **options)


async def set_mode(gate: Gate, mode: Mode) -> None:
    await gate.queue.set_mode(mode)
    view = gate.room().view
    await eventually(lambda: view.state is not None and view.state.mode is mode)


def script_calls(store: StoreServer) -> int:
    return sum(count for name, count in store.commands().items() if "eval" in name)


async def test_waiting_response_without_place_sets_no_token(
    private_store: StoreServer, start_gate: GateStarter
) -> None:
    """No call of the store either: the gate's pacer is stopped, so that any call would count."""
    gate = await start_gate(_NO_RULES, rate="0", status=429)
    await gate.room()._stop_pacing()
    before = script_calls(private_store)
    for kind, (method, headers) in WITHOUT_PLACE.items():
        response = await send(gate, kind)
        assert response.status == 429, kind
        assert response.headers["X-Gatekeeper-State"] == "waiting"
        assert response.headers["Cache-Control"] == "no-store"
        assert int(response.headers["Retry-After"]) >= 1
        assert not {"Set-Cookie", "X-Queue-Token"} & set(response.headers), kind
        is_page = response.headers["Content-Type"].startswith("text/html")
        assert is_page is (headers.get("Accept") == "text/html")
        assert bool(response.body) is (method != "HEAD")
    assert script_calls(private_store) == before
    assert gate.origin.requests == []


async def test_page_says_that_the_form_was_not_sent(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    turned_away = await send(gate, "a form", data={"a": "b"})
    assert "Your form was not sent" in turned_away.text
    assert turned_away.headers["Connection"] == "close"  # the body stays unread
    fetched = await send(gate, "a prefetch")
    assert "not sent" not in fetched.text


@pytest.mark.parametrize("kind", WITH_PLACE)
async def test_request_of_a_person_gets_a_token(kind: str, start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    response = await visitor.request("GET", headers=WITH_PLACE[kind])
    assert response.status == 503
    assert (await visitor.status())["position"] == 1


async def test_requests_without_place_leave_the_queue_alone(start_gate: GateStarter) -> None:
    gate = await start_gate(_NO_RULES, rate="0")
    visitor = gate.visitor()
    await visitor.join()
    for kind in WITHOUT_PLACE:
        await send(gate, kind)
    state = await gate.queue.read_state()
    assert (state.queue_length, state.arrived_total, state.active) == (1, 1, 0)


async def test_request_without_place_passes_while_there_is_room(start_gate: GateStarter) -> None:
    """One admission each, without a token, until the bucket is half empty."""
    gate = await start_gate(rate="1/h", burst=10)
    for _ in range(6):  # from 10 to 5, and what the bucket gained meanwhile
        response = await send(gate, "a bank's POST", data=b"paid" * 1000)
        assert response.status == 200
        assert (response.json["length"], response.json["visitor"]) == (4000, None)
        assert not {"Set-Cookie", "X-Queue-Token"} & set(response.headers)
    assert (await send(gate, "a bank's POST", data=b"paid")).status == 503
    state = await gate.queue.read_state()
    assert (state.active, state.queue_length) == (0, 0)
    assert len(gate.origin.requests) == 6


async def test_get_without_place_passes_while_there_is_room(start_gate: GateStarter) -> None:
    """A plain GET on the fast path first: it is handed over with its admission."""
    gate = await start_gate(rate="1/h", burst=4)
    for kind in LASTING:  # it could last for any time, outside of all limits
        assert (await send(gate, kind)).status == 503
    responses = [await send(gate, "a style sheet") for _ in range(4)]
    assert [response.status for response in responses] == [200, 200, 200, 503]
    assert not any("Set-Cookie" in response.headers for response in responses)
    assert (await gate.queue.read_state()).active == 0


async def test_body_without_place_is_streamed(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="600/min")
    response = await send(gate, "a webhook", data=b"x" * 5_000_000)
    assert response.json["length"] == 5_000_000


async def test_twelve_preflights_cost_no_admission(start_gate: GateStarter) -> None:
    """Once the preflights of one admitted visitor used up the burst."""
    gate = await start_gate(rate="1/h", burst=3)
    for _ in range(12):
        assert (await send(gate, "a preflight")).status == 200  # by the default rule
    visitor = gate.visitor()
    assert (await visitor.get())[0] == 200
    assert (await visitor.status())["state"] == "admitted"


@cases
async def test_request_without_cookies_keeps_the_pass(kind: str, start_gate: GateStarter) -> None:
    """A request from another site does not contain the Lax cookie; the response must not replace
    it."""
    gate = await start_gate(_NO_RULES, rate="600/min")
    for mode in (Mode.AUTO, Mode.HOLD, Mode.OPEN):
        await set_mode(gate, mode)
        response = await send(gate, kind)
        assert (response.status == 503) is (mode is Mode.HOLD or kind in LASTING)
        assert "Set-Cookie" not in response.headers


async def test_ticket_of_a_form_keeps_its_place_and_is_not_renewed(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="0")
    held = replace(gate.issue_ticket(), issued_at_s=gate.now_s() - 1000)
    token = {"Cookie": f"{gate.cookie_name}={sign_token(held)}"}
    form = await send(gate, "a form", headers=token)
    assert form.status == 503
    assert "Set-Cookie" not in form.headers
    assert (await gate.queue.read_state()).queue_length == 1
    page = await gate.visitor().request("GET", headers=HTML | token)
    assert "Set-Cookie" in page.headers


async def test_released_visitor_enters_with_a_form(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    await visitor.join()
    await gate.allow(1)
    response = await visitor.request("POST", "/order", data=b"abc", headers=HTML)
    assert response.json["length"] == 3
    assert "Set-Cookie" in response.headers


async def test_unreachable_store_turns_away_what_creates_no_place(
    private_store: StoreServer, start_gate: GateStarter
) -> None:
    gate = await start_gate('[store]\ntimeout = "300ms"\n', rate="600/min")
    view = gate.room().view
    private_store.pause()
    try:
        await eventually(lambda: not view.store_up)
        response = await send(gate, "a webhook")
        assert response.status == 503
        assert "Set-Cookie" not in response.headers
    finally:
        private_store.resume()
    await eventually(lambda: view.store_up)
    await set_mode(gate, Mode.OPEN)
    private_store.pause()
    try:
        await eventually(lambda: not view.store_up)
        assert (await send(gate, "a webhook")).status == 200
    finally:
        private_store.resume()


async def test_several_tickets_become_the_earliest_place(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    tabs = [gate.visitor() for _ in range(3)]
    for tab in tabs:
        await tab.join()
    first, second, third = (tab.cookies()[gate.cookie_name] for tab in tabs)
    cookie, page = f"{gate.cookie_name}={third}", {"X-Queue-Ticket": first}
    for headers in (
        {"Cookie": f"{cookie}; {gate.cookie_name}={second}", **page},
        {"Cookie": cookie, **page},  # given up before, but still stored by a client
    ):
        response = await gate.visitor().request("GET", "/.gatekeeper/status", headers=headers)
        assert response.json["position"] == 1
        kept = gate.token(response.headers["X-Queue-Ticket"])
        assert kept is not None
        assert kept == gate.token(first)
        assert response.headers["X-Queue-Ticket"] in response.headers["Set-Cookie"]

    view = gate.room().view
    await eventually(lambda: view.state is not None and view.state.queue_length == 1)


async def test_no_request_goes_around_a_challenge(start_gate: GateStarter) -> None:
    """Also while no visitor waits, on both paths: these requests cannot solve a challenge."""
    gate = await start_gate(_NO_RULES, rate="60000/min", challenge="work")
    for kind in WITHOUT_PLACE:
        for _ in range(2):  # the fast path may know the second
            response = await send(gate, kind)
            assert response.status == 503, kind
            assert int(response.headers["Retry-After"]) > 0
            assert "Set-Cookie" not in response.headers
    assert gate.origin.requests == []
    await set_mode(gate, Mode.OPEN)
    for kind in WITHOUT_PLACE.keys() - LASTING:
        assert (await send(gate, kind)).status == 200, kind


async def test_one_address_takes_no_more_admissions_than_places(start_gate: GateStarter) -> None:
    """For every kind of request, on both paths. Another address, or a known office, has its own
    limit."""
    trusted = (
        '[server]\ntrusted_proxies = ["127.0.0.1"]\ndefault_rules = false\n'
        '[[rule]]\nname = "office"\naction = "queue"\nclient = "198.51.100.0/24"\n'
    )
    gate = await start_gate(trusted, rate="60000/min", burst=1000, newcomers_per_address="3/min")
    kinds = [kind for kind in WITHOUT_PLACE if kind not in LASTING]
    for address, most in (("192.0.2.1", 3), ("2001:db8:0:1::9", 3), ("198.51.100.7", len(kinds))):
        seen = len(gate.origin.requests)
        source = {"X-Forwarded-For": address}
        statuses = [(await send(gate, kind, headers=source)).status for kind in kinds]
        assert statuses == [200] * most + [503] * (len(kinds) - most)
        assert len(gate.origin.requests) == seen + most
    for spelling in ("::ffff:192.0.2.1", "2001:db8:0:1:ffff::1"):
        for kind in ("an icon", "a page"):
            method, headers = WITHOUT_PLACE.get(kind, ("GET", WITH_PLACE["a page"]))
            response = await gate.visitor().request(
                method, "/x", headers=headers | {"X-Forwarded-For": spelling}
            )
            assert response.status == 503, spelling
