"""The endpoints for apps and the waiting page under `/.gatekeeper/`."""

from datetime import UTC, datetime

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.pages.renderer import Pages
from tests.builders import room_toml
from tests.gates import HTML, GateStarter

TOKEN = "X-Queue-Token"
WAITING = {
    "state",
    "room",
    "position",
    "ahead",
    "queue_length",
    "eta_seconds",
    "rate_per_minute",
    "refresh_seconds",
    "arrived_at",
    "reason",
    "message",
}


async def test_status_has_exactly_the_fields_of_its_state(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    answer = await visitor.request("GET", "/.gatekeeper/status")
    assert answer.json == {"state": "none"}
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Server"] == "gatekeeper"
    assert "Set-Cookie" not in answer.headers

    await visitor.get()
    waiting = await visitor.status()
    assert set(waiting) == WAITING
    assert waiting["state"] == "waiting"
    assert waiting["room"] == room_name
    assert (waiting["position"], waiting["ahead"], waiting["queue_length"]) == (1, 0, 1)
    assert waiting["eta_seconds"] is None  # nobody knows when the operator lets people in
    assert waiting["rate_per_minute"] == 0
    assert waiting["refresh_seconds"] >= 1
    arrived_at = datetime.fromisoformat(waiting["arrived_at"])
    assert abs((datetime.now(UTC) - arrived_at).total_seconds()) < 5

    await gate.allow(1)
    answer = await visitor.request("GET", "/.gatekeeper/status")
    assert set(answer.json) == {"state", "expires_at"}
    assert answer.json["state"] == "admitted"
    assert "Set-Cookie" in answer.headers
    left_s = datetime.fromisoformat(answer.json["expires_at"]).timestamp() - gate.now_s()
    assert 1800 <= left_s <= 1862
    assert gate.origin.requests == []


async def test_app_waits_and_is_admitted_by_token_header(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="0")
    app = gate.visitor()
    answer = await app.request("POST", "/.gatekeeper/enqueue")
    assert answer.status == 201
    assert set(answer.json) == WAITING | {"token"}
    ticket = {TOKEN: answer.json["token"]}

    again = await app.request("POST", "/.gatekeeper/enqueue", headers=ticket)
    assert again.status == 200
    assert (again.json["position"], again.json["queue_length"]) == (1, 1)

    waiting = await app.request("GET", "/.gatekeeper/status", headers=ticket)
    assert waiting.json["position"] == 1
    assert TOKEN not in waiting.headers  # nothing was renewed

    early = await app.request("POST", "/api", headers=ticket, data=b"early")
    assert early.status == 503
    assert early.json["position"] == 1

    await gate.allow(1)
    entered = await app.request("POST", "/api", headers=ticket, data=b"payload")
    assert entered.status == 200
    assert entered.json["length"] == 7
    pass_ = {TOKEN: entered.headers[TOKEN]}
    assert pass_ != ticket

    for method, path in (("GET", "/a"), ("DELETE", "/b"), ("POST", "/c")):
        assert (await app.request(method, path, headers=pass_)).status == 200
    answer = await app.request("POST", "/.gatekeeper/enqueue", headers=pass_)
    assert answer.status == 200
    assert answer.json["state"] == "admitted"

    assert app.cookies() == {}
    assert all(TOKEN not in request.headers for request in gate.origin.requests)


async def test_enqueue_into_empty_room_returns_a_pass(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate()
    app = gate.visitor()
    answer = await app.request("POST", "/.gatekeeper/enqueue")
    assert answer.status == 201
    assert set(answer.json) == {"state", "expires_at", "token"}
    entered = await app.request("GET", "/api", headers={TOKEN: answer.json["token"]})
    assert entered.status == 200
    assert (await gate.queue.look()).queue_length == 0


async def test_enqueue_returns_renewed_token_in_header_and_body(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="0")
    app = gate.visitor()
    token = (await app.request("POST", "/.gatekeeper/enqueue")).json["token"]
    await gate.allow(1)
    answer = await app.request("POST", "/.gatekeeper/enqueue", headers={TOKEN: token})
    assert answer.json["state"] == "admitted"
    assert answer.headers[TOKEN] == answer.json["token"] != token


async def test_leave_moves_up_later_visitors(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    first = gate.visitor()
    second = gate.visitor()
    await first.get()
    await second.get()
    answer = await first.leave()
    assert answer.json == {"state": "none"}
    assert first.cookies() == {}
    assert (await second.status())["position"] == 1
    assert (await first.status()) == {"state": "none"}


async def test_returned_ticket_is_void(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    await visitor.get()
    [(name, ticket)] = visitor.cookies().items()
    await visitor.leave()
    await gate.allow(1)
    visitor.set_cookie(name, ticket)
    answer = await visitor.request("GET", "/.gatekeeper/status")
    assert answer.json == {"state": "none"}
    assert visitor.cookies() == {}


async def test_leave_of_admitted_visitor_frees_the_slot(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="60000/min", burst=100, max_active=1)
    inside = gate.visitor()
    outside = gate.visitor()
    assert (await inside.get())[0] == 200
    assert (await outside.get())[0] == 503
    assert (await inside.leave()).status == 200
    await outside.wait_until_admitted(timeout_s=3)
    assert (await outside.get())[0] == 200
    assert (await inside.get())[0] == 503


async def test_leave_by_form_returns_page_with_link_back(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0", path="/shop/")
    visitor = gate.visitor()
    await visitor.get("/shop/")
    answer = await visitor.request(
        "POST", f"/.gatekeeper/leave?room={room_name}", data={}, headers=HTML
    )
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Content-Security-Policy" in answer.headers
    assert 'href="/shop/"' in answer.text
    assert visitor.cookies() == {}


async def test_leave_without_token_sets_no_cookie(
    start_gate: GateStarter,
) -> None:
    """A form on another site sends no cookie along (SameSite=Lax), and must not take it away."""
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    for headers in (HTML, {"Accept": "*/*"}):
        answer = await visitor.request("POST", "/.gatekeeper/leave", data={}, headers=headers)
        assert answer.status == 200
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "path", ["", "nothing", "status/", "static/", "static/none.css", "static/..%2fstatus", "admin"]
)
async def test_unknown_reserved_path_is_404_and_not_forwarded(
    path: str, start_gate: GateStarter
) -> None:
    gate = await start_gate()
    visitor = gate.visitor()
    await visitor.get()  # inside, so that the origin would answer
    del gate.origin.requests[:]
    for method in ("GET", "POST", "DELETE"):
        answer = await visitor.request(
            method, "/.gatekeeper/" + path, headers={"Accept": "application/json"}
        )
        assert answer.status == 404
        assert "error" in answer.json
    assert (await visitor.request("GET", "/.gatekeeper/" + path, headers=HTML)).status == 404
    assert gate.origin.requests == []


@pytest.mark.parametrize(
    ("path", "allowed", "wrong"),
    [
        ("status", "GET, HEAD", "POST"),
        ("health", "GET, HEAD", "POST"),
        ("enqueue", "POST", "GET"),
        ("leave", "POST", "GET"),
        ("leave", "POST", "DELETE"),
    ],
)
async def test_wrong_method_is_405_with_allow(
    path: str, allowed: str, wrong: str, start_gate: GateStarter
) -> None:
    gate = await start_gate()
    visitor = gate.visitor()
    answer = await visitor.request(wrong, f"/.gatekeeper/{path}")
    assert answer.status == 405
    assert answer.headers["Allow"] == allowed
    assert "error" in answer.json
    assert gate.origin.requests == []


async def test_assets_are_cached_as_immutable(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    types = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    pages = Pages()  # whose pages carry these files, and an own template may link to them
    paths = [pages.asset_url(name) for name in ("waiting.css", "waiting.js", "favicon.svg")]
    for path in paths:
        plain = await visitor.request("GET", path, headers={"Accept-Encoding": "identity"})
        packed = await visitor.request("GET", path, headers={"Accept-Encoding": "gzip"})
        head = await visitor.request("HEAD", path)
        for answer in (plain, packed, head):
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Vary"] == "Accept-Encoding"
            kind = answer.headers["Content-Type"].partition(";")[0]
            assert kind == types[path.rpartition(".")[2]]
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.body == plain.body  # read through the client's own gzip
        wrong = await visitor.request("POST", path)
        assert (wrong.status, wrong.headers["Allow"]) == (405, "GET, HEAD")


async def test_health_needs_no_token(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    answer = await visitor.request("GET", "/.gatekeeper/health")
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert (await visitor.request("HEAD", "/.gatekeeper/health")).status == 200
    assert visitor.cookies() == {}


async def test_room_parameter_selects_room_and_unknown_is_404(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    side = f"{room_name}-side"
    gate = await start_gate(room_toml(side, rate="0", path="/side/"))
    visitor = gate.visitor()
    in_main = await visitor.request("POST", "/.gatekeeper/enqueue")
    assert in_main.json["state"] == "admitted"
    in_side = await visitor.request("POST", f"/.gatekeeper/enqueue?room={side}")
    assert in_side.json["room"] == side
    token = {TOKEN: in_side.json["token"]}
    asked = await visitor.request("GET", f"/.gatekeeper/status?room={side}", headers=token)
    assert asked.json["position"] == 1
    elsewhere = await visitor.request("GET", "/.gatekeeper/status", headers=token)
    assert elsewhere.json == {"state": "none"}
    for path in ("status", "enqueue", "leave"):
        method = "GET" if path == "status" else "POST"
        unknown = await visitor.request(method, f"/.gatekeeper/{path}?room=nowhere")
        assert unknown.status == 404
        assert "error" in unknown.json


async def test_status_without_default_room_needs_room_parameter(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0", path="/checkout/")
    visitor = gate.visitor()
    assert (await visitor.request("GET", "/.gatekeeper/status")).status == 404
    assert (await visitor.status(room=room_name)) == {"state": "none"}
