"""Sessions of admitted visitors: their duration and their end."""

import asyncio

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import Pass
from gatekeeper.web.admission import Admission
from tests.builders import (
    SESSION_ABSOLUTE_S,
    SESSION_IDLE_S,
    make_pass,
    sign_token,
)
from tests.gates import Gate, GateStarter, Visitor
from tests.integration.replicas.replica_group import room_config, running_operator
from tests.servers import eventually

TIMEOUT_S = 30


def held_pass(visitor: Visitor, gate: Gate, name: RoomName) -> Pass:
    token = gate.token(visitor.cookies()[f"gatekeeper-{name}"])
    assert isinstance(token, Pass)
    return token


async def until_closed(socket: ClientWebSocketResponse) -> None:
    message = await socket.receive(timeout=TIMEOUT_S)
    assert message.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}


# How long.


async def test_pass_is_extended_by_use_up_to_absolute_end(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    old = gate.issue_pass(ago_s=100, expires_in_s=SESSION_IDLE_S - 40)
    visitor.set_cookie(gate.cookie_name, sign_token(old))
    assert (await visitor.get())[0] == 200
    new = held_pass(visitor, gate, room_name)
    assert new.visitor == old.visitor
    assert new.expires_at_s - gate.now_s() >= SESSION_IDLE_S
    assert new.ends_at_s == pytest.approx(old.ends_at_s, abs=0.01)
    assert len(gate.origin.requests) == 1


async def test_recent_pass_is_not_renewed(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    token = {"X-Queue-Token": sign_token(gate.issue_pass(ago_s=5))}
    for path in ("/", "/.gatekeeper/status"):
        response = await visitor.request("GET", path, headers=token)
        assert response.status == 200
        assert "X-Queue-Token" not in response.headers
        assert "Set-Cookie" not in response.headers


async def test_pass_never_extends_beyond_absolute_timeout(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    old = gate.issue_pass(ago_s=100, ends_in_s=300)
    visitor.set_cookie(gate.cookie_name, sign_token(old))
    assert (await visitor.get())[0] == 200
    new = held_pass(visitor, gate, room_name)
    assert new.issued_at_s > old.issued_at_s
    assert new.expires_at_s == new.ends_at_s == pytest.approx(old.ends_at_s, abs=0.01)


@pytest.mark.parametrize(
    ("expires_in_s", "ends_in_s"),
    [(-1, SESSION_ABSOLUTE_S), (SESSION_IDLE_S, -1)],
    ids=["idle too long", "at its limit"],
)
async def test_expired_pass_waits_as_newcomer(
    room_name: RoomName, expires_in_s: float, ends_in_s: float, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    old = make_pass(
        room_name,
        now_s=gate.now_s(),
        ago_s=2000,
        expires_in_s=expires_in_s,
        ends_in_s=ends_in_s,
    )
    visitor.set_cookie(gate.cookie_name, sign_token(old))
    assert (await visitor.get())[0] == 503
    response = await visitor.status()
    assert (response["state"], response["position"]) == ("waiting", 1)
    new = gate.token(visitor.cookies()[gate.cookie_name])
    assert new is not None
    assert new.visitor != old.visitor
    assert gate.origin.requests == []


async def test_ticket_sent_again_gives_the_same_end(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    """By another tab, late, or by a client with a copy: for the status and for any page."""
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    await visitor.join()
    ticket = visitor.cookies()[gate.cookie_name]
    await gate.allow(1)
    await visitor.wait_until_admitted()
    first = held_pass(visitor, gate, room_name)
    for path in ("/.gatekeeper/status", "/", "/other", "/.gatekeeper/status"):
        await asyncio.sleep(0.05)
        another = gate.visitor()
        another.set_cookie(gate.cookie_name, ticket)
        assert (await another.get(path))[0] == 200
        again = held_pass(another, gate, room_name)
        assert again.visitor == first.visitor
        assert again.ends_at_s == first.ends_at_s


# Newcomers admitted at once.


async def test_second_request_confirms_the_visitor(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate()
    visitor = gate.visitor()
    await visitor.get()
    first = held_pass(visitor, gate, room_name)
    await visitor.get()
    second = held_pass(visitor, gate, room_name)
    assert not first.confirmed
    assert second.confirmed
    assert second.visitor == first.visitor


async def test_confirming_page_restores_its_cookie_after_another_tab(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    """Two tabs open at the same time, and only one is admitted. The response of the other one may
    overwrite the cookie. The confirmation is sent with the pass, and its response sets the pass
    again."""
    gate = await start_gate(rate="6/min", burst=1)
    tabs = gate.visitor(), gate.visitor()
    assert [(await tab.get())[0] for tab in tabs] == [200, 503]
    passes, ticket = (tab.cookies()[gate.cookie_name] for tab in tabs)
    confirmation = await tabs[0].request("GET", "/.gatekeeper/status")
    last = confirmation.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    first, kept = gate.token(passes), gate.token(last)
    assert first is not None
    assert kept is not None
    assert kept.visitor == first.visitor
    # So the other page, which sends its ticket and the cookie, is admitted too.
    headers = {"Cookie": f"{gate.cookie_name}={last}", "X-Queue-Ticket": ticket}
    poll = await gate.visitor().request("GET", "/.gatekeeper/status", headers=headers)
    assert poll.json["state"] == "admitted"
    assert "X-Queue-Ticket" not in poll.headers


async def test_late_unconfirmed_pass_has_lost_its_slot(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    late = gate.issue_pass(ago_s=30, expires_in_s=-10, confirmed=False)
    visitor.set_cookie(gate.cookie_name, sign_token(late))
    assert (await visitor.get())[0] == 503
    assert (await visitor.status())["position"] == 1
    assert gate.origin.requests == []


async def test_timely_unconfirmed_pass_is_confirmed(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    early = gate.issue_pass(ago_s=10, confirmed=False)
    visitor.set_cookie(gate.cookie_name, sign_token(early))
    assert (await visitor.get())[0] == 200
    assert held_pass(visitor, gate, room_name).confirmed


# The origin ends it.


@pytest.mark.parametrize("json_format", ["gatekeeper", "cloudflare"])
async def test_cloudflare_command_of_the_origin_ends_the_session(
    json_format: str, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0", json_format=json_format)
    visitor = gate.visitor()
    visitor.set_cookie(gate.cookie_name, sign_token(gate.issue_pass()))
    client_sends = {"Cf-Waiting-Room-Command": "revoke", "Gatekeeper-Command": "revoke"}
    for value in ("revoked", "revoke, x", "no"):
        gate.origin.headers = {"Cf-Waiting-Room-Command": value}
        response = await visitor.request("GET", "/", headers=client_sends)
        assert response.status == 200
        assert "Cf-Waiting-Room-Command" not in response.headers
    gate.origin.headers = {"Cf-Waiting-Room-Command": "Revoke"}
    response = await visitor.request("GET", "/")
    assert response.status == 200
    assert "Cf-Waiting-Room-Command" not in response.headers
    assert visitor.cookies() == {}
    assert (await visitor.get())[0] == 503


async def test_origin_command_ends_the_session(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    raw = sign_token(gate.issue_pass())
    visitor.set_cookie(gate.cookie_name, raw)
    response = await visitor.request("GET", "/done")
    assert (response.status, response.text) == (200, "done")
    assert "Gatekeeper-Command" not in response.headers
    assert visitor.cookies() == {}
    assert (await visitor.get())[0] == 503

    async with Visitor(gate) as replayed:
        replayed.set_cookie(gate.cookie_name, raw)
        assert (await replayed.get())[0] == 503
    assert [request.path for request in gate.origin.requests] == ["/done"]


async def test_origin_command_sends_no_token_to_app(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    token = {"X-Queue-Token": sign_token(gate.issue_pass(ago_s=100))}
    response = await visitor.request("POST", "/done", headers=token)
    assert response.status == 200
    assert "X-Queue-Token" not in response.headers
    assert "Set-Cookie" not in response.headers
    assert (await visitor.request("GET", headers=token)).status == 503


async def test_origin_command_on_first_request_frees_the_slot(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="60000/min", max_active=1)
    visitor = gate.visitor()
    next_one = gate.visitor()
    response = await visitor.request("GET", "/done")
    assert response.status == 200
    assert "Set-Cookie" not in response.headers  # there is no token to delete
    await next_one.get()
    await next_one.wait_until_admitted(timeout_s=TIMEOUT_S)


# The operator ends it.


async def test_revoked_visitor_is_denied_at_every_replica(
    store_url: str, events_url: str, room_name: RoomName, start_gate: GateStarter
) -> None:
    first = await start_gate(rate="0", events_url=events_url)
    second = await start_gate(rate="0", events_url=events_url)
    visitor = first.visitor(second)
    room = room_config(room_name, rate=0)
    async with running_operator(room, store_url=store_url, events_url=events_url) as operator:
        held = first.issue_pass()
        visitor.set_cookie(first.cookie_name, sign_token(held))
        sockets = [
            await asyncio.wait_for(visitor.session.ws_connect(f"{url}/ws"), TIMEOUT_S)
            for url in visitor.urls
        ]
        for socket in sockets:
            await socket.send_str("hello")
            assert (await socket.receive_str(timeout=TIMEOUT_S)) == "echo hello"
        assert await operator.revoke(held.visitor) == "slot"
        for socket in sockets:
            await until_closed(socket)
        for at in (0, 1):
            async with Visitor(*visitor.urls) as replayed:
                replayed.set_cookie(first.cookie_name, sign_token(held))
                assert (await replayed.get(at=at))[0] == 503


# Connections that outlive a request.


async def test_websocket_ends_with_the_session(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    short = gate.issue_pass(ends_in_s=3)
    visitor.set_cookie(gate.cookie_name, sign_token(short))
    async with visitor.session.ws_connect(f"{gate.url}/ws") as socket:
        await socket.send_str("hello")
        assert (await socket.receive_str(timeout=TIMEOUT_S)) == "echo hello"
        await until_closed(socket)
        assert gate.now_s() > short.ends_at_s - 0.1  # the gate's estimate of the time varies


async def test_websocket_ends_when_its_visitor_leaves(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    visitor.set_cookie(gate.cookie_name, sign_token(gate.issue_pass()))
    async with visitor.session.ws_connect(f"{gate.url}/ws") as socket:
        await visitor.leave()
        await until_closed(socket)


async def test_open_websocket_holds_its_slot(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0", max_active=1)
    visitor = gate.visitor()
    held = gate.issue_pass()
    visitor.set_cookie(gate.cookie_name, sign_token(held))
    async with visitor.session.ws_connect(f"{gate.url}/ws"), Visitor(gate) as waiting:
        view = gate.room().view
        await eventually(lambda: view.state is not None and view.state.active == 1)
        await waiting.get()
        await gate.allow(1)
        assert (await waiting.status())["state"] == "waiting"


async def test_websocket_request_of_newcomer_waits(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    response = await visitor.request(
        "GET",
        "/ws",
        headers={
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        },
    )
    assert response.status == 503
    assert response.json["state"] == "waiting"
    assert gate.origin.requests == []


async def test_tunnel_opened_after_session_end_is_closed(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="0")
    held = gate.issue_pass()
    await gate.room().leave([held.visitor])
    [config] = gate.worker._plan.config.rooms
    assert Admission(gate.room(), config).session_end(held).done()
