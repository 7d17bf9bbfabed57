"""The endpoints for apps and the waiting page under `/.gatekeeper/`."""

from datetime import UTC, datetime, timedelta

import pytest
from multidict import CIMultiDict
from yarl import URL

from gatekeeper.config.types import RoomName
from gatekeeper.pages.renderer import Pages
from gatekeeper.policy.reference import reference_of
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.simulate.token_claims import claims_of
from tests.builders import room_toml
from tests.gates import HTML, GateStarter

TOKEN = "X-Queue-Token"
WAITING = {
    "state",
    "room",
    "phase",
    "position",
    "ahead",
    "queue_length",
    "eta_seconds",
    "rate_per_minute",
    "refresh_seconds",
    "arrived_at",
    "reason",
    "message",
    "starts_at",
    "reference",
}


async def test_status_has_exactly_the_fields_of_its_state(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    response = await visitor.request("GET", "/.gatekeeper/status")
    assert response.json == {"state": "none"}
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Server"] == "gatekeeper"
    assert "Set-Cookie" not in response.headers

    before = datetime.now(UTC)
    await visitor.get()
    waiting = await visitor.status()
    assert set(waiting) == WAITING
    assert waiting["state"] == "waiting"
    assert (waiting["room"], waiting["phase"]) == (room_name, "running")
    assert waiting["starts_at"] is None  # no event is planned
    [token] = visitor.cookies().values()
    claims = claims_of(token)
    assert claims is not None
    assert waiting["reference"] == reference_of(VisitorId(claims.visitor))
    assert set((await visitor.request("GET", "/any/path")).json) == WAITING
    assert (waiting["position"], waiting["ahead"], waiting["queue_length"]) == (1, 0, 1)
    assert waiting["eta_seconds"] is None  # unknown, since only the operator admits
    assert waiting["rate_per_minute"] == 0
    assert waiting["refresh_seconds"] >= 1
    arrived_at = datetime.fromisoformat(waiting["arrived_at"])
    clock_error = timedelta(seconds=5)  # of the estimate of the store's clock
    assert before - clock_error < arrived_at < datetime.now(UTC) + clock_error

    await gate.allow(1)
    response = await visitor.request("GET", "/.gatekeeper/status")
    assert set(response.json) == {"state", "expires_at", "ends_at"}
    assert response.json["state"] == "admitted"
    assert "Set-Cookie" in response.headers
    left_s = datetime.fromisoformat(response.json["expires_at"]).timestamp() - gate.now_s()
    assert 1800 <= left_s <= 1862
    assert gate.origin.requests == []


@pytest.mark.parametrize(
    ("destination", "media_type"),
    [
        ("speculationrules", "application/speculationrules+json"),
        ("style", "text/css"),
        ("", "application/speculationrules+json"),
    ],
)
async def test_confirm_is_the_status_in_a_type_that_pages_load(
    destination: str, media_type: str, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    headers = {"Sec-Fetch-Dest": destination} if destination else {}

    async def confirm(state: str) -> CIMultiDict[str]:
        response = await visitor.request("GET", "/.gatekeeper/confirm", headers=headers)
        assert (response.status, response.text) == (200, "{}")
        assert response.headers.getall("Content-Type") == [media_type]
        assert response.headers["X-Gatekeeper-State"] == state
        assert response.headers["Cache-Control"] == "no-store"
        return CIMultiDict(response.headers)

    assert "Set-Cookie" not in await confirm("none"), "it gives no place"
    await visitor.get()
    await confirm("waiting")
    assert (await visitor.status())["position"] == 1
    await gate.allow(1)
    assert "Set-Cookie" in await confirm("admitted")
    assert (await visitor.request("POST", "/.gatekeeper/confirm")).status == 405
    assert gate.origin.requests == []


async def test_app_waits_and_is_admitted_by_token_header(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="0")
    app = gate.visitor()
    response = await app.request("POST", "/.gatekeeper/enqueue")
    assert response.status == 201
    assert set(response.json) == WAITING | {"token"}
    ticket = {TOKEN: response.json["token"]}

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
    admitted = await app.request("POST", "/api", headers=ticket, data=b"payload")
    assert admitted.status == 200
    assert admitted.json["length"] == 7
    pass_ = {TOKEN: admitted.headers[TOKEN]}
    assert pass_ != ticket

    for method, path in (("GET", "/a"), ("DELETE", "/b"), ("POST", "/c")):
        assert (await app.request(method, path, headers=pass_)).status == 200
    response = await app.request("POST", "/.gatekeeper/enqueue", headers=pass_)
    assert response.status == 200
    assert response.json["state"] == "admitted"

    assert app.cookies() == {}
    assert all(TOKEN not in request.headers for request in gate.origin.requests)


async def test_valid_token_counts_wherever_it_stands_in_its_field(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="0")
    app = gate.visitor()
    token = (await app.request("POST", "/.gatekeeper/enqueue")).json["token"]
    for values in (["junk", token], [token, "junk"], ["", token], [f"junk, {token}"]):
        fields = CIMultiDict((TOKEN, value) for value in values)
        for path in ("/.gatekeeper/status", "/any"):
            response = await app.request("GET", path, headers=fields)
            assert response.json["state"] == "waiting"
            assert response.json["position"] == 1
            assert "Set-Cookie" not in response.headers
    for values in (["junk", "junk"], [token[:-1], token + "x"], [f"{token} {token}"]):
        fields = CIMultiDict((TOKEN, value) for value in values)
        response = await app.request("GET", "/.gatekeeper/status", headers=fields)
        assert response.json == {"state": "none"}


async def test_enqueue_into_empty_room_returns_a_pass(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate()
    app = gate.visitor()
    response = await app.request("POST", "/.gatekeeper/enqueue")
    assert response.status == 201
    assert set(response.json) == {"state", "expires_at", "ends_at", "token"}
    admitted = await app.request("GET", "/api", headers={TOKEN: response.json["token"]})
    assert admitted.status == 200
    assert (await gate.queue.read_state()).queue_length == 0


async def test_enqueue_returns_renewed_token_in_header_and_body(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="0")
    app = gate.visitor()
    token = (await app.request("POST", "/.gatekeeper/enqueue")).json["token"]
    await gate.allow(1)
    response = await app.request("POST", "/.gatekeeper/enqueue", headers={TOKEN: token})
    assert response.json["state"] == "admitted"
    assert response.headers[TOKEN] == response.json["token"] != token


@pytest.mark.parametrize(
    "path", ["", "nothing", "status/", "static/", "static/none.css", "static/..%2fstatus", "admin"]
)
async def test_unknown_reserved_path_is_404_and_not_forwarded(
    path: str, start_gate: GateStarter
) -> None:
    gate = await start_gate()
    visitor = gate.visitor()
    await visitor.get()  # admitted, so that the origin would respond
    del gate.origin.requests[:]
    for method in ("GET", "POST", "DELETE"):
        response = await visitor.request(
            method, "/.gatekeeper/" + path, headers={"Accept": "application/json"}
        )
        assert response.status == 404
        assert "error" in response.json
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
    response = await visitor.request(wrong, f"/.gatekeeper/{path}")
    assert response.status == 405
    assert response.headers["Allow"] == allowed
    assert "error" in response.json
    assert gate.origin.requests == []


OWN_RESPONSES = [
    ("GET", "client.js", 200),
    ("HEAD", "client.js", 200),
    ("GET", "client.js?v=1", 200),
    ("GET", "health", 200),
    ("HEAD", "health", 200),
    ("POST", "health", 405),
    ("GET", "status", 200),
    ("HEAD", "status", 200),
    ("POST", "status", 405),
    ("GET", "status?room=nowhere", 404),
    ("POST", "enqueue", 201),
    ("GET", "enqueue", 405),
    ("POST", "leave", 200),
    ("GET", "wait", 503),
    ("GET", "", 404),
    ("GET", "nothing", 404),
    ("GET", "static/", 404),
    ("GET", "static/waiting.000000000000.js", 404),
    ("GET", "static/waiting.js", 404),
    ("POST", "static/waiting.js", 404),
    ("GET", "../.gatekeeper/health", 404),
]


async def test_no_response_of_the_gate_may_be_stored(start_gate: GateStarter) -> None:
    """Except for the files of the pages, whose names contain a hash."""
    gate = await start_gate(rate="0", cors_origins=["https://app.example"])
    for headers in ({}, HTML, {"Origin": "https://app.example", "If-None-Match": "*"}):
        visitor = gate.visitor()
        for method, name, status in OWN_RESPONSES:
            url = URL(f"{gate.url}/.gatekeeper/{name}", encoded=True)
            async with visitor.session.request(method, url, headers=headers) as response:
                assert (response.status, name) == (status, name)
                assert response.headers.getall("Cache-Control") == ["no-store"]
                assert "ETag" not in response.headers
                assert "X-Gatekeeper-State" in response.headers


async def test_assets_are_cached_as_immutable(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    types = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    pages = Pages()  # its pages contain these files; an operator's template may link to them
    paths = [pages.asset_url(name) for name in ("waiting.css", "waiting.js", "favicon.svg")]
    for path in paths:
        plain = await visitor.request("GET", path, headers={"Accept-Encoding": "identity"})
        packed = await visitor.request("GET", path, headers={"Accept-Encoding": "gzip"})
        head = await visitor.request("HEAD", path)
        for response in (plain, packed, head):
            assert response.status == 200
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Vary"] == "Accept-Encoding"
            kind = response.headers["Content-Type"].partition(";")[0]
            assert kind == types[path.rpartition(".")[2]]
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.body == plain.body  # decompressed by the client
        wrong = await visitor.request("POST", path)
        assert (wrong.status, wrong.headers["Allow"]) == (405, "GET, HEAD")


async def test_health_needs_no_token(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    response = await visitor.request("GET", "/.gatekeeper/health")
    assert (response.status, response.json) == (200, {"status": "ok"})
    assert (await visitor.request("HEAD", "/.gatekeeper/health")).status == 200
    assert visitor.cookies() == {}


async def test_room_parameter_selects_room_and_unknown_is_404(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    side = f"{room_name}-side"
    gate = await start_gate(room_toml(side, rate="0", path="/side/"))
    visitor = gate.visitor()
    main = await visitor.request("POST", "/.gatekeeper/enqueue")
    assert main.json["state"] == "admitted"
    side_room = await visitor.request("POST", f"/.gatekeeper/enqueue?room={side}")
    assert side_room.json["room"] == side
    token = {TOKEN: side_room.json["token"]}
    status = await visitor.request("GET", f"/.gatekeeper/status?room={side}", headers=token)
    assert status.json["position"] == 1
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
