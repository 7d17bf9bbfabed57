"""One chaos run: real gates on a real store and NATS, a crowd with a verdict, and disruptions.

Rules. Ten minutes of a sale take `seconds`; the deadlines of the room are shorter by the same
factor. The crowd is the one of `gatekeeper simulate --event` and knows nothing of the disruptions:
some visitors are in line before the prequeue of an event, most arrive in it, some after the
opening. The same seed has the same disruptions at the same times, and the same visitors; only the
machine differs. `allowances` lists what may happen under disruption.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from gatekeeper.errors import GatekeeperError
from gatekeeper.simulate.crowd import run_crowd
from gatekeeper.simulate.evidence import Progress
from gatekeeper.simulate.plan import CrowdPlan, Shares
from gatekeeper.simulate.verdict import Verdict
from tests.chaos.allowances import with_allowances
from tests.chaos.cluster import BURST, RATE_PER_S, Cluster, claim_timeout_s, running_cluster
from tests.chaos.disruption_times import (
    GRANT,
    LOSSES,
    OPENING_AT,
    PREQUEUE_AT,
    Disruption,
    DisruptionKind,
    schedule,
)
from tests.chaos.disruptor import Disruptor, Log
from tests.chaos.faults import Fault

SALE_S = 600.0
MAX_ACTIVE = (240, 60)  # of even seeds, where the rate is the limit; of odd seeds, the slots
_CROWD_SHARE = 0.4  # of the visitors that the rate allows: disruptions take the rest of the time
_AT_ONCE = 0.6  # far more than the rate allows at once, so that a missing limit shows immediately
# Without disruptions the line lasts longer than the run: throughput is judged after two claim
# windows, and a lurker after its second miss. Each miss takes half of the run.
_CALM_CROWD_SHARE, _CALM_AT_ONCE = 2.0, 0.9
_LOG_EVERY_S = 5.0
EVENT = "sale"
_BEFORE, _LATE, _LATE_FOR = 0.25, 0.15, 0.2  # shares of the crowd, and of the run
_SHARES = Shares(
    leavers=0.05, returners=0.05, ghosts=0.05, no_shows=0.2, refreshers=0.02, jumpers=0.1
)
_FLOODS, _LURKERS = 20, 30


@dataclass(frozen=True, slots=True)
class Result:
    """`problems`: exceptions in the logs, broken holds, and visitors that still wait at the end."""

    verdict: Verdict
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return self.verdict.ok and not self.problems


async def run(
    seed: int,
    *,
    seconds: float,
    gates: int,
    workers: int,
    log: Log,
    fault: Fault | None = None,
    calm: bool = False,
    has_event: bool = True,
) -> Result:
    """Run one trial with `workers` for each gate; without disruptions if `calm`.

    The room opens an event in the middle of the run, unless `has_event` is false.

    Raises GatekeeperError when no gate responds.
    """
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(
            running_cluster(
                fault,
                gates=gates,
                workers=workers,
                speedup=SALE_S / seconds,
                max_active=MAX_ACTIVE[seed % 2],
            )
        )
        disruptions = [] if calm else schedule(seed, seconds=seconds, gates=gates)
        is_line = calm and not has_event
        plan = _plan(cluster, disruptions, seed=seed, seconds=seconds, is_line=is_line)
        if has_event:
            plan = await _with_event(cluster, plan, seconds=seconds)
        began_s = time.monotonic()
        disruptor = Disruptor(cluster, now_s=lambda: time.monotonic() - began_s)
        disrupting = asyncio.create_task(disruptor.run(disruptions, log=log), name="disruptions")
        try:
            verdict = await run_crowd(plan, on_progress=_ProgressLog(log))
            if not calm:
                verdict = with_allowances(verdict, disruptor.applied)
        finally:
            disrupting.cancel()
            [failure] = await asyncio.gather(disrupting, return_exceptions=True)
        problems = disruptor.all_problems()
        if isinstance(failure, Exception):
            problems.append(f"applying the disruptions failed: {failure!r}")
        if waiting := verdict.figures["still_waiting"]:
            problems.append(f"{waiting} visitors still waiting at the end")
        return Result(verdict, tuple(problems))


def _plan(
    cluster: Cluster, disruptions: list[Disruption], *, seed: int, seconds: float, is_line: bool
) -> CrowdPlan:
    share, at_once = (_CALM_CROWD_SHARE, _CALM_AT_ONCE) if is_line else (_CROWD_SHARE, _AT_ONCE)
    visitors = max(round(RATE_PER_S * seconds * share), 20)
    granted = GRANT * sum(each.kind is DisruptionKind.GRANTED for each in disruptions)
    losses = sum(each.kind in LOSSES for each in disruptions)
    return CrowdPlan(
        urls=tuple(gate.url for gate in cluster.gates),
        visitors=visitors,
        at_once=round(visitors * at_once),
        arrivals_per_s=visitors * (1 - at_once) / (seconds * 0.45),
        shares=_SHARES,
        floods=_FLOODS,
        lurkers=_LURKERS,
        claim_timeout_s=claim_timeout_s(SALE_S / seconds),
        seed=seed,
        duration_s=seconds * 1.5 + 30,  # on a busy machine the restart of a gate takes long
        rate_per_minute=RATE_PER_S * 60,
        burst=BURST,
        granted=granted + BURST * losses,
        visit_requests=3,
        visit_s=2.0,
        stayers=0.0,
        away_s=max(seconds / 20, 2.0),
        admin_url=cluster.admin_url,
        connections=16 * len(cluster.gates),
        request_timeout_s=8.0,
        give_up_s=20.0,
    )


async def _with_event(cluster: Cluster, plan: CrowdPlan, *, seconds: float) -> CrowdPlan:
    """Create the event, as an operator does. Some of the crowd are in line before it."""
    now = datetime.now(UTC)
    prequeue, start = (now + timedelta(seconds=seconds * at) for at in (PREQUEUE_AT, OPENING_AT))
    event = {"name": EVENT, "prequeue": prequeue.isoformat(), "start": start.isoformat()}
    if not await cluster.post("/admin/events", json=event):
        raise GatekeeperError("the event was refused")
    return replace(
        plan,
        event=EVENT,
        before=round(plan.visitors * _BEFORE),
        at_once=round(plan.visitors * _AT_ONCE / 2),
        late=_LATE,
        late_s=seconds * _LATE_FOR,
    )


class _ProgressLog:
    """Logs the progress every few seconds."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._logged_s = 0.0

    def __call__(self, progress: Progress) -> None:
        if progress.elapsed_s - self._logged_s < _LOG_EVERY_S:
            return
        self._logged_s = progress.elapsed_s
        self._log(
            f"{progress.elapsed_s:6.1f} s  {progress.arrived} arrived, "
            f"{progress.waiting} waiting, {progress.admitted} admitted, "
            f"{progress.inversions} inversions"
        )
