"""Members in a crowd, against a real gate: the judge expects their head start."""

import time
from pathlib import Path

import pytest

from gatekeeper.config.event_schema import spell_time
from gatekeeper.simulate.crowd import run_crowd
from gatekeeper.simulate.evidence import Promise
from gatekeeper.simulate.lane_record import LANES
from gatekeeper.simulate.opening_promises import DRAW
from gatekeeper.simulate.plan import CrowdPlan, Shares
from gatekeeper.simulate.simulated_lanes import SimulatedLane
from gatekeeper.simulate.verdict import ORDER, PLACES, Verdict
from tests.gates import Gate, GateStarter

SHOP = b"the shop's own secret, of 40 bytes or so"
MEMBERS, FRIENDS = SimulatedLane("members", 0.3, 900.0), SimulatedLane("friends", 0.2, 2.0)


async def gate_with_lanes(
    start_gate: GateStarter, folder: Path, *, head_start: str, more: str = ""
) -> Gate:
    secret = folder / "shop"
    secret.write_bytes(SHOP)
    name = start_gate._room_name
    rooms = (
        f'[[room]]\nname = "{name}"\nrate = "300/min"\nburst = 5\n'
        f'invitation_secret_file = "{secret}"\n'
        f'[[lane]]\nname = "members"\nroom = "{name}"\nhead_start = "{head_start}"\n'
        f'[[lane]]\nname = "friends"\nroom = "{name}"\nhead_start = "2s"\n{more}'
    )
    return await start_gate(rooms=rooms)


async def verdict_on(gate: Gate, *, event: str = "") -> Verdict:
    plan = CrowdPlan(
        (gate.url,),
        visitors=80,
        at_once=40,
        arrivals_per_s=10,
        shares=Shares(leavers=0.1, ghosts=0.1, refreshers=0.1),
        lanes=(MEMBERS, FRIENDS),
        invitation_secret=SHOP,
        burst=5,
        duration_s=40,
        visit_requests=0,
        stayers=1.0,
        connections=8,
        room=gate.room_name,
        event=event,
        late_s=2,
    )
    return await run_crowd(plan, on_progress=lambda _: None)


def promise(verdict: Verdict, name: str) -> Promise:
    return next(each for each in verdict.promises if each.name == name)


async def test_members_have_their_head_start_and_nobody_is_overtaken(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    verdict = await verdict_on(await gate_with_lanes(start_gate, tmp_path, head_start="15m"))
    assert verdict.ok, [each for each in verdict.promises if each.held is False]
    assert promise(verdict, LANES).held, verdict
    assert promise(verdict, ORDER).held, verdict
    assert promise(verdict, PLACES).held, verdict
    lanes = verdict.figures["lanes"]
    assert lanes["members"]["arrived"] >= 20
    assert lanes["friends"]["arrived"] >= 12
    assert lanes["members"]["admitted"] > 0


@pytest.mark.parametrize("head_start", ["30m", "1s"])
async def test_another_head_start_breaks_the_promise(
    head_start: str, start_gate: GateStarter, tmp_path: Path
) -> None:
    verdict = await verdict_on(await gate_with_lanes(start_gate, tmp_path, head_start=head_start))
    assert promise(verdict, LANES).held is False, verdict


async def test_draw_of_lanes_is_judged_by_its_record(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    now_us = time.time_ns() // 1000
    prequeue, start = (spell_time(now_us + s * 1_000_000) for s in (2, 7))
    name = start_gate._room_name
    more = (
        f'[[event]]\nname = "sale"\nroom = "{name}"\nprequeue = "{prequeue}"\nstart = "{start}"\n'
    )
    gate = await gate_with_lanes(start_gate, tmp_path, head_start="15m", more=more)
    verdict = await verdict_on(gate, event="sale")
    assert promise(verdict, DRAW).held, verdict
    assert promise(verdict, ORDER).held, verdict
    assert promise(verdict, LANES).held, verdict
    assert verdict.figures["lanes"]["members"]["arrived"] >= 20
