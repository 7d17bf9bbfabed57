"""What a gate may do under disruption without breaking a promise. Pure.

A gate that starts while the store is empty, and calls it first, cannot know what was admitted the
moment before: one burst for each such loss (granted in the plan of `trial`). A replica that can
reach neither the store nor the other replicas cannot know which visitors left just now, so it may
accept their tickets once more; so may a replica that has not yet received the event of a visitor
who left just before the store lost its data. A store that lost its data has forgotten which
releases were missed; a store that recovers with older data has visitors in line who were admitted
or left since. An admitted visitor whose requests failed until after the recovery is counted again
when the slots are full; this concerns one or two visitors. The delay near the front, the waits, the
throughput and the delay of the opening are not judged. A visitor whom a store lost before the draw
returns to the drawn turn, and may be missing in the list of participants. Nothing else is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gatekeeper.simulate.event_watch import NOT_LISTED
from gatekeeper.simulate.observer import (
    FORGED_TICKET_ACCEPTED,
    FORGED_VISIT_ADMITTED,
    MAX_VIOLATIONS,
    SPENT_TICKET_ACCEPTED,
)
from gatekeeper.simulate.opening_promises import DRAW, FIRST_MINUTE, PROMPT, QUIET
from gatekeeper.simulate.pressure_promises import FLOODS, LURKERS, THROUGHPUT, WAITS
from gatekeeper.simulate.pressure_record import LURKER_AHEAD, WAITED_LONGER
from gatekeeper.simulate.verdict import FORGED_TOKENS, MAX_ACTIVE, RELEASE_DELAY, Verdict
from tests.chaos.disruption_times import ISOLATING, LOSSES, STORE_UNREACHABLE, DisruptionKind
from tests.chaos.faults import RELEASED_WHILE_HELD

_RECOVERY_S = 1.5  # a timeout and a tick, and a worker that starts again
_EVENT_S = 0.5  # until a busy replica has received an event
_DELAYING = {*STORE_UNREACHABLE, DisruptionKind.WORKER_PAUSED}  # no call reaches the store
_LATE_SESSIONS = 2
_PACE = {RELEASE_DELAY, WAITS, THROUGHPUT, PROMPT, FIRST_MINUTE, QUIET}
_ACCEPTED = {FORGED_VISIT_ADMITTED, FORGED_TICKET_ACCEPTED, SPENT_TICKET_ACCEPTED}

AppliedDisruption = tuple[DisruptionKind, float, float]  # kind, start and end in seconds


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold of the queue, and the increase of the gate's count of releases during it.

    After a loss each replica writes back what it knows, including the count of releases. Those
    releases were before the loss. A paused worker writes back when it continues. So the count is
    judged only when no replica can still write back.
    """

    began_s: float
    ended_s: float
    released: int

    @property
    def problem(self) -> str:
        return f"{self.released} visitors {RELEASED_WHILE_HELD}"

    def is_broken(self, applied: Sequence[AppliedDisruption]) -> bool:
        return self.released > 0 and not any(
            began_s <= self.ended_s and self.began_s <= until_s
            for began_s, until_s in write_back_intervals(applied)
        )


def write_back_intervals(applied: Sequence[AppliedDisruption]) -> Iterator[tuple[float, float]]:
    """From each loss until every replica has called a store that responds."""
    delays = sorted((began_s, ended_s) for kind, began_s, ended_s in applied if kind in _DELAYING)
    for kind, began_s, ended_s in applied:
        if kind not in LOSSES:
            continue
        until_s = ended_s + _RECOVERY_S
        for delay_began_s, delay_ended_s in delays:
            if delay_began_s <= until_s and delay_ended_s >= began_s:
                until_s = max(until_s, delay_ended_s + _RECOVERY_S)
        yield began_s, until_s


def isolated_intervals(applied: Sequence[AppliedDisruption]) -> list[tuple[float, float]]:
    """When the store was unreachable while a replica received no events, or had just started; and
    the first moment after a loss, when an event may still be in transit."""
    losses = [(began_s, ended_s + _EVENT_S) for kind, began_s, ended_s in applied if kind in LOSSES]
    isolating = [(began_s, ended_s) for kind, began_s, ended_s in applied if kind in ISOLATING]
    return losses + [
        (max(began_s, other_s), ended_s + _RECOVERY_S)
        for kind, began_s, ended_s in applied
        if kind in STORE_UNREACHABLE
        for other_s, until_s in isolating
        if other_s <= ended_s and began_s <= until_s + _RECOVERY_S
    ]


