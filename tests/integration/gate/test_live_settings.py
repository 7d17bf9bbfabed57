"""Settings that operators change while replicas serve: in force on all replicas, and never in
part."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.settings import parse_changes
from gatekeeper.config.types import RoomName
from gatekeeper.errors import ConfigError
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.operator import Operator
from gatekeeper.web.stream import EVENT_STREAM
from tests.gates import Gate, GateStarter
from tests.patient_store import PatientStore
from tests.servers import StoreServer, eventually

HTML = {"Accept": "text/html"}


@asynccontextmanager
async def operator_of(room: RoomName, *, store_url: str) -> AsyncIterator[Operator]:
    """An operator of the gate below; its replicas receive no events, only the store's replies."""
    store = PatientStore(store_url)
    operator = Operator(store, NoEvents(), RoomConfig(name=room, rate=0.0))
    try:
        yield operator
    finally:
        await operator.close()
        await store.close()


def title_of(gate: Gate) -> str:
    return gate.worker.site.gates[gate.room_name].admission.config.title


async def title_is(gate: Gate, title: str) -> bool:
    response = await gate.visitor().request("GET", "/", headers=HTML)
    return title in response.text


async def test_settings_reach_every_replica_without_events(
    store_url: str, room_name: RoomName, start_gate: GateStarter
) -> None:
    gates = [await start_gate(rate="0"), await start_gate(rate="0")]
    async with operator_of(room_name, store_url=store_url) as operator:
        changes = {"title": "Autumn sale", "max_active": 300, "claim_timeout": "90s"}
        await operator.change_settings(parse_changes(changes))
        await eventually(lambda: all(gate.room().rules.max_active == 300 for gate in gates))
        for gate in gates:
            assert gate.room().queue.rules.claim_timeout_s == 90
            assert await title_is(gate, "Autumn sale")
        await operator.change_settings(parse_changes({"title": None}))
        await eventually(lambda: all(title_of(gate) == "You are in line" for gate in gates))
        for gate in gates:
            assert await title_is(gate, "You are in line")
            assert gate.room().rules.max_active == 300
    third = await start_gate(rate="0")
    assert third.room().rules.max_active == 300, "a replica starts with the settings in force"


