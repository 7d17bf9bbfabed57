"""The crowd against a fake gate over real sockets: a correct one passes, each defect is found."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gatekeeper.errors import GatekeeperError
from gatekeeper.simulate.crowd import run_crowd
from gatekeeper.simulate.evidence import Progress, Promise
from gatekeeper.simulate.plan import CrowdPlan, Profile, Shares
from gatekeeper.simulate.pressure_promises import FLOODS, LURKERS, THROUGHPUT, WAITS
from gatekeeper.simulate.run import simulate
from gatekeeper.simulate.verdict import (
    FORGED_TOKENS,
    MAX_ACTIVE,
    ORDER,
    PLACES,
    RATE,
    RELEASE_DELAY,
    SESSIONS,
    WATERMARK,
    Verdict,
)
from tests.integration.simulate.fake_gate import Defects, FakeGate

pytestmark = pytest.mark.simulated_time


def plan_for(gate: FakeGate) -> CrowdPlan:
    return CrowdPlan(
        (gate.url,),
        visitors=40,
        at_once=30,
        arrivals_per_s=20,
        burst=gate.burst,
        duration_s=30,
        visit_requests=2,
        visit_s=0.2,
        stayers=0.5,
        away_s=1.6,
        connections=8,
    )


async def verdict_on(gate: FakeGate, plan: CrowdPlan | None = None) -> Verdict:
    return await run_crowd(plan or plan_for(gate), on_progress=lambda _: None)


def promise(verdict: Verdict, name: str) -> Promise:
    return next(each for each in verdict.promises if each.name == name)


def broken(verdict: Verdict) -> list[str]:
    return [each.name for each in verdict.promises if each.held is False]


async def test_correct_gate_keeps_every_promise() -> None:
    async with FakeGate(max_active=60).running() as gate:
        shares = Shares(leavers=0.1, returners=0.1, ghosts=0.1, refreshers=0.1, jumpers=0.2)
        plan = replace(plan_for(gate), shares=shares, admin_url=gate.url)
        verdict = await verdict_on(gate, plan)

    assert verdict.ok, verdict
    not_judged = [each.name for each in verdict.promises if each.held is None]
    assert not_judged == [WAITS, THROUGHPUT, LURKERS]  # the line is too short for these
    assert verdict.figures["arrived"] == 40
    assert verdict.figures["failures"] == {}
    assert verdict.figures["still_waiting"] == 0


async def test_patient_visitors_are_all_admitted() -> None:
    async with FakeGate().running() as gate:
        verdict = await verdict_on(gate)

    assert verdict.ok, verdict
    assert verdict.figures["admitted"] == 40
    assert verdict.figures["polls_per_visitor"]["mean"] > 1
    assert verdict.figures["polls_per_visitor"]["at_a_fixed_5_s"] == 1  # no wait was longer
    assert verdict.figures["eta_error_s"]["p50"] == pytest.approx(0, abs=1)
    assert promise(verdict, RELEASE_DELAY).held
    assert verdict.figures["near_front"] > 20
    assert promise(verdict, FORGED_TOKENS).held is None
    assert promise(verdict, MAX_ACTIVE).held is None


@pytest.mark.parametrize(
    ("defects", "name"),
    [
        (Defects(every_nth_admitted_on_arrival=10), ORDER),
        (Defects(releases_newest_first=True), ORDER),
        (Defects(poll_interval_s=3.5), RELEASE_DELAY),
        (Defects(loses_fifth_visitor=True), PLACES),
        (Defects(changes_arrivals=True), PLACES),
        (Defects(denies_admitted=True), SESSIONS),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_defect_breaks_its_promise(defects: Defects, name: str) -> None:
    async with FakeGate(defects=defects).running() as gate:
        verdict = await verdict_on(gate)

    assert not verdict.ok
    assert name in broken(verdict)


def plan_under_pressure(gate: FakeGate) -> CrowdPlan:
    """A line of 14 seconds, with floods, lurkers and a fifth of no-shows. That is long enough for a
    lurker to miss two releases, also on a busy machine."""
    return replace(
        plan_for(gate),
        visitors=560,
        at_once=540,
        shares=Shares(no_shows=0.2),
        floods=50,
        lurkers=5,
        claim_timeout_s=gate.claim_timeout_s,
        admin_url=gate.url,
        connections=16,
    )


async def test_correct_gate_keeps_promises_under_pressure() -> None:
    # On a busy machine a visitor takes more than a second to claim its release.
    async with FakeGate(rate_per_minute=2400, claim_timeout_s=2).running() as gate:
        verdict = await verdict_on(gate, plan_under_pressure(gate))

    assert verdict.ok, verdict
    held = {each.name: each.held for each in verdict.promises}
    assert all(held[name] for name in (WAITS, FLOODS, LURKERS)), verdict.promises
    assert verdict.figures["floods"]["sent"] > 300
    assert verdict.figures["floods"]["failures"] == {}
    assert verdict.figures["arrived"] == 560


@pytest.mark.parametrize(
    ("defects", "name"),
    [
        (Defects(ranks_unconfirmed=True), FLOODS),
        (Defects(never_moves_lurkers=True), LURKERS),
        (Defects(rate_factor=0.3), WAITS),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_defect_under_pressure_breaks_its_promise(defects: Defects, name: str) -> None:
    """Throughput needs longer runs; it is tested with the real gate."""
    gate = FakeGate(rate_per_minute=2400, claim_timeout_s=1, defects=defects)
    async with gate.running():
        plan = plan_under_pressure(gate)
        if name != LURKERS:
            plan = replace(plan, visitors=120, at_once=110, lurkers=0)
        verdict = await verdict_on(gate, plan)

    assert name in broken(verdict), verdict.promises


async def test_rate_above_reported_rate_breaks_promise() -> None:
    defects = Defects(rate_factor=12)
    async with FakeGate(rate_per_minute=600, defects=defects).running() as gate:
        verdict = await verdict_on(gate)

    assert not verdict.ok
    assert RATE in broken(verdict)


@pytest.mark.parametrize(
    "defects",
    [Defects(accepts_any_token=True), Defects(accepts_spent_tickets=True)],
    ids=["forged", "spent"],
)
async def test_accepted_forged_tokens_break_promise(defects: Defects) -> None:
    async with FakeGate(defects=defects).running() as gate:
        plan = replace(plan_for(gate), shares=Shares(jumpers=0.4))
        verdict = await verdict_on(gate, plan)

    assert broken(verdict) == [FORGED_TOKENS]


async def test_late_admission_of_all_is_found_by_watermark() -> None:
    async with FakeGate(defects=Defects(admits_after_s=4)).running() as gate:
        plan = replace(plan_for(gate), visitors=10, at_once=10, admin_url=gate.url)
        verdict = await verdict_on(gate, plan)

    assert RELEASE_DELAY in broken(verdict)
    assert verdict.figures["let_in_after_release_s"]["max"] > 2


async def test_rate_excess_is_found_by_admin_counts() -> None:
    async with FakeGate(defects=Defects(rate_factor=10)).running() as gate:
        plan = replace(plan_for(gate), admin_url=gate.url)
        verdict = await verdict_on(gate, plan)

    assert broken(verdict) == [RATE]
    assert "the gate's counts" in promise(verdict, RATE).detail


async def test_rate_excess_is_found_by_responses_despite_wrong_counts() -> None:
    defects = Defects(rate_factor=10, reports_no_releases=True)
    async with FakeGate(defects=defects).running() as gate:
        verdict = await verdict_on(gate, replace(plan_for(gate), admin_url=gate.url))

    assert broken(verdict) == [RATE]


async def test_active_above_max_active_breaks_promise() -> None:
    async with FakeGate(max_active=5).running() as gate:  # the fake gate does not enforce it
        plan = replace(plan_for(gate), admin_url=gate.url, stayers=1)
        verdict = await verdict_on(gate, plan)

    assert broken(verdict) == [MAX_ACTIVE]


async def test_falling_watermark_breaks_promise() -> None:
    async with FakeGate(defects=Defects(resets_watermark=True)).running() as gate:
        verdict = await verdict_on(gate, replace(plan_for(gate), admin_url=gate.url))

    assert broken(verdict) == [WATERMARK]


async def test_hidden_positions_are_not_judged() -> None:
    async with FakeGate(defects=Defects(hides_positions=True)).running() as gate:
        verdict = await verdict_on(gate)

    assert promise(verdict, ORDER).held is None
    assert verdict.figures["responses_judged"] == 0


async def test_opaque_tokens_are_a_problem() -> None:
    async with FakeGate(defects=Defects(opaque_tokens=True)).running() as gate:
        verdict = await verdict_on(gate)

    assert not verdict.ok
    assert "no token with an arrival" in verdict.problems[0]


async def test_failing_gate_ends_run_and_failures_are_listed() -> None:
    async with FakeGate(defects=Defects(fails=True)).running() as gate:
        plan = replace(plan_for(gate), browsers=0, give_up_s=1)
        verdict = await verdict_on(gate, plan)

    assert not verdict.ok
    assert verdict.problems[0] == "gate: no response for 1 s"
    assert verdict.figures["failures"]["status 500"] >= 40


async def test_unreachable_admin_listener_is_a_problem() -> None:
    async with FakeGate().running() as gate:
        plan = replace(plan_for(gate), visitors=1, at_once=1, admin_url="http://127.0.0.1:1")
        verdict = await verdict_on(gate, plan)

    assert "admin listener: no response" in verdict.problems[0]


async def test_unreachable_gate_is_one_line_error() -> None:
    with pytest.raises(GatekeeperError, match=r"no gate responds at http://127.0.0.1:1 \("):
        await run_crowd(CrowdPlan(("http://127.0.0.1:1",)), on_progress=lambda _: None)


async def test_run_ends_after_duration() -> None:
    async with FakeGate(rate_per_minute=0.001).running() as gate:
        verdict = await verdict_on(gate, replace(plan_for(gate), duration_s=1))

    assert verdict.figures["elapsed_s"] < 3
    assert verdict.figures["still_waiting"] > 0


async def test_visitors_use_all_replicas() -> None:
    async with FakeGate().running() as gate, gate.second_address() as second:
        verdict = await verdict_on(gate, replace(plan_for(gate), urls=(gate.url, second)))

    assert verdict.ok, verdict
    assert verdict.figures["admitted"] == 40
    assert min(gate.polls_by_port.values()) > 40


async def test_pass_rejected_by_one_replica_breaks_promise() -> None:
    defects = Defects(one_replica_rejects_passes=True)
    async with FakeGate(defects=defects).running() as gate, gate.second_address() as second:
        verdict = await verdict_on(gate, replace(plan_for(gate), urls=(gate.url, second)))

    assert broken(verdict) == [SESSIONS]


async def test_address_without_gate_is_named_before_first_arrival() -> None:
    async with FakeGate().running() as gate:
        plan = replace(plan_for(gate), urls=(gate.url, "http://127.0.0.1:1"))
        with pytest.raises(GatekeeperError, match=r"127\.0\.0\.1:1 "):
            await verdict_on(gate, plan)

    assert gate.visitors == {}


async def test_site_without_gate_is_refused() -> None:
    async def response(_request: web.Request) -> web.Response:
        return web.Response(text="welcome")

    app = web.Application()
    app.router.add_get("/{rest:.*}", response)
    async with TestServer(app) as site:
        with pytest.raises(GatekeeperError, match="is not a gate"):
            await run_crowd(CrowdPlan((f"http://127.0.0.1:{site.port}",)), on_progress=print)


async def test_progress_is_reported_during_run() -> None:
    seen: list[Progress] = []
    async with FakeGate().running() as gate:
        await run_crowd(plan_for(gate), on_progress=seen.append)

    assert len(seen) > 2
    assert [each.elapsed_s for each in seen] == sorted(each.elapsed_s for each in seen)
    assert seen[-1].arrived == seen[-1].admitted == 40
    assert seen[-1].waiting == 0


async def test_many_visitors_share_few_connections() -> None:
    async with FakeGate(rate_per_minute=60_000, burst=500).running() as gate:
        plan = replace(
            plan_for(gate), visitors=400, at_once=0, profile=Profile.FLASH, burst=500, connections=4
        )
        verdict = await verdict_on(gate, replace(plan, peak_per_s=300))

    assert verdict.ok, verdict
    assert verdict.figures["admitted"] == 400


# The output of the command.


async def test_verdict_as_json_exits_0(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with FakeGate().running() as gate:
        status = await simulate(plan_for(gate), as_json=True)

    out, err = capsys.readouterr()
    verdict = json.loads(out)
    assert status == 0
    assert verdict["ok"] is True
    assert {each["name"]: each["held"] for each in verdict["promises"]}[ORDER] is True
    assert verdict["figures"]["wait_s"]["p50"] >= 0
    assert "arrived" in err


async def test_broken_promise_is_printed_and_exits_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with FakeGate(defects=Defects(releases_newest_first=True)).running() as gate:
        status = await simulate(plan_for(gate))

    out, _ = capsys.readouterr()
    assert status == 1
    assert f"BROKEN  {ORDER}" in out
    assert out.rstrip().endswith("NOT OK")


async def test_plot_is_svg_with_curves(tmp_path: Path) -> None:
    svg_file = tmp_path / "run.svg"
    async with FakeGate().running() as gate:
        await simulate(plan_for(gate), plot=svg_file)

    root = ElementTree.fromstring(svg_file.read_text())
    curves = {
        each.get("class"): each.get("d", "").count("L")
        for each in root.iter("{http://www.w3.org/2000/svg}path")
        if "L" in each.get("d", "")
    }
    assert set(curves) >= {"arrived", "waiting", "admitted", "allowed"}
    assert curves["arrived"] >= 1


async def test_plot_unwritable_file_fails_before_run(tmp_path: Path) -> None:
    plan = CrowdPlan(("http://127.0.0.1:1",))
    with pytest.raises(GatekeeperError, match="cannot write"):
        await simulate(plan, plot=tmp_path / "nowhere" / "run.svg")
