"""A store behind Sentinels fails over while a crowd waits: the effects on visitors."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.simulate.crowd import run_crowd
from gatekeeper.simulate.evidence import Progress
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.verdict import ORDER, PLACES, RATE, SESSIONS
from tests.gates import Gate, GateStarter
from tests.servers import eventually
from tests.store_group import StoreGroup, running_store_group

RATE_PER_MINUTE, BURST = 240, 4
VISITORS = 40
BEFORE = 10  # admitted before the fail-over
MAX_PAUSE_S = 12.0  # the gate's part of 15 s, of which the Sentinels usually take three

# What happens to the primary. A paused primary continues later, as after a network failure.
WAYS: dict[str, Callable[[StoreGroup], None]] = {
    "killed": lambda group: group.first.kill(),
    "killed, with writes lost": StoreGroup.lose_last_writes,
    "paused": lambda group: group.first.pause(),
    "demoted": StoreGroup.fail_over,
}


@pytest.mark.valkey
async def test_fail_over_costs_no_place_and_admits_nobody_too_early() -> None:
    """All cases at the same time, since each mostly waits for its Sentinels."""
    async with asyncio.TaskGroup() as group:
        for way in WAYS:
            group.create_task(_check(way), name=way)


async def _check(way: str) -> None:
    async with AsyncExitStack() as stack:
        group = stack.enter_context(running_store_group())
        await eventually(group.is_ready)
        start_replica = GateStarter(
            stack, room_name=RoomName(f"room-{len(way)}"), store_url=group.url, events_url="off"
        )
        gates = [await start_replica(rate=f"{RATE_PER_MINUTE}/min", burst=BURST) for _ in range(2)]
        await _fail_over(group, gates, way)


async def _fail_over(group: StoreGroup, gates: list[Gate], way: str) -> None:
    before = asyncio.Event()
    counts: list[tuple[float, int]] = []

    def on_progress(progress: Progress) -> None:
        counts.append((progress.elapsed_s, progress.admitted))
        if progress.admitted >= BEFORE:
            before.set()

    plan = CrowdPlan(
        tuple(gate.url for gate in gates),
        visitors=VISITORS,
        at_once=VISITORS,
        rate_per_minute=RATE_PER_MINUTE,
        burst=BURST,
        # The replica of a lost store may not know yet what was released in its last moment.
        granted=BURST,
        visit_requests=5,
        visit_s=5.0,
        stayers=0.0,
        duration_s=90,
        request_timeout_s=8.0,
    )
    crowd = asyncio.create_task(run_crowd(plan, on_progress=on_progress))
    await before.wait()
    failed_over_s = counts[-1][0]
    with group.noticing_losses():
        await asyncio.to_thread(WAYS[way], group)
        await eventually(group.is_failed_over)
    of_sentinels_s = counts[-1][0] - failed_over_s
    if way == "paused":
        group.first.resume()
    verdict = await crowd

    assert group.second.role() == "master", way
    promises = {each.name: each for each in verdict.promises}
    for name in (ORDER, RATE, PLACES, SESSIONS):
        if (way, name) == ("demoted", ORDER):
            # For a second the old primary still responds: "waiting" to visitors whom the new one
            # admits.
            assert verdict.figures["inversions"] <= BURST + RATE_PER_MINUTE / 60, promises[name]
            continue
        # A crowd that sends late may see no visitor wait while others enter, and then cannot judge
        # the order.
        assert promises[name].held is not False, f"{way}: {name}: {promises[name].detail}"
    assert promises[SESSIONS].held, way
    assert verdict.figures["still_waiting"] == 0, way
    assert verdict.figures["admitted"] == VISITORS, way
    at_s = [at_s for (at_s, count), (_, next_) in pairwise(counts) if next_ > count]
    pause_s = max(next_ - each for each, next_ in pairwise(at_s))
    late_s = verdict.figures["crowd_late_s"]["p99"]  # late because of a busy machine
    assert pause_s < MAX_PAUSE_S + of_sentinels_s + late_s, way
