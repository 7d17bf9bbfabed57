"""Events that operators create and change while a gate serves, as visitors see them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gatekeeper.config.event_schema import EventConfig, spell_time
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.errors import Conflict
from gatekeeper.policy.event_changes import NewStart
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.planned_events import SigningKeys
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.openings import FileEvents
from gatekeeper.room.operator import Operator
from tests.builders import SECRET
from tests.gates import Gate, GateStarter
from tests.patient_store import PatientStore
from tests.servers import StoreServer, eventually


@asynccontextmanager
async def operator_of(room: RoomName, store_url: str) -> AsyncIterator[Operator]:
    store = PatientStore(store_url)
    file_events = FileEvents((), SigningKeys([SECRET]))
    config = RoomConfig(name=room, rate=0.0)
    operator = Operator(store, NoEvents(), config, file_events=file_events)
    try:
        yield operator
    finally:
        await operator.close()
        await store.close()


def sale(room: RoomName, *, start_s: float = 600, **keys: Any) -> EventConfig:
    """An event whose prequeue begins at once."""

    def at(seconds: float) -> str:
        return spell_time(round((time.time() + seconds) * 1_000_000))

    table = {"name": "sale", "room": room, "prequeue": at(-60), "start": at(start_s), **keys}
    return EventConfig.model_validate(table)


def phase(gate: Gate) -> Phase | None:
    state = gate.room().view.state
    return state.phase if state else None


def undrawn(gate: Gate) -> int | None:
    state = gate.room().view.store_state
    return state.undrawn if state else None


def start_us(gate: Gate) -> int | None:
    state = gate.room().view.state
    return state.schedule.events[0].start_us if state else None


async def gather(gate: Gate, count: int) -> list[Any]:
    await eventually(lambda: phase(gate) is Phase.PREQUEUE)
    visitors = [gate.visitor() for _ in range(count)]
    for visitor in visitors:
        status = await visitor.join()
        assert (status["phase"], status["position"]) == ("prequeue", None)
    return visitors


async def test_event_made_live_gathers_draws_and_admits(
    store_url: str, room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0", heartbeat_timeout="4s", claim_timeout="4s")
    async with operator_of(room_name, store_url) as operator:
        state = await operator.add_event(sale(room_name, settings={"rate": "600/min"}))
        [made] = state.schedule.events
        visitors = await gather(gate, 5)
        before = (await visitors[0].status())["starts_at"]
        [delayed] = (await operator.move_event("sale", NewStart(by_us=60_000_000))).schedule.events
        assert delayed.commitment == made.commitment

        await eventually(lambda: start_us(gate) == delayed.start_us)
        assert (await visitors[0].status())["starts_at"] > before
        assert phase(gate) is Phase.PREQUEUE
        await operator.move_event("sale", NewStart())
        for visitor in visitors:
            await visitor.wait_until_admitted()
        state = await operator.status()
        [drawn] = state.schedule.events
        assert drawn.drawn is not None
        assert drawn.commitment == made.commitment
        assert state.current_rate_per_minute == 600
        with pytest.raises(Conflict, match="has started"):
            await operator.move_event("sale", NewStart(by_us=60_000_000))
        state = await operator.cancel_event("sale")
        assert (state.phase, state.current_rate_per_minute) == (Phase.RUNNING, 0)


async def test_cancelled_prequeue_becomes_a_line_by_arrival(
    store_url: str, room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    async with operator_of(room_name, store_url) as operator:
        await operator.add_event(sale(room_name))
        visitors = await gather(gate, 5)
        assert (await operator.status()).undrawn == 5
        await operator.cancel_event("sale")

        await eventually(lambda: undrawn(gate) == 0)
        assert (await operator.status()).undrawn == 0
        await eventually(lambda: phase(gate) is Phase.RUNNING)
        assert [(await each.status())["position"] for each in visitors] == [1, 2, 3, 4, 5]
        late = gate.visitor()
        assert (await late.join())["position"] == 6


async def test_events_survive_concurrent_changes_and_a_store_loss(
    private_store: StoreServer, room_name: RoomName, start_gate: GateStarter
) -> None:
    """Two operators change the schedule at the same time; then the store loses everything."""
    gate = await start_gate(rate="0")
    async with (
        operator_of(room_name, private_store.url) as one,
        operator_of(room_name, private_store.url) as other,
    ):
        plans = [
            EventConfig.model_validate(
                {
                    "name": f"sale-{number}",
                    "room": room_name,
                    "start": f"2090-0{number}-01T10:00:00Z",
                    "end": f"2090-0{number}-01T11:00:00Z",
                }
            )
            for number in (1, 2, 3, 4)
        ]
        operators = (one, other, one, other)
        await asyncio.gather(
            *(operator.add_event(plan) for operator, plan in zip(operators, plans, strict=True))
        )
        await eventually(lambda: gate.room().view.state is not None)

        def names() -> list[str]:
            state = gate.room().view.store_state
            return [event.name for event in state.schedule.events] if state else []

        await eventually(lambda: len(names()) == 4)
        private_store.flush()
        await one.cancel_event("sale-2")
        await eventually(lambda: names() == ["sale-1", "sale-3", "sale-4"])
