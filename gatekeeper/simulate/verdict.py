"""The verdict on a run: each promise held, broken or not judged, and the figures of the run.

A run is `ok` when no promise was broken and no problem prevented a judgement.

order          first come, first served among visitors that are present
release delay  a visitor near the front is admitted within 2 s of the release
rate           admissions never exceed rate and burst, in any span
max_active     never more active visitors than max_active
watermark      the watermark never falls
places         a visitor that keeps polling keeps the place
sessions       an admitted visitor stays admitted
forged tokens  no forged, swapped or spent token is accepted
lanes          members have the head start of their lane, and none is placed before a released turn
waits          a visitor waits no longer than position and rate promise
throughput     while visitors wait, the origin receives the rate
floods         only visitors that return a token have a place
lurkers        a lurker takes at most two releases, then it is at the end
bots           while the room sets a challenge, nothing is admitted without solving it

Of an event also (`opening_promises`):

nobody early     no visitor of the prequeue is admitted before the start
first admission  within 10 s of the start
draw             its public record is consistent with itself and with the crowd
first minute     the origin receives the rate from the first minute on
quiet opening    polls per second around the start at most 1.5 times those a minute later
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gatekeeper.simulate.bots import bot_figures, bot_promise
from gatekeeper.simulate.evidence import Point, Promise, Violation
from gatekeeper.simulate.judge import (
    AFTER_ALL_US,
    max_above_limit,
    max_above_rate,
    max_certain_above_rate,
    max_certain_in_window,
    max_counted_in_window,
    max_watermark_fall_us,
)
from gatekeeper.simulate.lane_record import lane_figures, lane_promise
from gatekeeper.simulate.observer import Observer
from gatekeeper.simulate.opening_promises import opening_figures, opening_promises
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.pressure_promises import pressure_figures, pressure_promises
from gatekeeper.simulate.release_delays import MAX_RELEASE_DELAY_S

ORDER = "order"
RELEASE_DELAY = "release delay"
RATE = "rate"
MAX_ACTIVE = "max_active"
WATERMARK = "watermark"
PLACES = "places"
SESSIONS = "sessions"
FORGED_TOKENS = "forged tokens"
_WINDOW_S = 60.0
_FIXED_INTERVAL_S = 5.0  # a fixed poll interval, for comparison


@dataclass(frozen=True, slots=True)
class Verdict:
    promises: tuple[Promise, ...]
    problems: tuple[str, ...]
    violations: tuple[Violation, ...]  # the first ones
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
    observer: Observer, plan: CrowdPlan, *, problems: Sequence[str], elapsed_s: float
) -> Verdict:
    """The verdict on a finished run."""
    known_rate = _rate_per_minute(observer, plan)
    rate = known_rate or 0.0
    found = list(problems)
    if observer.arrived == 0:
        found.append("no visitor arrived")
    if observer.bots.unsolvable:
        found.append('challenge: a crowd solves only "work"; its visitors could not enter')
    if observer.unreadable_tokens:
        found.append(f"{observer.unreadable_tokens:,} visitors received no token with an arrival")
    return Verdict(
        promises=(
            _order_promise(observer),
            _release_delay_promise(observer),
            _rate_promise(observer, plan, rate_per_minute=known_rate),
            _max_active_promise(observer),
            _watermark_promise(observer),
            _places_promise(observer),
            _sessions_promise(observer),
            _forged_tokens_promise(observer),
            *([lane_promise(observer.lanes)] if plan.lanes else []),
            *([bot_promise(observer.bots, admitted=observer.admitted)] if plan.bots else []),
            *pressure_promises(observer.pressure, plan, crowd_late_s=_crowd_late_s(observer)),
            *_opening_promises(observer, plan, rate_per_minute=rate, elapsed_s=elapsed_s),
        ),
        problems=tuple(found),
        violations=tuple(observer.violations),
        figures=_figures(observer, rate_per_minute=rate, elapsed_s=elapsed_s)
        | {"lanes": lane_figures(observer.lanes)}
        | {"bots": bot_figures(observer.bots, admitted=observer.admitted)},
        curve=tuple(observer.over_time.curve),
        rate_per_minute=rate,
        burst=plan.burst,
    )


def _rate_per_minute(observer: Observer, plan: CrowdPlan) -> float | None:
    """The rate of the plan, or the highest rate that the gate reported, if it reported any."""
    if plan.rate_per_minute is not None:
        return plan.rate_per_minute
    reported = [sample.rate_per_minute for sample in observer.samples]
    if observer.reported_rate_per_minute is not None:
        reported.append(observer.reported_rate_per_minute)
    return max(reported, default=None)


def _crowd_late_s(observer: Observer) -> float:
    spread = _spread(observer.client_delay_s)
    return spread["p99"] if spread else 0.0


def _opening_promises(
    observer: Observer, plan: CrowdPlan, *, rate_per_minute: float, elapsed_s: float
) -> Iterator[Promise]:
    if observer.opening is not None:
        yield from opening_promises(
            observer.opening,
            rate_per_minute=rate_per_minute,
            burst=plan.burst + plan.granted + _max_returned(observer),
            crowd_late_s=_crowd_late_s(observer),
            elapsed_s=elapsed_s,
        )


def _order_promise(observer: Observer) -> Promise:
    order = observer.order
    if not order.inversions and (not order.responses_judged or not observer.admitted):
        return Promise(ORDER, None, "no visitor waited while others were admitted")
    by_draw = "" if observer.opening is None else " against the drawn order"
    detail = (
        f"{order.inversions:,} inversions{by_draw} in {order.responses_judged:,} waiting responses"
    )
    if order.inversions:
        first = order.examples[0]
        early_s = (first.admitted_turn_us - first.waiting_turn_us) / 1e6
        is_request = first.admitted_turn_us == AFTER_ALL_US
        by = "a request without a place" if is_request else f"{early_s:.3f} s"
        detail += f"; {order.overtaken:,} visitors overtaken, the first by {by}"
    return Promise(ORDER, not order.inversions, detail)


def _release_delay_promise(observer: Observer) -> Promise:
    delays = observer.release_delays
    if not delays.certain_s:
        return Promise(RELEASE_DELAY, None, "no visitor waited near the front")
    late = sum(each_s > MAX_RELEASE_DELAY_S for each_s in delays.certain_s)
    observed = _spread(delays.delays_s)
    assert observed is not None
    return Promise(
        RELEASE_DELAY,
        not late,
        f"{late:,} of {len(delays.certain_s):,} visitors near the front admitted more than "
        f"{MAX_RELEASE_DELAY_S:g} s after release; p99 {observed['p99']:.2f} s, "
        f"max {observed['max']:.2f} s, certainly the gate's: max {max(delays.certain_s):.2f} s",
    )


def _rate_promise(observer: Observer, plan: CrowdPlan, *, rate_per_minute: float | None) -> Promise:
    allowed = plan.burst + plan.granted
    if not observer.admitted_ended_s and len(observer.samples) < 2:
        return Promise(RATE, None, "no visitor was admitted")
    if rate_per_minute is None:
        return Promise(
            RATE, None, "the rate is unknown, since no visitor waited; needs --rate or --admin"
        )
    excess, has_counts = _max_above_rate(observer, rate_per_minute=rate_per_minute)
    in_a_minute = _max_in_a_minute(observer)
    allowed += _max_returned(observer) > 0  # the bucket may hold a fraction more than the burst
    allowed_in_a_minute = math.floor(rate_per_minute) + allowed
    source = "the gate's counts and responses" if has_counts else "responses"
    return Promise(
        RATE,
        excess <= allowed and in_a_minute <= allowed_in_a_minute,
        f"at most {in_a_minute:,} admissions in any minute, {allowed_in_a_minute:,} allowed; "
        f"at most {max(excess, 0):.1f} above {rate_per_minute:g}/min in any span, "
        f"{allowed:,} allowed; by {source}",
    )


def _max_above_rate(observer: Observer, *, rate_per_minute: float) -> tuple[float, bool]:
    """The larger excess by either kind of evidence, and whether the gate's counts were available.

    The gate's counts are more precise. The responses reveal wrong counts.
    """
    counted = max_above_rate(observer.samples, rate_per_minute=rate_per_minute)
    observed = max_certain_above_rate(
        rate_per_minute, began_s=observer.admitted_began_s, ended_s=observer.admitted_ended_s
    )
    observed -= _max_returned(observer)
    return max(observed, -math.inf if counted is None else counted), counted is not None


def _max_returned(observer: Observer) -> int:
    """The most admissions that unclaimed releases gave back."""
    samples, record = observer.samples, observer.pressure
    if len(samples) < 2:
        return record.silent + record.leaving
    return max(each.returned_possible for each in samples) - samples[0].returned_certain


def _max_in_a_minute(observer: Observer) -> int:
    observed = max_certain_in_window(
        _WINDOW_S, began_s=observer.admitted_began_s, ended_s=observer.admitted_ended_s
    )
    counted = max_counted_in_window(_WINDOW_S, observer.samples) or 0
    return max(observed - _max_returned(observer), counted, 0)


def _max_active_promise(observer: Observer) -> Promise:
    excess = max_above_limit(observer.samples)
    if excess is None:
        reason = "max_active is not set" if observer.samples else "needs --admin"
        return Promise(MAX_ACTIVE, None, reason)
    limit = observer.samples[-1].max_active
    detail = f"at most {limit + excess:,} active, {limit:,} allowed"
    return Promise(MAX_ACTIVE, excess <= 0, detail)


def _watermark_promise(observer: Observer) -> Promise:
    fall_us = max_watermark_fall_us(observer.samples)
    if fall_us is None:
        return Promise(WATERMARK, None, "needs --admin")
    samples = f"in {len(observer.samples):,} samples"
    if fall_us:
        return Promise(WATERMARK, False, f"fell by up to {fall_us / 1e6:.3f} s {samples}")
    return Promise(WATERMARK, True, f"never fell {samples}")


def _places_promise(observer: Observer) -> Promise:
    lost, moved = observer.places_lost, observer.places_moved
    if not observer.order.responses_judged:
        return Promise(PLACES, None, "no visitor waited")
    return Promise(PLACES, not (lost or moved), f"{lost:,} lost, {moved:,} changed")


def _sessions_promise(observer: Observer) -> Promise:
    if not observer.visits and not observer.sent_back:
        return Promise(SESSIONS, None, "no admitted visitor sent a request")
    return Promise(
        SESSIONS,
        not observer.sent_back,
        f"{observer.visits:,} requests of admitted visitors forwarded, "
        f"{observer.sent_back:,} received a waiting response",
    )


def _forged_tokens_promise(observer: Observer) -> Promise:
    forged = observer.forged_tokens
    if not forged.tried:
        return Promise(FORGED_TOKENS, None, "none were sent")
    detail = f"{forged.accepted:,} of {forged.tried:,} accepted"
    if forged.accepted:
        detail += f"; the first: {forged.examples[0]}"
    return Promise(FORGED_TOKENS, not forged.accepted, detail)


def _figures(observer: Observer, *, rate_per_minute: float, elapsed_s: float) -> dict[str, Any]:
    released = (
        observer.samples[-1].released_total - observer.samples[0].released_total
        if observer.samples
        else None
    )
    opening = observer.opening
    return {
        "opening": opening and opening_figures(opening, rate_per_minute=rate_per_minute),
        "elapsed_s": round(elapsed_s, 3),
        "arrived": observer.arrived,
        "admitted": observer.admitted,
        "admitted_at_once": observer.admitted_at_once,
        "still_waiting": observer.waiting,
        "kinds": dict(sorted(observer.kinds.items())),
        "requests": observer.requests,
        "requests_per_s": round(observer.requests / max(elapsed_s, 1e-9), 1),
        "failures": dict(observer.failures.most_common()),
        "rate_per_minute": rate_per_minute,
        "most_admitted_in_60_s": _max_in_a_minute(observer),
        "most_above_rate": round(_max_above_rate(observer, rate_per_minute=rate_per_minute)[0], 2)
        if observer.admitted_ended_s
        else None,
        "released": released,
        "above_max_active": max_above_limit(observer.samples),
        "above_max_active_at_s": next(
            (each.ended_s for each in observer.samples if 0 < each.max_active < each.active), None
        ),
        "most_inside": max((each.active for each in observer.samples), default=None),
        "wait_s": _spread(observer.waits_s),
        "near_front": len(observer.release_delays.delays_s),
        "let_in_after_release_s": _spread(observer.release_delays.delays_s),
        "gate_delay_after_release_s": _spread(observer.release_delays.certain_s),
        "eta_error_s": _spread(observer.eta_errors_s),
        "eta_error_share": _spread(
            [
                error / max(reported, 1.0)
                for error, reported in zip(
                    observer.eta_errors_s, observer.reported_eta_s, strict=True
                )
            ]
        ),
        "polls_per_visitor": _poll_figures(observer),
        "responses_judged": observer.order.responses_judged,
        "responses_excused": observer.order.responses_excused,
        "inversions": observer.order.inversions,
        "forged_tokens": observer.forged_tokens.tried,
        **pressure_figures(observer.pressure),
        "response_s": _spread(observer.response_times_s),
        "crowd_late_s": _spread(observer.client_delay_s),
    }


def _poll_figures(observer: Observer) -> dict[str, float] | None:
    """Polls per waiting visitor, and how many a fixed interval would have caused."""
    if not observer.polls:
        return None
    fixed = sum(math.ceil(wait_s / _FIXED_INTERVAL_S) for wait_s in observer.polled_s)
    return {
        "mean": round(statistics.fmean(observer.polls), 2),
        "at_a_fixed_5_s": round(fixed / len(observer.polls), 2),
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    """Minimum, median, 99th percentile and maximum; None without values."""
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
