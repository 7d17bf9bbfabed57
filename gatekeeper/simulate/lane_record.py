"""Judges whether visitors of lanes got their head start, from recorded evidence.

Rules. No I/O. The turn of a member has to be the arrival less the head start, or later because a
turn was released before:

    turn < arrival - head start                           broken: earlier than the lane allows
    turn <= a turn that was certainly released before     broken: before a released turn
    turn = arrival                                        broken: no head start
    arrival - head start < turn < arrival                 one above a turn of the crowd, which was
                                                          released; else broken

In the prequeue of a draw the turn is the arrival, and after it not before the prequeue: there the
order of the draw is judged instead. A member that confirms after others were released may be moved
behind them, once. If it is admitted by that poll, the crowd does not see its new turn: that many
turns may be unknown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from gatekeeper.simulate.evidence import Promise
from gatekeeper.simulate.gate_response import ObservedResponse, Outcome
from gatekeeper.simulate.visitor import Action, Visitor

LANES: Final = "lanes"
_UNRELEASED: Final = -1


@dataclass(slots=True)
class LaneRecord:
    """The record of the visitors of lanes in one run. `is_kept`: whether the crowd has lanes."""

    is_kept: bool = True
    arrived: Counter[str] = field(default_factory=Counter)
    admitted: Counter[str] = field(default_factory=Counter)
    behind: list[int] = field(default_factory=list)  # turns behind what was released
    moved: int = 0  # while they confirmed
    entered_at_once: int = 0  # by the poll that confirmed them
    broken: Counter[str] = field(default_factory=Counter)
    _released_us: int = _UNRELEASED  # the highest turn that was certainly released
    _turns_us: set[int] = field(default_factory=set)  # of the crowd
    _known_us: dict[int, int] = field(default_factory=dict)  # by visitor, when the arrival began

    def arrival_began(self, visitor: Visitor) -> None:
        if visitor.lane is not None:
            self._known_us[visitor.number] = self._released_us

    def received_ticket(
        self, visitor: Visitor, response: ObservedResponse, *, by_draw: bool
    ) -> str | None:
        """Record the response to an arrival; returns the violation, if any. `by_draw`: an event
        orders its visitors."""
        lane, claims = visitor.lane, response.claims
        if self.is_kept and claims is not None:
            self._turns_us.add(claims.turn_us)
        if lane is None or claims is None or response.outcome is not Outcome.WAITING:
            return None
        self.arrived[lane.name] += 1
        released_us = self._known_us.pop(visitor.number, _UNRELEASED)
        ahead_us = claims.arrival_us - claims.turn_us
        head_start_us = round(lane.head_start_s * 1_000_000)
        problem = None
        if claims.lane != lane.name:
            problem = "received a ticket without its lane"
        elif ahead_us > head_start_us:
            problem = "has a longer head start than its lane"
        elif ahead_us > 0 and claims.turn_us <= released_us:
            problem = "stands before a released turn"
        elif ahead_us <= 0 and not by_draw:
            problem = "has no head start"
        elif 0 < ahead_us < head_start_us and not by_draw:
            self.behind.append(claims.turn_us)
        if problem is not None:
            self.broken[problem] += 1
        return problem

    def may_move(self, visitor: Visitor, turn_us: int) -> bool:
        """Whether a member's place may change to this turn: after turns that were released while it
        confirmed."""
        if self.is_kept:
            self._turns_us.add(turn_us)
        is_behind = turn_us > visitor.place.turn_us
        if visitor.lane is not None and is_behind and _is_confirming(visitor):
            self.moved += 1
            return True
        return False

    def received_admitted(self, visitor: Visitor) -> None:
        """A visitor was admitted, by a poll at its turn."""
        if visitor.next_action is Action.POLL:
            self._released_us = max(self._released_us, visitor.place.turn_us)
        if visitor.lane is not None:
            self.admitted[visitor.lane.name] += 1
            self.entered_at_once += _is_confirming(visitor)

    @property
    def unexplained(self) -> int:
        """The number of members behind a turn that certainly no visitor of the crowd had."""
        found = [turn_us for turn_us in self.behind if turn_us - 1 not in self._turns_us]
        return len(found) if len(set(found)) > self.entered_at_once else 0


def _is_confirming(visitor: Visitor) -> bool:
    """Whether the present request is the first poll."""
    return visitor.place.confirm_began_s == visitor.place.sent_s


def lane_promise(record: LaneRecord) -> Promise:
    """Members have their head start, and none is placed before a released turn."""
    count = record.arrived.total()
    if not count:
        return Promise(LANES, None, "no visitor of a lane arrived")
    wrong = record.broken.total() + record.unexplained
    detail = (
        f"{count - wrong:,} of {count:,} members with their head start; "
        f"{len(record.behind) - record.unexplained:,} of them behind what was released, "
        f"{record.broken['stands before a released turn']:,} before it"
    )
    if record.broken:
        worst, times = record.broken.most_common(1)[0]
        detail += f"; {times:,} times: {worst}"
    if record.unexplained:
        detail += f"; {record.unexplained:,} times: a shorter head start, and nothing released"
    return Promise(LANES, not wrong, detail)


def lane_figures(record: LaneRecord) -> dict[str, Any]:
    """The figures of a verdict, by lane."""
    return {
        name: {"arrived": count, "admitted": record.admitted[name]}
        for name, count in sorted(record.arrived.items())
    }
