"""The promises about the opening of an event, each held, broken or not judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gatekeeper.simulate.evidence import Promise
from gatekeeper.simulate.opening import (
    MAX_FIRST_ADMISSION_S,
    MAX_REQUESTS,
    OpeningRecord,
    early_admissions,
    first_admission_s,
    first_minute,
    quiet_opening,
)

EARLY = "nobody early"
PROMPT = "first admission"
DRAW = "draw"
FIRST_MINUTE = "first minute"
QUIET = "quiet opening"
_CLAIM_S = 2.0  # visitors near the front poll every second


def opening_promises(
    record: OpeningRecord,
    *,
    rate_per_minute: float,
    burst: int,
    crowd_late_s: float,
    elapsed_s: float,
) -> Iterator[Promise]:
    """`burst` includes what was granted; `crowd_late_s`: how late the crowd sent its requests;
    `elapsed_s`: when the run ended."""
    yield _early(record)
    yield _prompt(record, crowd_late_s=crowd_late_s, elapsed_s=elapsed_s)
    yield _draw(record)
    yield _first_minute(
        record, rate_per_minute=rate_per_minute, burst=burst, crowd_late_s=crowd_late_s
    )
    yield _quiet(record)


def _early(record: OpeningRecord) -> Promise:
    early = early_admissions(record)
    if early is None:
        return Promise(EARLY, None, "no visitor came in the prequeue")
    detail = f"{early:,} of {record.participants:,} visitors of the prequeue admitted before start"
    return Promise(EARLY, not early, detail)


def _prompt(record: OpeningRecord, *, crowd_late_s: float, elapsed_s: float) -> Promise:
    limit_s = MAX_FIRST_ADMISSION_S + crowd_late_s
    first, start_s = first_admission_s(record), record.start_s
    if start_s is None:
        return Promise(PROMPT, None, "no visitor came in the prequeue")
    if first is None:
        is_late = elapsed_s - start_s > limit_s
        detail = f"none, {max(elapsed_s - start_s, 0):.1f} s after the start"
        return Promise(PROMPT, False if is_late else None, detail)
    earliest_s, observed_s = first
    return Promise(
        PROMPT,
        earliest_s <= limit_s,
        f"{observed_s:.1f} s after the start, {MAX_FIRST_ADMISSION_S:g} s allowed",
    )


def _draw(record: OpeningRecord) -> Promise:
    problems = record.draw_problems
    if problems is None:
        return Promise(DRAW, None, "the draw was not public before the end of the run")
    if problems:
        return Promise(DRAW, False, "; ".join(problems))
    return Promise(
        DRAW,
        True,
        f"the record is consistent with itself and with the crowd: {record.participants:,} "
        f"visitors of the prequeue, {record.late:,} after the start",
    )


def _first_minute(
    record: OpeningRecord, *, rate_per_minute: float, burst: int, crowd_late_s: float
) -> Promise:
    minute = first_minute(record, rate_per_minute=rate_per_minute)
    if minute is None:
        return Promise(FIRST_MINUTE, None, "visitors did not wait long enough to measure the rate")
    return Promise(
        FIRST_MINUTE,
        minute.keeps_rate(burst=burst, late_s=_CLAIM_S + crowd_late_s),
        f"{minute.admissions:,} admissions in the first {minute.duration_s:.1f} s, "
        f"{minute.expected:.1f} expected",
    )


def _quiet(record: OpeningRecord) -> Promise:
    quiet = quiet_opening(record)
    if quiet is None:
        return Promise(QUIET, None, "no line of about the same length a minute later")
    return Promise(
        QUIET,
        quiet.ratio <= MAX_REQUESTS,
        f"at most {quiet.peak_per_s:.1f} polls/s around the start, {quiet.later_per_s:.1f} a "
        f"minute later: {quiet.ratio:.2f} times, {MAX_REQUESTS:g} allowed",
    )


def opening_figures(record: OpeningRecord, *, rate_per_minute: float) -> dict[str, Any]:
    first, quiet = first_admission_s(record), quiet_opening(record)
    minute = first_minute(record, rate_per_minute=rate_per_minute)
    start_s, drawn_s = record.start_s, record.drawn_s
    return {
        "event": record.announced.event,
        "participants": record.participants,
        "arrived_after_start": record.late,
        "early": early_admissions(record),
        "start_s": None if start_s is None else round(start_s, 3),
        "drawn_after_s": None
        if start_s is None or drawn_s is None
        else round(drawn_s - start_s, 3),
        "first_admission_s": None if first is None else round(first[1], 3),
        "first_minute": None
        if minute is None
        else {
            "seconds": round(minute.duration_s, 1),
            "admissions": minute.admissions,
            "expected": round(minute.expected, 1),
        },
        "polls_per_s": None
        if quiet is None
        else {
            "peak": round(quiet.peak_per_s, 1),
            "later": round(quiet.later_per_s, 1),
            "ratio": round(quiet.ratio, 3),
        },
    }