def with_allowances(verdict: Verdict, applied: Sequence[AppliedDisruption]) -> Verdict:
    """The verdict of a run with these disruptions."""
    verdict = without_pace(verdict)
    verdict = without_forgotten_misses(verdict, applied)
    verdict = without_restored_places(verdict, applied)
    verdict = without_late_sessions(verdict, applied)
    verdict = without_lost_participants(verdict, applied)
    return without_allowed_replays(verdict, isolated=isolated_intervals(applied))


def without_pace(verdict: Verdict) -> Verdict:
    """Delay, waits and throughput are not judged: an unreachable store releases no visitor."""
    promises = tuple(
        replace(each, held=None, detail=f"the store was unreachable at times; {each.detail}")
        if each.name in _PACE
        else each
        for each in verdict.promises
    )
    kept = tuple(each for each in verdict.violations if each.what != WAITED_LONGER)
    return replace(verdict, promises=promises, violations=kept)


def without_forgotten_misses(verdict: Verdict, applied: Sequence[AppliedDisruption]) -> Verdict:
    """Without the lurkers that kept their place after the store lost their missed releases."""
    lost_s = min((began_s for kind, began_s, _ in applied if kind in LOSSES), default=math.inf)
    kept = tuple(
        each for each in verdict.violations if each.what != LURKER_AHEAD or each.at_s < lost_s
    )
    if len(verdict.violations) >= MAX_VIOLATIONS or any(each.what == LURKER_AHEAD for each in kept):
        return verdict
    return replace(_allowing(verdict, LURKERS, "after a store had lost its data"), violations=kept)


def without_restored_places(verdict: Verdict, applied: Sequence[AppliedDisruption]) -> Verdict:
    """Places without a visitor are allowed after a store recovered with older data."""
    restored_s = min(
        (began_s for kind, began_s, _ in applied if kind is DisruptionKind.STORE_KILLED),
        default=math.inf,
    )
    at_s = verdict.figures["places_above_visitors_at_s"]
    if at_s is None or at_s < restored_s:
        return verdict
    return _allowing(verdict, FLOODS, "after a store had come back with older data")


def without_late_sessions(verdict: Verdict, applied: Sequence[AppliedDisruption]) -> Verdict:
    """A pass counts whenever it is used, even if the store lost its slot and gave it to another
    visitor."""
    lost_s = min((began_s for kind, began_s, _ in applied if kind in LOSSES), default=math.inf)
    at_s, excess = verdict.figures["above_max_active_at_s"], verdict.figures["above_max_active"]
    if at_s is None or at_s < lost_s or excess > _LATE_SESSIONS:
        return verdict
    return _allowing(verdict, MAX_ACTIVE, "after a store had lost its data")


def without_lost_participants(verdict: Verdict, applied: Sequence[AppliedDisruption]) -> Verdict:
    """A visitor that returned after the draw is no participant, if the store had lost its place."""
    has_loss = any(kind in LOSSES for kind, _, _ in applied)
    is_only_that = all(
        NOT_LISTED in problem
        for each in verdict.promises
        if each.name == DRAW and each.held is False
        for problem in each.detail.split("; ")
    )
    if not has_loss or not is_only_that:
        return verdict
    return _allowing(verdict, DRAW, "after a store had lost its data")


def _allowing(verdict: Verdict, name: str, when: str) -> Verdict:
    promises = tuple(
        replace(each, held=True, detail=f"only {when}: {each.detail}")
        if each.name == name and each.held is False
        else each
        for each in verdict.promises
    )
    return replace(verdict, promises=promises)


def without_allowed_replays(verdict: Verdict, *, isolated: list[tuple[float, float]]) -> Verdict:
    """Without the spent tickets accepted while a replica could not know that they were spent."""
    allowed = [
        each
        for each in verdict.violations
        if each.what == SPENT_TICKET_ACCEPTED and any(s <= each.at_s <= e for s, e in isolated)
    ]
    kept = tuple(each for each in verdict.violations if each not in allowed)
    if len(verdict.violations) >= MAX_VIOLATIONS or any(each.what in _ACCEPTED for each in kept):
        return verdict
    detail = f"{len(allowed)} accepted by a replica without store and events"
    promises = tuple(
        replace(each, held=True, detail=detail) if allowed and each.name == FORGED_TOKENS else each
        for each in verdict.promises
    )
    return replace(verdict, promises=promises, violations=kept)
