"""Bots with few addresses and a crowd, against a real gate."""

from gatekeeper.simulate.bots import BOTS
from gatekeeper.simulate.crowd import run_crowd
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.verdict import Verdict
from tests.gates import Gate, GateStarter

TRUSTED = '[server]\ntrusted_proxies = ["127.0.0.1"]\n'
BOT_COUNT = 12


def plan_for(gate: Gate, **more: object) -> CrowdPlan:
    plan: dict[str, object] = {
        "visitors": 30,
        "at_once": 20,
        "arrivals_per_s": 10,
        "burst": 5,
        "duration_s": 30,
        "visit_requests": 1,
        "visit_s": 0.2,
        "stayers": 1.0,
        "connections": 8,
        "room": gate.room_name,
        "bots": BOT_COUNT,
    }
    return CrowdPlan((gate.url,), **plan | more)  # type: ignore[arg-type]


async def verdict_on(gate: Gate, **more: object) -> Verdict:
    return await run_crowd(plan_for(gate, **more), on_progress=lambda _: None)


def detail(verdict: Verdict) -> str:
    return next(each.detail for each in verdict.promises if each.name == BOTS)


async def test_bots_of_few_addresses_get_few_places(start_gate: GateStarter) -> None:
    """Each visitor has another address. Without a challenge the share of the bots is only
    reported."""
    gate = await start_gate(TRUSTED, rate="300/min", burst=5, newcomers_per_address="2/min")
    verdict = await verdict_on(gate, bot_addresses=2)
    assert verdict.ok, verdict
    assert verdict.figures["admitted"] == 30
    bots = verdict.figures["bots"]
    assert bots["places_refused"] > 0
    assert bots["admitted"] <= 6, "two places of each address, and one for half a minute more"
    assert "admissions (" in detail(verdict)
    assert "the room sets no challenge" in detail(verdict)


async def test_bots_get_only_what_their_work_buys(start_gate: GateStarter) -> None:
    """Every visitor solves its challenge and enters; of the bots only those that do the work."""
    gate = await start_gate(
        TRUSTED, rate="300/min", burst=5, challenge="work", challenge_difficulty=10_000
    )
    verdict = await verdict_on(gate, bot_cpu_s=0.02)
    assert verdict.ok, verdict
    assert verdict.figures["admitted"] == 30
    bots = verdict.figures["bots"]
    assert bots["replays"] > 0
    assert (bots["replays_accepted"], bots["unsolved_admitted"]) == (0, 0)
    assert bots["admitted"] == bots["by_kind"]["worker"] <= bots["proofs"]
    assert bots["evasions"] > 0
    assert bots["evasions_forwarded"] == bots["challenge_evaded"] == 0
    assert 0 < bots["cpu_s"] < 1, "no proof is begun when the budget is spent"
    assert "CPU-seconds" in detail(verdict)
