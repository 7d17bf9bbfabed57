"""When a pass is renewed, with which response, and how often.

Rules: a request with a pass in a cookie takes the fast path, with `X-Queue-Token` the other path.
The clients store no renewed token, unless the test states otherwise.
"""

import asyncio

import pytest

from gatekeeper.policy.tokens import Pass
from gatekeeper.room.replica import RoomReplica
from tests.builders import sign_token
from tests.gates import Gate, GateStarter, Response, Visitor
from tests.servers import eventually

PUBLIC = {"Cache-Control": "public, max-age=600", "CDN-Cache-Control": "max-age=600"}
PRIVATE = {"Cache-Control": "private"}
SENT_BY = pytest.mark.parametrize("by_header", [True, False], ids=["header", "cookie"])


class Client:
    """A client that never stores a renewed token."""

    def __init__(self, gate: Gate, pass_: Pass, *, by_header: bool) -> None:
        self.gate = gate
        self.visitor: Visitor = gate.visitor()
        self.pass_ = pass_
        raw = sign_token(pass_)
        self.sent = {"X-Queue-Token": raw} if by_header else {"Cookie": f"{gate.cookie_name}={raw}"}

    async def get(self, path: str = "/", **headers: str) -> Response:
        self.visitor.session.cookie_jar.clear()
        response = await self.visitor.request("GET", path, headers={**self.sent, **headers})
        assert response.status == 200
        return response


def new_token(gate: Gate, response: Response) -> Pass | None:
    """The pass that a response contains."""
    raw = response.headers.get("X-Queue-Token")
    if raw is None:
        name = f"{gate.cookie_name}="
        cookie = response.headers.get("Set-Cookie", "")
        raw = cookie.removeprefix(name).partition(";")[0] if cookie.startswith(name) else None
    if raw is None:
        return None
    token = gate.token(raw)
    assert isinstance(token, Pass)
    return token


