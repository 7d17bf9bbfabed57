"""The crowd against a gate over real sockets: an honest one passes, and each cheat is found."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gatekeeper.errors import GatekeeperError
from gatekeeper.simulate.crowd import run_crowd
from gatekeeper.simulate.observer import Progress
from gatekeeper.simulate.plan import CrowdPlan, Profile, Shares
from gatekeeper.simulate.run import simulate
from gatekeeper.simulate.verdict import Promise, Verdict
from tests.integration.simulate.fake_gate import Cheats, FakeGate

ORDER = "first come, first served"
PROMPT = "whoever is near the front is let in within 2 s of the release"
RATE = "never above rate and burst"
ACTIVE = "never more than max_active inside"
WATERMARK = "the watermark never falls"
PLACES = "nobody who stays loses the place"
INSIDE = "whoever is in stays in"
LIES = "no forged, swapped or spent token counts"


def plan_for(gate: FakeGate) -> CrowdPlan:
    return CrowdPlan(
        (gate.url,),
        visitors=40,
        at_once=30,
        arrivals_per_s=20,
        burst=gate.burst,
        duration_s=20,
        visit_requests=2,
        visit_s=0.2,
        stayers=0.5,
        away_s=1.6,
        connections=8,
    )


async def judged(gate: FakeGate, plan: CrowdPlan | None = None) -> Verdict:
    return await run_crowd(plan or plan_for(gate), on_progress=lambda _: None)


def promise(verdict: Verdict, name: str) -> Promise:
    return next(each for each in verdict.promises if each.name == name)


def broken(verdict: Verdict) -> list[str]:
    return [each.name for each in verdict.promises if each.held is False]


async def test_an_honest_gate_is_found_to_keep_every_promise() -> None:
    async with FakeGate(max_active=60).running() as gate:
        shares = Shares(leavers=0.1, returners=0.1, ghosts=0.1, refreshers=0.1, jumpers=0.2)
        plan = replace(plan_for(gate), shares=shares, admin_url=gate.url)
        verdict = await judged(gate, plan)

    assert verdict.ok, verdict
    assert [each.held for each in verdict.promises] == [True] * 8
    assert verdict.figures["arrived"] == 40
    assert verdict.figures["failures"] == {}
    assert verdict.figures["still_waiting"] == 0


async def test_everybody_patient_gets_in() -> None:
    async with FakeGate().running() as gate:
        verdict = await judged(gate)

    assert verdict.ok, verdict
    assert verdict.figures["admitted"] == 40
    assert verdict.figures["polls_per_visitor"]["mean"] > 1
    assert verdict.figures["polls_per_visitor"]["at_a_fixed_5_s"] == 1  # nobody waited for longer
    assert verdict.figures["eta_error_s"]["p50"] == pytest.approx(0, abs=1)
    assert promise(verdict, PROMPT).held
    assert verdict.figures["near_front"] > 20
    assert promise(verdict, LIES).held is None
    assert promise(verdict, ACTIVE).held is None


@pytest.mark.parametrize(
    ("cheats", "name"),
    [
        (Cheats(every_nth_enters_at_once=10), ORDER),
        (Cheats(releases_backwards=True), ORDER),
        (Cheats(asks_back_after_s=3.5), PROMPT),
        (Cheats(forgets_the_fifth=True), PLACES),
        (Cheats(moves_everybody=True), PLACES),
        (Cheats(turns_the_admitted_back=True), INSIDE),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_a_gate_that_cheats_is_found_out(cheats: Cheats, name: str) -> None:
    async with FakeGate(cheats=cheats).running() as gate:
        verdict = await judged(gate)

    assert not verdict.ok
    assert name in broken(verdict)


async def test_a_gate_that_is_faster_than_it_tells_is_found_out() -> None:
    cheats = Cheats(times_faster_than_told=12)
    async with FakeGate(rate_per_minute=600, cheats=cheats).running() as gate:
        verdict = await judged(gate)

    assert not verdict.ok
    assert RATE in broken(verdict)


@pytest.mark.parametrize(
    "cheats",
    [Cheats(believes_everything=True), Cheats(honours_spent_tickets=True)],
    ids=["forged", "spent"],
)
async def test_a_gate_that_believes_liars_is_found_out(cheats: Cheats) -> None:
    async with FakeGate(cheats=cheats).running() as gate:
        plan = replace(plan_for(gate), shares=Shares(jumpers=0.4))
        verdict = await judged(gate, plan)

    assert broken(verdict) == [LIES]


async def test_the_operators_watermark_shows_that_all_are_let_in_late() -> None:
    async with FakeGate(cheats=Cheats(lets_in_after_s=4)).running() as gate:
        plan = replace(plan_for(gate), visitors=10, at_once=10, admin_url=gate.url)
        verdict = await judged(gate, plan)

    assert broken(verdict) == [PROMPT]
    assert verdict.figures["let_in_after_release_s"]["max"] > 2


async def test_the_operators_count_shows_a_rate_that_polls_are_too_coarse_to_show() -> None:
    async with FakeGate(cheats=Cheats(times_faster_than_told=4)).running() as gate:
        plan = replace(plan_for(gate), admin_url=gate.url)
        verdict = await judged(gate, plan)

    assert broken(verdict) == [RATE]
    assert "own count" in promise(verdict, RATE).detail


async def test_a_gate_that_counts_too_few_is_found_out_by_its_answers() -> None:
    cheats = Cheats(times_faster_than_told=4, counts_nobody=True)
    async with FakeGate(cheats=cheats).running() as gate:
        verdict = await judged(gate, replace(plan_for(gate), admin_url=gate.url))

    assert broken(verdict) == [RATE]


async def test_one_too_many_inside_is_found_out() -> None:
    async with FakeGate(max_active=5).running() as gate:  # and it does not keep to it
        plan = replace(plan_for(gate), admin_url=gate.url, stayers=1)
        verdict = await judged(gate, plan)

    assert broken(verdict) == [ACTIVE]


async def test_a_watermark_that_falls_is_found_out() -> None:
    async with FakeGate(cheats=Cheats(forgets_the_watermark=True)).running() as gate:
        verdict = await judged(gate, replace(plan_for(gate), admin_url=gate.url))

    assert broken(verdict) == [WATERMARK]


async def test_what_nobody_can_judge_is_not_called_held() -> None:
    async with FakeGate(cheats=Cheats(hides_positions=True)).running() as gate:
        verdict = await judged(gate)

    assert promise(verdict, ORDER).held is None
    assert verdict.figures["answers_judged"] == 0


async def test_tokens_that_say_nothing_are_a_problem() -> None:
    async with FakeGate(cheats=Cheats(tells_no_claims=True)).running() as gate:
        verdict = await judged(gate)

    assert not verdict.ok
    assert "no token that says when" in verdict.problems[0]


async def test_a_gate_that_only_fails_is_given_up_and_the_failures_are_named() -> None:
    async with FakeGate(cheats=Cheats(fails=True)).running() as gate:
        plan = replace(plan_for(gate), browsers=0, give_up_s=1)
        verdict = await judged(gate, plan)

    assert not verdict.ok
    assert verdict.problems[0] == "the gate has not answered for 1 s"
    assert verdict.figures["failures"]["status 500"] >= 40


async def test_an_operators_listener_that_is_away_is_a_problem() -> None:
    async with FakeGate().running() as gate:
        plan = replace(plan_for(gate), visitors=1, at_once=1, admin_url="http://127.0.0.1:1")
        verdict = await judged(gate, plan)

    assert "the operator's listener does not answer" in verdict.problems[0]


async def test_no_gate_is_one_readable_line() -> None:
    with pytest.raises(GatekeeperError, match=r"no gate answers at http://127.0.0.1:1 \("):
        await run_crowd(CrowdPlan(("http://127.0.0.1:1",)), on_progress=lambda _: None)


async def test_a_run_ends_when_its_time_is_up() -> None:
    async with FakeGate(rate_per_minute=0.001).running() as gate:
        verdict = await judged(gate, replace(plan_for(gate), duration_s=1))

    assert verdict.figures["elapsed_s"] < 3
    assert verdict.figures["still_waiting"] > 0


async def test_visitors_go_from_replica_to_replica() -> None:
    async with FakeGate().running() as gate, gate.another() as second:
        verdict = await judged(gate, replace(plan_for(gate), urls=(gate.url, second)))

    assert verdict.ok, verdict
    assert verdict.figures["admitted"] == 40
    assert min(gate.asked_at.values()) > 40


async def test_a_pass_that_one_replica_does_not_know_is_found_out() -> None:
    cheats = Cheats(one_replica_knows_no_pass=True)
    async with FakeGate(cheats=cheats).running() as gate, gate.another() as second:
        verdict = await judged(gate, replace(plan_for(gate), urls=(gate.url, second)))

    assert broken(verdict) == [INSIDE]


async def test_an_address_where_no_gate_is_is_named_before_anybody_comes() -> None:
    async with FakeGate().running() as gate:
        plan = replace(plan_for(gate), urls=(gate.url, "http://127.0.0.1:1"))
        with pytest.raises(GatekeeperError, match=r"127\.0\.0\.1:1 "):
            await judged(gate, plan)

    assert gate.people == {}


async def test_a_site_that_answers_everything_is_no_gate() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="welcome")

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    async with TestServer(app) as site:
        with pytest.raises(GatekeeperError, match="is no gate"):
            await run_crowd(CrowdPlan((f"http://127.0.0.1:{site.port}",)), on_progress=print)


async def test_progress_is_told_while_it_runs() -> None:
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
        verdict = await judged(gate, replace(plan, peak_per_s=300))

    assert verdict.ok, verdict
    assert verdict.figures["admitted"] == 400


# The command's own part.


async def test_the_verdict_is_told_as_json_with_status_0(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with FakeGate().running() as gate:
        status = await simulate(plan_for(gate), as_json=True)

    out, err = capsys.readouterr()
    told = json.loads(out)
    assert status == 0
    assert told["ok"] is True
    assert {each["name"]: each["held"] for each in told["promises"]}[ORDER] is True
    assert told["figures"]["wait_s"]["p50"] >= 0
    assert "arrived" in err


async def test_a_broken_promise_is_told_in_words_with_status_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with FakeGate(cheats=Cheats(releases_backwards=True)).running() as gate:
        status = await simulate(plan_for(gate))

    out, _ = capsys.readouterr()
    assert status == 1
    assert f"BROKEN  {ORDER}" in out
    assert out.rstrip().endswith("NOT OK")


async def test_the_picture_is_svg_with_a_curve(tmp_path: Path) -> None:
    picture = tmp_path / "run.svg"
    async with FakeGate().running() as gate:
        await simulate(plan_for(gate), plot=picture)

    root = ElementTree.fromstring(picture.read_text())
    curves = {
        each.get("class"): each.get("d", "").count("L")
        for each in root.iter("{http://www.w3.org/2000/svg}path")
        if "L" in each.get("d", "")
    }
    assert set(curves) >= {"came", "line", "let-in", "allowed"}
    assert curves["came"] >= 1


async def test_a_picture_that_cannot_be_written_is_said_before_the_run(tmp_path: Path) -> None:
    plan = CrowdPlan(("http://127.0.0.1:1",))
    with pytest.raises(GatekeeperError, match="cannot write"):
        await simulate(plan, plot=tmp_path / "nowhere" / "run.svg")
