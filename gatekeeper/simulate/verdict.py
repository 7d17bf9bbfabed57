"""The verdict on a run: each promise held, broken or not judged, and the figures behind it.

A run is `ok` when no promise was broken and nothing kept the crowd from judging.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gatekeeper.simulate.judge import (
    deepest_fall_us,
    most_above_limit,
    most_above_rate,
    most_certain_above_rate,
    most_certain_in,
    most_counted_in,
)
from gatekeeper.simulate.observer import Point, Violation, Witness
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.promptness import WITHIN_S

PROMPT = "whoever is near the front is let in within 2 s of the release"
NO_LIE_COUNTS = "no forged, swapped or spent token counts"
_WINDOW_S = 60.0
_FIXED_INTERVAL_S = 5.0  # what a page without any policy asks at


@dataclass(frozen=True, slots=True)
class Promise:
    """`held` is None when this run could not show it either way."""

    name: str
    held: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    promises: tuple[Promise, ...]
    problems: tuple[str, ...]
    violations: tuple[Violation, ...]  # one by one, the first of them
    figures: dict[str, Any]
    curve: tuple[Point, ...]
    rate_per_minute: float
    burst: int

    @property
    def ok(self) -> bool:
        return not self.problems and all(each.held is not False for each in self.promises)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "promises": [asdict(each) for each in self.promises],
            "problems": list(self.problems),
            "violations": [asdict(each) for each in self.violations],
            "figures": self.figures,
        }


def verdict_of(
    witness: Witness, plan: CrowdPlan, *, problems: Sequence[str], elapsed_s: float
) -> Verdict:
    """Judge a run that is over."""
    rate = _rate_per_minute(witness, plan)
    found = list(problems)
    if witness.arrived == 0:
        found.append("nobody arrived")
    if witness.unreadable:
        found.append(f"{witness.unreadable} visitors were given no token that says when they came")
    return Verdict(
        promises=(
            _order(witness),
            _prompt(witness),
            _rate(witness, plan, rate_per_minute=rate),
            _max_active(witness),
            _watermark(witness),
            _places(witness),
            _inside(witness),
            _lies(witness),
        ),
        problems=tuple(found),
        violations=tuple(witness.violations),
        figures=_figures(witness, rate_per_minute=rate, elapsed_s=elapsed_s),
        curve=tuple(witness.curve),
        rate_per_minute=rate,
        burst=plan.burst,
    )


def _rate_per_minute(witness: Witness, plan: CrowdPlan) -> float:
    """What the plan says; else the highest that the gate itself told anyone."""
    if plan.rate_per_minute is not None:
        return plan.rate_per_minute
    told = [sample.rate_per_minute for sample in witness.samples]
    return max([witness.told_rate_per_minute, *told])


def _order(witness: Witness) -> Promise:
    order, name = witness.order, "first come, first served"
    if order.inversions:
        worst = order.examples[0]
        early_s = (worst.admitted_arrival_us - worst.waiting_arrival_us) / 1e6
        return Promise(
            name,
            False,
            f"{order.inversions} answers told {order.overtaken} visitors to wait after someone "
            f"who came later was in; the first by {early_s:.3f} s",
        )
    if not order.answers_judged or not witness.admitted:
        return Promise(name, None, "nobody waited while others were let in")
    return Promise(name, True, f"no inversion in {order.answers_judged} answers that said to wait")


def _prompt(witness: Witness) -> Promise:
    name, prompt = PROMPT, witness.promptness
    if not prompt.proven_s:
        return Promise(name, None, "nobody near the front waited to be let in")
    late = sum(each_s > WITHIN_S for each_s in prompt.proven_s)
    seen = _spread(prompt.delays_s)
    assert seen is not None
    return Promise(
        name,
        not late,
        f"{late} of {len(prompt.proven_s)} later; as they saw it 99 % within {seen['p99']:.2f} s, "
        f"the last after {seen['max']:.2f} s; at most {max(prompt.proven_s):.2f} s the gate's for "
        "sure",
    )


def _rate(witness: Witness, plan: CrowdPlan, *, rate_per_minute: float) -> Promise:
    name = "never above rate and burst"
    allowed = plan.burst + plan.granted
    if not witness.admitted and len(witness.samples) < 2:
        return Promise(name, None, "nobody was admitted")
    above, counted = _above_rate(witness, rate_per_minute=rate_per_minute)
    in_a_minute, most = _most_in_a_minute(witness), math.floor(rate_per_minute) + allowed
    by = "own count and its answers" if counted else "answers"
    return Promise(
        name,
        above <= allowed and in_a_minute <= most,
        f"at most {in_a_minute} in any minute, {most} allowed; in any span at most "
        f"{max(above, 0):.1f} above {rate_per_minute:g}/min × time, {allowed} allowed; "
        f"by the gate's {by}",
    )


def _above_rate(witness: Witness, *, rate_per_minute: float) -> tuple[float, bool]:
    """The most that either kind of evidence proves, and whether the gate's own count is there.

    Its count is the finer one, and its answers show what a wrong count would hide.
    """
    counted = most_above_rate(witness.samples, rate_per_minute=rate_per_minute)
    told = most_certain_above_rate(
        rate_per_minute, began_s=witness.admitted_began_s, ended_s=witness.admitted_ended_s
    )
    return max(told, -math.inf if counted is None else counted), counted is not None


def _most_in_a_minute(witness: Witness) -> int:
    told = most_certain_in(
        _WINDOW_S, began_s=witness.admitted_began_s, ended_s=witness.admitted_ended_s
    )
    return max(told, most_counted_in(_WINDOW_S, witness.samples) or 0)


def _max_active(witness: Witness) -> Promise:
    name = "never more than max_active inside"
    above = most_above_limit(witness.samples)
    if above is None:
        why = "there is no limit" if witness.samples else "needs the operator's listener"
        return Promise(name, None, why)
    limit = witness.samples[-1].max_active
    return Promise(name, above <= 0, f"at most {limit + above} inside, {limit} allowed")


def _watermark(witness: Witness) -> Promise:
    name = "the watermark never falls"
    fall_us = deepest_fall_us(witness.samples)
    if fall_us is None:
        return Promise(name, None, "needs the operator's listener")
    looks = f"looked at {len(witness.samples)} times"
    if fall_us:
        return Promise(name, False, f"{looks}, it fell by up to {fall_us / 1e6:.3f} s")
    return Promise(name, True, looks)


def _places(witness: Witness) -> Promise:
    lost, moved = witness.places_lost, witness.places_moved
    name = "nobody who stays loses the place"
    if not witness.order.answers_judged:
        return Promise(name, None, "nobody waited")
    if lost or moved:
        return Promise(name, False, f"{lost} lost it, {moved} were given another")
    return Promise(name, True, "every place was kept")


def _inside(witness: Witness) -> Promise:
    name = "whoever is in stays in"
    if not witness.visits and not witness.turned_back:
        return Promise(name, None, "nobody went in")
    if witness.turned_back:
        return Promise(name, False, f"{witness.turned_back} admitted visitors were told to wait")
    return Promise(name, True, f"{witness.visits} requests of admitted visitors got through")


def _lies(witness: Witness) -> Promise:
    lies, name = witness.lies, NO_LIE_COUNTS
    if not lies.told:
        return Promise(name, None, "nobody tried")
    if lies.believed:
        return Promise(name, False, f"{lies.believed} of {lies.told}: {lies.examples[0]}")
    return Promise(name, True, f"{lies.told} refused")


def _figures(witness: Witness, *, rate_per_minute: float, elapsed_s: float) -> dict[str, Any]:
    released = (
        witness.samples[-1].released_total - witness.samples[0].released_total
        if witness.samples
        else None
    )
    return {
        "elapsed_s": round(elapsed_s, 3),
        "arrived": witness.arrived,
        "admitted": witness.admitted,
        "admitted_at_once": witness.admitted_at_once,
        "still_waiting": witness.waiting,
        "kinds": dict(sorted(witness.kinds.items())),
        "requests": witness.requests,
        "requests_per_s": round(witness.requests / max(elapsed_s, 1e-9), 1),
        "failures": dict(witness.failures.most_common()),
        "rate_per_minute": rate_per_minute,
        "most_admitted_in_60_s": _most_in_a_minute(witness),
        "most_above_rate": round(_above_rate(witness, rate_per_minute=rate_per_minute)[0], 2)
        if witness.admitted
        else None,
        "released": released,
        "most_inside": max((each.active for each in witness.samples), default=None),
        "wait_s": _spread(witness.waits_s),
        "near_front": len(witness.promptness.delays_s),
        "let_in_after_release_s": _spread(witness.promptness.delays_s),
        "let_in_after_release_by_the_gate_s": _spread(witness.promptness.proven_s),
        "eta_error_s": _spread(witness.eta_errors_s),
        "eta_error_share": _spread(
            [
                error / max(told, 1.0)
                for error, told in zip(witness.eta_errors_s, witness.eta_told_s, strict=True)
            ]
        ),
        "polls_per_visitor": _polls(witness),
        "answers_judged": witness.order.answers_judged,
        "answers_excused": witness.order.answers_excused,
        "inversions": witness.order.inversions,
        "lies": witness.lies.told,
        "answer_s": _spread(witness.answers_s),
        "crowd_late_s": _spread(witness.late_s),
    }


def _polls(witness: Witness) -> dict[str, float] | None:
    """How often those who waited had to ask, and how often a fixed interval would have had them."""
    if not witness.polls:
        return None
    fixed = sum(math.ceil(wait_s / _FIXED_INTERVAL_S) for wait_s in witness.polled_s)
    return {
        "mean": round(statistics.fmean(witness.polls), 2),
        "at_a_fixed_5_s": round(fixed / len(witness.polls), 2),
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    """Median, 99th percentile and ends; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "min": round(ordered[0], 3),
        "p50": round(statistics.median(ordered), 3),
        "p99": round(ordered[round(last * 0.99)], 3),
        "max": round(ordered[-1], 3),
    }