async def test_address_limit_is_changed_while_the_gate_runs(
    store_url: str, room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")

    async def is_limited() -> bool:
        response = await gate.visitor().request("GET", "/", headers=HTML)
        return 'data-state="address_limit"' in response.text

    async def set_limit(operator: Operator, limit: str) -> None:
        await operator.change_settings(parse_changes({"newcomers_per_address": limit}))
        per_minute = float(limit.partition("/")[0])
        await eventually(
            lambda: (
                gate.worker.site.gates[room_name].admission.config.newcomers_per_address
                == per_minute
            )
        )

    async with operator_of(room_name, store_url=store_url) as operator:
        assert [await is_limited() for _ in range(4)] == [False] * 4
        await set_limit(operator, "2/min")
        assert [await is_limited() for _ in range(4)] == [False, False, True, True]
        await set_limit(operator, "0")
        assert [await is_limited() for _ in range(4)] == [False] * 4


async def test_two_operators_lose_none_of_their_settings(
    store_url: str, room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    async with (
        operator_of(room_name, store_url=store_url) as one,
        operator_of(room_name, store_url=store_url) as other,
    ):
        await asyncio.gather(
            *(
                each.change_settings(parse_changes({key: value}))
                for each, key, value in (
                    (one, "burst", 3),
                    (other, "max_active", 7),
                    (one, "title", "Both"),
                    (other, "place_ttl", "1h"),
                )
            )
        )
    await eventually(lambda: gate.room().rules.place_ttl_s == 3600)
    assert (gate.room().rules.burst, gate.room().rules.max_active) == (3, 7)


async def test_conflict_changes_nothing(
    store_url: str, room_name: RoomName, start_gate: GateStarter
) -> None:
    await start_gate(rate="0")
    async with operator_of(room_name, store_url=store_url) as operator:
        before = await operator.status()
        changes = parse_changes({"session_idle_timeout": "5h", "rate": "9/min", "burst": 3})
        with pytest.raises(ConfigError, match="session_absolute_timeout"):
            await operator.change_settings(changes)
        after = await operator.status()
        assert replace(after, now_us=0) == replace(before, now_us=0)


async def test_settings_return_after_a_loss_of_the_store(
    private_store: StoreServer, room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    async with operator_of(room_name, store_url=private_store.url) as operator:
        changes = {"max_active": 300, "rate": "9/min", "message": "Soon"}
        await operator.change_settings(parse_changes(changes))
        await eventually(lambda: gate.room().rules.max_active == 300)
        private_store.flush()
        await eventually(lambda: gate.room().view.state is not None)
        state = await operator.status()
        shown = {each.key: each.value for each in operator.shown_settings(state)}
        assert (shown["max_active"], shown["rate"], shown["message"]) == (300, "9/min", "Soon")
    assert gate.room().rules.max_active == 300


async def test_request_keeps_its_settings_during_a_store_call(
    private_store: StoreServer, room_name: RoomName, start_gate: GateStarter
) -> None:
    """The poll waits for the store while the room's rules change: its ticket has the old rules."""
    gate = await start_gate(rate="0", place_ttl="2h", toml='[store]\ntimeout = "5s"\n')
    visitor = gate.visitor()
    await visitor.get()
    admission = gate.worker.site.gates[room_name].admission
    rules = gate.room().rules
    private_store.pause()
    try:
        poll = asyncio.create_task(visitor.request("GET", "/", headers=HTML))
        await asyncio.sleep(0.2)
        gate.worker.room_set.settings[room_name].receive('{"title":["New","You are in line"]}')
        assert gate.worker.site.gates[room_name].admission is not admission
        assert admission.rules is rules
    finally:
        private_store.resume()
    response = await poll
    assert "You are in line" in response.text
    assert await title_is(gate, "New")


async def test_streams_go_on_under_other_settings(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0", updates="stream")
    visitor = gate.visitor()
    await visitor.get()
    url = f"{gate.url}/.gatekeeper/status?room={gate.room_name}"
    async with visitor.session.get(url, headers={"Accept": EVENT_STREAM}) as stream:
        assert stream.status == 200
        await stream.content.readuntil(b"\n\n")
        gate.worker.room_set.settings[gate.room_name].receive('{"max_active":[9,0]}')
        assert len(gate.worker.streams) == 1
        await gate.room().queue.set_message("Still here")
        seen = b""
        while b"Still here" not in seen:
            seen += await asyncio.wait_for(stream.content.readany(), 30)


async def test_file_changed_in_an_outage_joins_as_a_late_replica(
    private_store: StoreServer, room_name: RoomName, start_gate: GateStarter
) -> None:
    """A replica that stamped visitors admits no newcomers until those visitors had time to
    return."""
    gate = await start_gate(rate="0")
    private_store.kill()
    await eventually(lambda: not gate.room().view.store_up)
    gate.room().configure(replace(gate.room().rules, rate_per_minute=60.0), rejoin=True)
    await asyncio.sleep(3.2)  # longer than the longest pause of a pacer
    private_store.restart()
    await eventually(lambda: gate.room().view.store_up)
    state = gate.room().view.store_state
    assert state is not None
    assert state.rate_per_minute == 60
    assert state.recovering_until_us > state.now_us - 5_000_000


async def test_session_of_earlier_settings_ends_when_it_is_revoked(start_gate: GateStarter) -> None:
    """A WebSocket that was opened before a change is known to the admission after it."""
    gate = await start_gate(rate="0")
    admission = gate.worker.site.gates[gate.room_name].admission
    held = gate.issue_pass()
    end = admission.session_end(held)
    gate.worker.room_set.settings[gate.room_name].receive('{"max_active":[9,0]}')
    assert gate.worker.site.gates[gate.room_name].admission is not admission
    assert not end.done()
    await gate.room().leave([held.visitor])
    assert end.done()
