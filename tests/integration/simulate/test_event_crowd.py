"""A crowd at the opening of an event: a correct fake gate passes, each defect is found."""

import pytest

from gatekeeper.errors import GatekeeperError
from gatekeeper.simulate import crowd, opening, opening_promises
from gatekeeper.simulate.crowd import run_crowd
from gatekeeper.simulate.event_watch import EventWatch
from gatekeeper.simulate.opening import OpeningRecord
from gatekeeper.simulate.opening_promises import DRAW, EARLY, FIRST_MINUTE, PROMPT, QUIET
from gatekeeper.simulate.plan import CrowdPlan, Shares
from gatekeeper.simulate.verdict import ORDER, RATE, Verdict
from tests.integration.simulate.fake_event_gate import EVENT, EventDefects, FakeEventGate
from tests.integration.simulate.fake_gate import Defects, FakeGate
from tests.simulated_time import TimeOfDay

pytestmark = pytest.mark.simulated_time


def plan_for(gate: FakeGate) -> CrowdPlan:
    return CrowdPlan(
        (gate.url,),
        visitors=80,
        event=EVENT,
        late=0.1,
        late_s=1,
        at_once=20,
        burst=gate.burst,
        shares=Shares(ghosts=0.05, refreshers=0.05, jumpers=0.05),
        visit_requests=0,
        duration_s=8,
        connections=8,
    )


@pytest.fixture(autouse=True)
def simulated_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "time", TimeOfDay)


async def verdict_on(gate: FakeGate) -> Verdict:
    return await run_crowd(plan_for(gate), on_progress=lambda _: None)


def held(verdict: Verdict) -> dict[str, bool | None]:
    return {each.name: each.held for each in verdict.promises}


async def test_correct_opening_keeps_every_promise() -> None:
    async with FakeEventGate(rate_per_minute=1200).running() as gate:
        verdict = await verdict_on(gate)

    assert verdict.ok, verdict
    judged = held(verdict)
    assert all(judged[name] for name in (ORDER, EARLY, PROMPT, DRAW, FIRST_MINUTE)), judged
    assert judged[QUIET] is None  # a minute later no visitor waits
    figures = verdict.figures["opening"]
    assert figures["participants"] + figures["arrived_after_start"] == 80
    assert figures["arrived_after_start"] >= 8
    assert 0 <= figures["first_admission_s"] < 2


@pytest.mark.parametrize(
    ("defects", "name"),
    [
        (EventDefects(opens_early_s=0.7), EARLY),
        (EventDefects(admits_on_arrival=True), EARLY),
        (EventDefects(orders_by_arrival=True), ORDER),
        (EventDefects(opens_late_s=2), PROMPT),
        (EventDefects(lists_nobody=True), DRAW),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_defect_of_opening_breaks_its_promise(
    defects: EventDefects, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (opening, opening_promises):
        monkeypatch.setattr(module, "MAX_FIRST_ADMISSION_S", 1.0)
    gate = FakeEventGate(rate_per_minute=3600, prequeue_s=1.203, opening=defects)
    async with gate.running():
        verdict = await verdict_on(gate)

    assert held(verdict)[name] is False, verdict.promises


@pytest.mark.parametrize(("factor", "name"), [(0.4, FIRST_MINUTE), (8.0, RATE)])
async def test_another_rate_in_first_minute_is_found(factor: float, name: str) -> None:
    gate = FakeEventGate(rate_per_minute=1200, burst=5, defects=Defects(rate_factor=factor))
    async with gate.running():
        verdict = await verdict_on(gate)

    assert held(verdict)[name] is False, verdict.promises


@pytest.mark.parametrize(
    ("defects", "problem"),
    [
        (EventDefects(), ""),
        (EventDefects(reveals_another_secret=True), "secret: its SHA-256"),
        (EventDefects(changes_commitment=True), "as noted before the start"),
    ],
    ids=["correct", "secret", "commitment"],
)
async def test_record_is_verified_against_commitment(defects: EventDefects, problem: str) -> None:
    async with FakeEventGate(prequeue_s=0.303, opening=defects).running() as gate:
        watch = EventWatch(plan_for(gate))
        record = OpeningRecord(await watch.announced())
        await watch.until_drawn(lambda each: ignore(record.learn(each, now_s=0)), starts_in_s=zero)
        impossible = await watch.verify(record)

    assert impossible == []
    assert record.draw_problems is not None
    assert [problem in each for each in record.draw_problems] == ([True] if problem else [])


def ignore(_value: object) -> None:
    pass


def zero() -> float:
    return 0.0


async def test_event_that_has_started_is_refused() -> None:
    async with FakeEventGate(prequeue_s=1, began_s=TimeOfDay.time() - 2).running() as gate:
        with pytest.raises(GatekeeperError, match="'sale' has started"):
            await verdict_on(gate)


async def test_unknown_event_is_refused() -> None:
    async with FakeGate().running() as gate:
        with pytest.raises(GatekeeperError, match="no draw of event 'sale'"):
            await verdict_on(gate)
