"""Those who are inside: how long they may stay, and what ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import Pass
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.events import NatsEvents
from gatekeeper.room.operator import Operator
from gatekeeper.room.store import RedisStore
from gatekeeper.web.admission import Admission
from tests.gates import SECRET, Gate, Origin, Visitor, minted, room, running_gate
from tests.integration.gate.passes import SESSION_LIMIT_S, SESSION_S, pass_issued, token_in
from tests.servers import eventually

TIMEOUT_S = 5


@asynccontextmanager
async def closed_room(
    store_url: str, name: RoomName, **keys: str | int
) -> AsyncIterator[tuple[Gate, Visitor, Origin]]:
    """A gate that lets no newcomer in, and one visitor."""
    async with (
        Origin.running() as origin,
        running_gate(
            room(name, rate="0", **keys), store_url=store_url, origin_url=origin.url
        ) as gate,
        Visitor(gate) as visitor,
    ):
        yield gate, visitor, origin


def held_pass(visitor: Visitor, gate: Gate, name: RoomName) -> Pass:
    token = token_in(visitor.cookies()[f"gatekeeper-{name}"], gate, name)
    assert isinstance(token, Pass)
    return token


async def until_closed(socket: ClientWebSocketResponse) -> None:
    message = await socket.receive(timeout=TIMEOUT_S)
    assert message.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}


# How long.


async def test_a_pass_slides_with_its_use_and_keeps_its_end(
    store_url: str, room_name: RoomName
) -> None:
    async with closed_room(store_url, room_name) as (gate, visitor, origin):
        old = pass_issued(gate, room_name, ago_s=100, expires_in_s=SESSION_S - 40)
        visitor.take_cookie(f"gatekeeper-{room_name}", minted(old))
        assert (await visitor.get())[0] == 200
        new = held_pass(visitor, gate, room_name)
        assert new.visitor == old.visitor
        assert new.expires_at_s - gate.now_s() >= SESSION_S
        assert new.ends_at_s == pytest.approx(old.ends_at_s, abs=0.01)
        assert len(origin.requests) == 1


async def test_a_pass_used_just_now_is_not_renewed_by_every_request(
    store_url: str, room_name: RoomName
) -> None:
    async with closed_room(store_url, room_name) as (gate, visitor, _origin):
        token = {"X-Queue-Token": minted(pass_issued(gate, room_name, ago_s=5))}
        for path in ("/", "/.gatekeeper/status"):
            answer = await visitor.ask("GET", path, headers=token)
            assert answer.status == 200
            assert "X-Queue-Token" not in answer.headers
            assert "Set-Cookie" not in answer.headers


async def test_a_pass_never_slides_beyond_the_sessions_limit(
    store_url: str, room_name: RoomName
) -> None:
    async with closed_room(store_url, room_name) as (gate, visitor, _origin):
        old = pass_issued(gate, room_name, ago_s=100, ends_in_s=300)
        visitor.take_cookie(f"gatekeeper-{room_name}", minted(old))
        assert (await visitor.get())[0] == 200
        new = held_pass(visitor, gate, room_name)
        assert new.issued_at_s > old.issued_at_s
        assert new.expires_at_s == new.ends_at_s == pytest.approx(old.ends_at_s, abs=0.01)


@pytest.mark.parametrize(
    ("expires_in_s", "ends_in_s"),
    [(-1, SESSION_LIMIT_S), (SESSION_S, -1)],
    ids=["idle too long", "at its limit"],
)
async def test_a_pass_that_ended_leads_to_the_end_of_the_line(
    store_url: str, room_name: RoomName, expires_in_s: float, ends_in_s: float
) -> None:
    async with closed_room(store_url, room_name) as (gate, visitor, origin):
        old = pass_issued(
            gate, room_name, ago_s=2000, expires_in_s=expires_in_s, ends_in_s=ends_in_s
        )
        visitor.take_cookie(f"gatekeeper-{room_name}", minted(old))
        assert (await visitor.get())[0] == 503
        answer = await visitor.status()
        assert (answer["state"], answer["position"]) == ("waiting", 1)
        new = token_in(visitor.cookies()[f"gatekeeper-{room_name}"], gate, room_name)
        assert new is not None
        assert new.visitor != old.visitor
        assert origin.requests == []


# Newcomers who were let through at once.


async def test_a_newcomer_proves_with_the_second_request_that_the_cookie_is_kept(
    store_url: str, room_name: RoomName
) -> None:
    async with (
        Origin.running() as origin,
        running_gate(room(room_name), store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        await visitor.get()
        first = held_pass(visitor, gate, room_name)
        await visitor.get()
        second = held_pass(visitor, gate, room_name)
        assert not first.confirmed
        assert second.confirmed
        assert second.visitor == first.visitor


async def test_an_unproven_pass_that_comes_late_has_lost_its_slot(
    store_url: str, room_name: RoomName
) -> None:
    async with closed_room(store_url, room_name) as (gate, visitor, origin):
        late = pass_issued(gate, room_name, ago_s=30, proven=False)
        visitor.take_cookie(f"gatekeeper-{room_name}", minted(late))
        assert (await visitor.get())[0] == 503
        assert (await visitor.status())["position"] == 1
        assert origin.requests == []


async def test_an_unproven_pass_that_comes_in_time_is_as_good_as_any(
    store_url: str, room_name: RoomName
) -> None:
    async with closed_room(store_url, room_name) as (gate, visitor, _origin):
        early = pass_issued(gate, room_name, ago_s=10, proven=False)
        visitor.take_cookie(f"gatekeeper-{room_name}", minted(early))
        assert (await visitor.get())[0] == 200
        assert held_pass(visitor, gate, room_name).confirmed


# The origin ends it.


async def test_the_origin_ends_a_session_after_this_response(
    store_url: str, room_name: RoomName
) -> None:
    async with closed_room(store_url, room_name) as (gate, visitor, origin):
        raw = minted(pass_issued(gate, room_name))
        visitor.take_cookie(f"gatekeeper-{room_name}", raw)
        answer = await visitor.ask("GET", "/done")
        assert (answer.status, answer.text) == (200, "done")
        assert "Gatekeeper-Command" not in answer.headers
        assert visitor.cookies() == {}
        assert (await visitor.get())[0] == 503

        async with Visitor(gate) as replayed:
            replayed.take_cookie(f"gatekeeper-{room_name}", raw)
            assert (await replayed.get())[0] == 503
        assert [request.path for request in origin.requests] == ["/done"]


async def test_an_app_whose_session_the_origin_ends_is_sent_no_token(
    store_url: str, room_name: RoomName
) -> None:
    async with closed_room(store_url, room_name) as (gate, visitor, _origin):
        token = {"X-Queue-Token": minted(pass_issued(gate, room_name, ago_s=100))}
        answer = await visitor.ask("POST", "/done", headers=token)
        assert answer.status == 200
        assert "X-Queue-Token" not in answer.headers
        assert "Set-Cookie" not in answer.headers
        assert (await visitor.ask("GET", headers=token)).status == 503


async def test_a_newcomer_sent_away_at_once_is_handed_no_pass(
    store_url: str, room_name: RoomName
) -> None:
    async with (
        Origin.running() as origin,
        running_gate(
            room(room_name, rate="60000/min", max_active=1),
            store_url=store_url,
            origin_url=origin.url,
        ) as gate,
        Visitor(gate) as visitor,
        Visitor(gate) as next_one,
    ):
        answer = await visitor.ask("GET", "/done")
        assert answer.status == 200
        [cookie] = answer.headers.getall("Set-Cookie")
        assert "Max-Age=0" in cookie
        await next_one.get()
        await next_one.until_admitted(timeout_s=TIMEOUT_S)


# The operator ends it.


async def test_a_revoked_visitor_is_out_on_every_replica(
    store_url: str, events_url: str, room_name: RoomName
) -> None:
    toml = room(room_name, rate="0")
    async with (
        Origin.running() as origin,
        running_gate(
            toml, store_url=store_url, events_url=events_url, origin_url=origin.url
        ) as first,
        running_gate(
            toml, store_url=store_url, events_url=events_url, origin_url=origin.url
        ) as second,
        Visitor(first, second) as visitor,
        operator_of(first, room_name, store_url=store_url, events_url=events_url) as operator,
    ):
        held = pass_issued(first, room_name)
        visitor.take_cookie(f"gatekeeper-{room_name}", minted(held))
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
                replayed.take_cookie(f"gatekeeper-{room_name}", minted(held))
                assert (await replayed.get(at=at))[0] == 503


@asynccontextmanager
async def operator_of(
    gate: Gate, name: RoomName, *, store_url: str, events_url: str
) -> AsyncIterator[Operator]:
    store = RedisStore(store_url, timeout_s=1)
    events = NatsEvents(events_url, replica="operator", seal=EventSigner([SECRET]))
    events.connect()
    await eventually(events.connected)
    operator = Operator(store, events, gate.room(name).rules)
    try:
        yield operator
    finally:
        await operator.close()
        await events.close()
        await store.close()


# What outlives a request.


async def test_a_websocket_ends_with_the_session(store_url: str, room_name: RoomName) -> None:
    async with closed_room(store_url, room_name) as (gate, visitor, _origin):
        short = pass_issued(gate, room_name, ends_in_s=0.5)
        visitor.take_cookie(f"gatekeeper-{room_name}", minted(short))
        async with visitor.session.ws_connect(f"{gate.url}/ws") as socket:
            await socket.send_str("hello")
            assert (await socket.receive_str(timeout=TIMEOUT_S)) == "echo hello"
            await until_closed(socket)
            assert gate.now_s() >= short.ends_at_s


async def test_a_websocket_ends_when_its_visitor_leaves(
    store_url: str, room_name: RoomName
) -> None:
    async with closed_room(store_url, room_name) as (gate, visitor, _origin):
        visitor.take_cookie(f"gatekeeper-{room_name}", minted(pass_issued(gate, room_name)))
        async with visitor.session.ws_connect(f"{gate.url}/ws") as socket:
            await visitor.ask("POST", "/.gatekeeper/leave")
            await until_closed(socket)


async def test_an_open_websocket_holds_its_slot(store_url: str, room_name: RoomName) -> None:
    async with closed_room(store_url, room_name, max_active=1) as (gate, visitor, _origin):
        held = pass_issued(gate, room_name)
        visitor.take_cookie(f"gatekeeper-{room_name}", minted(held))
        async with visitor.session.ws_connect(f"{gate.url}/ws"), Visitor(gate) as waiting:
            view = gate.room(room_name).view
            await eventually(lambda: view.state is not None and view.state.active == 1)
            await waiting.get()
            await gate.allow(room_name, 1)
            assert (await waiting.status())["state"] == "waiting"


async def test_a_newcomer_finds_no_websocket_but_the_line(
    store_url: str, room_name: RoomName
) -> None:
    async with closed_room(store_url, room_name) as (_gate, visitor, origin):
        answer = await visitor.ask(
            "GET",
            "/ws",
            headers={
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            },
        )
        assert answer.status == 503
        assert answer.json["state"] == "waiting"
        assert origin.requests == []


async def test_a_session_that_ended_while_its_tunnel_was_made_ends_the_tunnel(
    store_url: str, room_name: RoomName
) -> None:
    async with closed_room(store_url, room_name) as (gate, _visitor, _origin):
        held = pass_issued(gate, room_name)
        await gate.room(room_name).leave([held.visitor])
        [config] = gate.worker._plan.config.rooms
        assert Admission(gate.room(room_name), config).session_end(held).done()