@pytest.fixture
def touches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The visitors whose slots were extended, one for each call of the store."""
    touched: list[str] = []
    touch_soon = RoomReplica.touch_soon

    def recorded(room: RoomReplica, pass_: Pass) -> None:
        touched.append(pass_.visitor)
        touch_soon(room, pass_)

    monkeypatch.setattr(RoomReplica, "touch_soon", recorded)
    return touched


@SENT_BY
async def test_renewal_waits_for_a_response_that_is_not_public(
    by_header: bool, start_gate: GateStarter, touches: list[str]
) -> None:
    gate = await start_gate(rate="0")
    client = Client(gate, gate.issue_pass(ago_s=100), by_header=by_header)
    gate.origin.headers = PUBLIC
    for _ in range(3):
        response = await client.get("/logo.png")
        assert new_token(gate, response) is None
        assert {name: response.headers[name] for name in PUBLIC} == PUBLIC
    assert touches == [client.pass_.visitor]  # the store knows its use
    gate.origin.headers = PRIVATE
    renewed = new_token(gate, await client.get("/basket"))
    assert renewed is not None
    assert renewed.visitor == client.pass_.visitor
    assert renewed.expires_at_s > client.pass_.expires_at_s
    assert touches == [client.pass_.visitor]


@SENT_BY
async def test_late_renewal_waits_no_longer(by_header: bool, start_gate: GateStarter) -> None:
    """After half of the idle time: a response that is not cached is better than a lost session."""
    gate = await start_gate(rate="0")
    client = Client(gate, gate.issue_pass(ago_s=1000), by_header=by_header)
    gate.origin.headers = PUBLIC | {"Expires": "Fri, 28 Nov 2036 12:00:00 GMT"}
    response = await client.get("/logo.png")
    assert new_token(gate, response) is not None
    assert response.headers.getall("Cache-Control") == ["private, no-store"]
    assert "CDN-Cache-Control" not in response.headers
    assert "Expires" not in response.headers


@SENT_BY
async def test_unconfirmed_pass_never_waits(by_header: bool, start_gate: GateStarter) -> None:
    """It expires soon, and its visitor may request only public pages."""
    gate = await start_gate(rate="0")
    client = Client(gate, gate.issue_pass(ago_s=5, confirmed=False), by_header=by_header)
    gate.origin.headers = PUBLIC
    response = await client.get("/logo.png")
    renewed = new_token(gate, response)
    assert renewed is not None
    assert renewed.confirmed
    assert response.headers.getall("Cache-Control") == ["private, no-store"]


@SENT_BY
@pytest.mark.parametrize("confirmed", [True, False])
async def test_client_that_keeps_its_first_token_is_renewed_once(
    by_header: bool, confirmed: bool, start_gate: GateStarter, touches: list[str]
) -> None:
    gate = await start_gate(rate="0")
    held = gate.issue_pass(ago_s=10 if not confirmed else 100, confirmed=confirmed)
    client = Client(gate, held, by_header=by_header)
    responses = [await client.get(f"/api/{at}") for at in range(5)]
    assert [new_token(gate, response) is not None for response in responses] == [True, *[False] * 4]
    assert [response.json["visitor"] for response in responses] == [held.visitor] * 5
    assert touches == [held.visitor]


@SENT_BY
async def test_client_with_an_old_token_is_renewed_only_when_due(
    by_header: bool, start_gate: GateStarter, touches: list[str]
) -> None:
    gate = await start_gate(rate="0", session_idle_timeout="40s")  # due after 4 s
    client = Client(gate, gate.issue_pass(ago_s=5, expires_in_s=60), by_header=by_header)
    assert new_token(gate, await client.get()) is not None
    assert new_token(gate, await client.get()) is None
    gate.pass_time(4.1)
    assert new_token(gate, await client.get()) is not None
    assert new_token(gate, await client.get()) is None
    assert touches == [client.pass_.visitor] * 2


async def test_renewal_in_a_header_does_not_stand_for_the_cookie(start_gate: GateStarter) -> None:
    """They are two clients, and each needs the new token."""
    gate = await start_gate(rate="0")
    held = gate.issue_pass(ago_s=100)
    for by_header in (True, False):
        client = Client(gate, held, by_header=by_header)
        assert new_token(gate, await client.get()) is not None


@SENT_BY
async def test_renewed_visitor_who_is_revoked_is_denied(
    by_header: bool, start_gate: GateStarter
) -> None:
    """A cached renewal admits no visitor."""
    gate = await start_gate(rate="0")
    held = gate.issue_pass(ago_s=100)
    client = Client(gate, held, by_header=by_header)
    await client.get()
    await gate.room().leave([held.visitor])
    denied = await client.visitor.request("GET", headers=client.sent)
    assert denied.status == 503
    assert len(gate.origin.requests) == 1


@SENT_BY
async def test_renewed_visitor_at_the_absolute_end_is_denied(
    by_header: bool, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    held = gate.issue_pass(ago_s=100, ends_in_s=4)
    client = Client(gate, held, by_header=by_header)
    assert new_token(gate, await client.get()) is not None
    gate.pass_time(4.1)
    assert (await client.visitor.request("GET", headers=client.sent)).status == 503


async def test_parallel_requests_renew_once(start_gate: GateStarter, touches: list[str]) -> None:
    """A page and its images: one response is private, the others stay cacheable."""
    gate = await start_gate(rate="0")
    held = gate.issue_pass(ago_s=1000)
    clients = [Client(gate, held, by_header=False) for _ in range(5)]
    slow = [asyncio.create_task(client.get("/slow")) for client in clients]
    await eventually(lambda: len(gate.origin.requests) == len(clients))
    gate.origin.headers = PUBLIC
    gate.origin.go.set()
    responses = await asyncio.gather(*slow)
    assert [new_token(gate, response) for response in responses].count(None) == 4
    kept = [response.headers.getall("Cache-Control") for response in responses]
    assert sorted(kept) == [["private, no-store"], *[[PUBLIC["Cache-Control"]]] * 4]
    assert touches == [held.visitor]


async def test_renewal_leaves_the_connection_on_the_fast_path(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    client = Client(gate, gate.issue_pass(ago_s=100), by_header=False)
    assert new_token(gate, await client.get()) is not None
    assert gate.worker._fast_path is not None
    assert len(gate.worker._fast_path.connections) == 1


async def test_error_page_carries_the_renewal_that_waited(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    client = Client(gate, gate.issue_pass(ago_s=100), by_header=False)
    await gate.origin.stop()
    response = await client.visitor.request("GET", headers=client.sent)
    assert response.status == 502
    assert new_token(gate, response) is not None
    assert response.headers["Cache-Control"] == "no-store"


@SENT_BY
async def test_revoking_response_is_private(by_header: bool, start_gate: GateStarter) -> None:
    """It deletes the token of one visitor; from a cache it would delete those of others."""
    gate = await start_gate(rate="0")
    gate.origin.headers = PUBLIC
    client = Client(gate, gate.issue_pass(), by_header=by_header)
    response = await client.get("/done-public")
    assert response.headers.getall("Cache-Control") == [PUBLIC["Cache-Control"]]
    gate.origin.headers = PUBLIC | {"Gatekeeper-Command": "revoke"}
    response = await client.get("/over")
    assert response.headers.getall("Cache-Control") == ["private, no-store"]
    assert "CDN-Cache-Control" not in response.headers
    assert ("Set-Cookie" in response.headers) is not by_header
