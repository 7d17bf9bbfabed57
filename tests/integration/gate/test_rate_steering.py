"""The rate follows a real origin: changes by autotune and by an operator.

Rules: the origin is slow while the test delays its responses. A period ends by the store's clock.
No test measures time itself.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from gatekeeper.config.event_schema import EventConfig, spell_time
from gatekeeper.config.settings import parse_changes
from gatekeeper.errors import ConfigError
from gatekeeper.policy.event_changes import NewStart
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.operator import Operator
from tests.gates import HTML, Gate, GateStarter, Visitor, closed_port
from tests.patient_store import PatientStore
from tests.servers import eventually

_MANY = 20  # visitors, nearly certainly of all groups


@pytest.fixture
def short_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter periods, so that a pause of the machine drops only a few."""
    monkeypatch.setattr("gatekeeper.room.queue.PERIOD_S", 1.0)
    monkeypatch.setattr("gatekeeper.room.rate_steering._LATE_S", 60.0)


async def tuned(
    start_gate: GateStarter,
    *,
    rate: str = "6000/min",
    is_on: bool = True,
    latency: str = "800ms",
    origin_url: str | None = None,
) -> Gate:
    return await start_gate(
        rate=rate,
        burst=1000,
        autotune=is_on,
        autotune_max="9000/min",
        autotune_latency=latency,
        origin_url=origin_url,
    )


async def admitted(gate: Gate) -> Visitor:
    visitor = gate.visitor()
    assert (await visitor.get())[0] == 200
    return visitor


@asynccontextmanager
async def operator_of(gate: Gate, store_url: str) -> AsyncIterator[Operator]:
    store = PatientStore(store_url)
    file = gate.worker.room_set.settings[gate.room_name].file
    operator = Operator(store, NoEvents(), file)
    try:
        yield operator
    finally:
        await operator.close()
        await store.close()


def rate_of(gate: Gate) -> float:
    state = gate.room().view.state
    assert state is not None
    return state.current_rate_per_minute


async def respond_slowly(gate: Gate, visitors: Sequence[Visitor]) -> None:
    """Two requests of each visitor, which take longer than the target of the tests below."""
    gate.origin.go.clear()
    before, requests = len(gate.origin.requests), 2 * len(visitors)
    sent = [
        asyncio.create_task(visitor.request("GET", "/slow")) for visitor in visitors for _ in "12"
    ]
    await eventually(lambda: len(gate.origin.requests) >= before + requests)
    await asyncio.sleep(0.02)
    gate.origin.go.set()
    assert {each.status for each in await asyncio.gather(*sent)} == {200}


@pytest.mark.usefixtures("short_periods")
async def test_rate_falls_with_a_slow_origin_and_freezes(
    store_url: str, start_gate: GateStarter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every replica, like a rate set by an operator; `autotune=false` keeps it."""
    gates = [await tuned(start_gate, latency="10ms") for _ in range(2)]
    visitors = [await admitted(gates[0]) for _ in range(_MANY)]

    async def has_fallen() -> bool:  # a pause of several periods drops a burst
        await respond_slowly(gates[0], visitors)
        return all(rate_of(gate) < 6000 for gate in gates)

    await eventually(has_fallen)
    # No other period ends before the rate is frozen: it would rise again.
    monkeypatch.setattr("gatekeeper.room.queue.PERIOD_S", 600.0)
    async with operator_of(gates[0], store_url) as operator:
        record = await operator.steering()
        assert record is not None
        [first, *_] = record.changes
        assert (first.before, first.reason) == (6000, "too_slow")
        assert first.latency_s is not None
        assert first.latency_s > 0.01
        with monkeypatch.context() as patched:
            patched.setattr("gatekeeper.room.steering_record._NEW_US", -60_000_000)
            old = await operator.steering()
            assert old is not None
            assert old.changes
            assert old.last is None
        await operator.change_settings(parse_changes({"autotune": False}))
        await eventually(lambda: all(gate.room().rules.autotune is None for gate in gates))
        frozen = (await operator.status()).rate_per_minute
        assert frozen < 6000
        last = await operator.steering()
        assert last is not None
        assert last.changes[-1].after == frozen
        await respond_slowly(gates[0], visitors)
        await asyncio.gather(*(gate.room().queue.advance() for gate in gates))
        assert (await operator.status()).rate_per_minute == frozen


@pytest.mark.usefixtures("short_periods")
async def test_one_visitor_lowers_no_rate(start_gate: GateStarter, store_url: str) -> None:
    """With any number of slow or failed requests."""
    gate = await tuned(start_gate, origin_url=closed_port())
    visitor = gate.visitor()
    async with operator_of(gate, store_url) as operator:
        seen = 0

        async def has_measured() -> bool:
            nonlocal seen
            for _ in range(30):
                assert (await visitor.request("GET", "/a", headers=HTML)).status == 502
            record = await operator.steering()
            assert record is not None
            assert record.changes == ()
            seen += record.last is not None and record.last.failed > 0
            return seen >= 3

        await eventually(has_measured)
    assert rate_of(gate) == 6000


@pytest.mark.usefixtures("short_periods")
async def test_failing_origin_lowers_the_rate(start_gate: GateStarter) -> None:
    gate = await tuned(start_gate, origin_url=closed_port())
    visitors = [gate.visitor() for _ in range(_MANY)]

    async def has_fallen() -> bool:
        for visitor in visitors:
            assert (await visitor.request("GET", "/a", headers=HTML)).status == 502
        return rate_of(gate) < 6000

    await eventually(has_fallen)


async def test_rate_outside_of_the_bounds_is_refused_live(
    store_url: str, start_gate: GateStarter
) -> None:
    gate = await tuned(start_gate)
    async with operator_of(gate, store_url) as operator:
        with pytest.raises(ConfigError, match="autotune_max"):
            await operator.set_rate(99_999)
        with pytest.raises(ConfigError, match="autotune_max"):
            await operator.change_settings(parse_changes({"rate": "99999/min"}))
        assert (await operator.set_rate(0)).rate_per_minute == 0
        assert (await operator.set_rate(300)).rate_per_minute == 300


async def test_rate_is_within_the_bounds_of_the_event_that_runs(
    store_url: str, start_gate: GateStarter
) -> None:
    """Set alone, or as one of several settings."""
    gate = await tuned(start_gate)
    async with operator_of(gate, store_url) as operator:
        table = {
            "name": "sale",
            "room": gate.room_name,
            "start": spell_time((await operator.status()).now_us + 600_000_000),
            "order": "arrival",
            "settings": {"autotune_max": "20000/min"},
        }
        await operator.add_event(EventConfig.model_validate(table))
        await operator.move_event("sale", NewStart())
        await operator.status()
        assert (await operator.set_rate(15_000)).rate_per_minute == 15_000
        change = parse_changes({"rate": "16000/min"})
        assert (await operator.change_settings(change)).rate_per_minute == 16_000
        with pytest.raises(ConfigError, match="autotune_max"):
            await operator.change_settings(parse_changes({"rate": "20001/min"}))
