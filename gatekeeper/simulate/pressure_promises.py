"""The promises about floods, lurkers and no-shows, each held, broken or not judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gatekeeper.simulate.evidence import Promise
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.pressure import MAX_LATE_S, MAX_MISSES, MAX_SHARE, MIN_SHARE
from gatekeeper.simulate.pressure_record import PressureRecord

WAITS = "waits"
THROUGHPUT = "throughput"
FLOODS = "floods"
LURKERS = "lurkers"


def pressure_promises(
    record: PressureRecord, plan: CrowdPlan, *, crowd_late_s: float
) -> Iterator[Promise]:
    """The promises of a run. `crowd_late_s`: how late the crowd itself sent its requests."""
    yield _waits(record)
    yield _throughput(record, plan, crowd_late_s=crowd_late_s)
    yield _floods(record)
    yield _lurkers(record)


def _waits(record: PressureRecord) -> Promise:
    waits = record.waits
    if not waits.judged:
        return Promise(WAITS, None, "no visitor waited long enough for a promise")
    detail = (
        f"{waits.late:,} of {waits.judged:,} waits that position and rate promised were exceeded "
        f"by more than {MAX_LATE_S:g} s"
    )
    if waits.worst_s > 0:
        detail += f"; at most {waits.worst_s:.1f} s longer"
    return Promise(WAITS, not waits.late, detail)


def _throughput(record: PressureRecord, plan: CrowdPlan, *, crowd_late_s: float) -> Promise:
    span = record.throughput.longest
    if span is None:
        return Promise(THROUGHPUT, None, "no visitors waited long enough to measure the rate")
    edge = span.edge(crowd_late_s)
    return Promise(
        THROUGHPUT,
        span.keeps_rate(granted=plan.granted, edge=edge),
        f"the origin received {span.share:.1%} of the rate while visitors waited: "
        f"{span.admissions:,} in {span.duration_s:.1f} s, {span.expected:.1f} expected "
        f"({MIN_SHARE:.0%} to {MAX_SHARE:.0%} and {edge:.0f} at the ends allowed)",
    )


def _floods(record: PressureRecord) -> Promise:
    floods, excess = record.floods, record.queue.excess
    sent = f"{floods.sent:,} requests without a cookie, {floods.forwarded:,} straight through"
    if excess is None:
        return Promise(FLOODS, None, f"{sent}; places need --admin")
    if excess > 0:
        return Promise(FLOODS, False, f"{sent}; {excess:,} more places than visitors in line")
    return Promise(FLOODS, True, f"{sent}; never more places than visitors in line")


def _lurkers(record: PressureRecord) -> Promise:
    lurkers = record.lurkers
    if not lurkers.judged:
        reason = f"no lurker missed {MAX_MISSES} releases" if lurkers.misses else "none missed"
        return Promise(LURKERS, None, reason)
    return Promise(
        LURKERS,
        not lurkers.ahead,
        f"{lurkers.misses:,} missed releases; after {MAX_MISSES} of them "
        f"{lurkers.ahead:,} of {lurkers.judged:,} times ahead of earlier visitors",
    )


def pressure_figures(record: PressureRecord) -> dict[str, Any]:
    floods, lurkers, span = record.floods, record.lurkers, record.throughput.longest
    return {
        "throughput_share": None if span is None else round(span.share, 4),
        "places_above_visitors": record.queue.excess,
        "places_above_visitors_at_s": record.queue.excess_at_s,
        "floods": {
            "sent": floods.sent,
            "skipped": floods.skipped,
            "turned_away": floods.turned_away,
            "straight_through": floods.forwarded,
            "bypassed": floods.bypassed,
            "failures": dict(floods.failures.most_common()),
        },
        "lurkers": {"missed_releases": lurkers.misses, "admitted": lurkers.admitted},
    }
