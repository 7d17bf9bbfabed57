"""Floods, lurkers and no-shows against a real gate, in figures: only confirmed visitors count.

Rules: one gate with a room for each crowd, and all crowds at the same time, so that the file takes
as long as the longest. If a figure would take minutes at the rate of a small shop, the rate is
higher.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from gatekeeper.demo.shop import start_origin
from gatekeeper.simulate.crowd import run_crowd
from gatekeeper.simulate.plan import CrowdPlan, Shares
from gatekeeper.simulate.pressure_promises import FLOODS, LURKERS, THROUGHPUT, WAITS
from gatekeeper.simulate.summary import text_of
from gatekeeper.simulate.verdict import Verdict
from tests.gates import GateProcess

CLAIM_TIMEOUT_S = 2.0
FLOODS_PER_S = 20
TOML = """
[server]
listen = "127.0.0.1:0"
workers = 2
[origin]
url = "{origin}"
[admin]
listen = "127.0.0.1:0"
"""
ROOM = """
[[room]]
name = "{name}"
path = "/{name}/"
rate = "{rate}/min"
burst = {burst}
max_active = {max_active}
claim_timeout = "{claim_timeout_s}s"
"""


@dataclass(frozen=True)
class Scene:
    """A room, and the crowd that it receives."""

    rate: int
    burst: int
    crowd: dict[str, Any]
    max_active: int = 0

    def room(self, name: str) -> str:
        return ROOM.format(
            name=name,
            rate=self.rate,
            burst=self.burst,
            max_active=self.max_active,
            claim_timeout_s=CLAIM_TIMEOUT_S,
        )


# A visitor every 1.4 s, with and without twenty requests a second that keep no cookie.
CALM = Scene(60, 10, {"visitors": 10, "arrivals_per_s": 0.7, "duration_s": 30}, max_active=20)
SCENES = {
    "calm": CALM,
    "flood": replace(CALM, crowd=CALM.crowd | {"floods": FLOODS_PER_S}),
    # Seven clients that poll after their claim window has ended, then a visitor per second. Twice
    # as fast as 60/min with 4 s to claim. Each lurker needs at least 16 s to miss two releases.
    "lurkers": Scene(
        120,
        1,
        {"visitors": 24, "at_once": 8, "arrivals_per_s": 1, "lurkers": 7, "duration_s": 40},
    ),
    # A third of the visitors stop polling near the front.
    "no-shows": Scene(
        1200,
        10,
        {"visitors": 660, "at_once": 640, "shares": Shares(no_shows=1 / 3), "duration_s": 40},
    ),
}


@asynccontextmanager
async def serving() -> AsyncIterator[GateProcess]:
    origin = await start_origin()
    rooms = "".join(scene.room(name) for name, scene in SCENES.items())
    try:
        with GateProcess(TOML.format(origin=origin.url) + rooms) as gate:
            yield await gate.wait_until_serving()
    finally:
        await origin.stop()


async def run_all() -> dict[str, Verdict]:
    async with serving() as gate, asyncio.timeout(120):
        verdicts = await asyncio.gather(
            *(_run(gate, name, scene) for name, scene in SCENES.items())
        )
    return dict(zip(SCENES, verdicts, strict=True))


async def _run(gate: GateProcess, name: str, scene: Scene) -> Verdict:
    plan = CrowdPlan(
        (gate.url,),
        admin_url=gate.admin_url,
        room=name,
        paths=(f"/{name}/",),
        browsers=1.0,  # an app would use the enqueue endpoint where a browser opens a page
        burst=scene.burst,
        claim_timeout_s=CLAIM_TIMEOUT_S,
        visit_requests=2,
        visit_s=0.5,
        stayers=0.0,
        **scene.crowd,
    )
    return await run_crowd(plan, on_progress=lambda _: None)


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    return asyncio.run(run_all())


def held(verdict: Verdict, name: str) -> bool | None:
    return next(each.held for each in verdict.promises if each.name == name)


@pytest.mark.parametrize("name", SCENES)
def test_every_visitor_is_admitted_and_every_promise_held(
    verdicts: dict[str, Verdict], name: str
) -> None:
    verdict = verdicts[name]
    no_shows = verdict.figures["kinds"].get("no-show", 0)

    assert verdict.ok, text_of(verdict)
    assert verdict.figures["still_waiting"] == 0
    assert verdict.figures["admitted"] >= verdict.figures["arrived"] - no_shows
    assert verdict.figures["failures"] == {}


def test_flood_without_cookies_costs_visitors_at_most_2_s(verdicts: dict[str, Verdict]) -> None:
    flood, calm = verdicts["flood"].figures, verdicts["calm"].figures

    assert flood["wait_s"]["max"] <= calm["wait_s"]["max"] + 2
    assert held(verdicts["flood"], FLOODS) is True
    # It lasts as long as the crowd, whose duration is not fixed.
    assert flood["floods"]["sent"] >= 0.9 * FLOODS_PER_S * flood["elapsed_s"]
    assert 0 < flood["floods"]["straight_through"] < flood["floods"]["turned_away"]
    assert flood["floods"]["failures"] == {}


def test_lurkers_stand_at_the_end_after_two_missed_releases(
    verdicts: dict[str, Verdict],
) -> None:
    verdict = verdicts["lurkers"]

    assert held(verdict, LURKERS) is True, text_of(verdict)
    assert held(verdict, WAITS) is True
    assert verdict.figures["lurkers"]["missed_releases"] >= 4


def test_origin_receives_the_rate_despite_a_third_of_no_shows(
    verdicts: dict[str, Verdict],
) -> None:
    verdict = verdicts["no-shows"]

    assert held(verdict, THROUGHPUT) is True, text_of(verdict)
    late_s = verdict.figures["crowd_late_s"]["p99"]  # late because of a busy machine
    assert verdict.figures["throughput_share"] == pytest.approx(1, abs=0.05 + late_s / 10)
    assert verdict.figures["kinds"]["no-show"] == pytest.approx(220, abs=5)
