"""How long a store that lost the line waits for its visitors to return.

Rules. A visitor returns within the poll interval that the gate sent them last. It followed from the
line and the rate of that time: both may have changed since, and after a loss the store knows only
the visitors that have returned so far. So for every state that it received, a replica keeps by when
its visitors poll again. Pure: instants are of the store's clock, as the states have them.
"""

from __future__ import annotations

from gatekeeper.policy.pacing import OPENING_SPREAD, RETURN_MARGIN, recovery_s, return_s
from gatekeeper.policy.rules import Rules
from gatekeeper.room.state import RoomState


class ReturnWindow:
    """The return window of one room on one replica."""

    def __init__(self) -> None:
        self._interval_ends_us = 0
        self._line = self._released = 0  # the last complete line, and the releases at that time

    def note(self, state: RoomState, *, rules: Rules) -> None:
        """Visitors receive poll intervals by this state; during a recovery, by the estimated place
        in the line before the loss."""
        waiting = state.queue_length
        if state.recovering_until_us > state.now_us:
            waiting = max(waiting, self._line - max(state.released_total - self._released, 0))
        else:
            self._line, self._released = waiting, state.released_total
        interval_s = return_s(
            waiting,
            rate_per_minute=state.expected_rate_per_minute,
            rules=rules,
            is_opening=is_opening(state, rules),
        )
        self._interval_ends_us = max(
            self._interval_ends_us, state.now_us + round(interval_s * 1_000_000)
        )

    def seconds(self, known: RoomState | None, *, rules: Rules) -> float:
        """The seconds within which all visitors in line at the newest known state or before
        return."""
        if known is None:
            return recovery_s(0, rate_per_minute=rules.rate_per_minute, rules=rules)
        window_s = recovery_s(
            known.queue_length,
            rate_per_minute=known.expected_rate_per_minute,
            rules=rules,
            is_opening=is_opening(known, rules),
        )
        # No interval is longer, whatever the clock of another store was.
        longest_s = rules.longest_poll_interval_s * RETURN_MARGIN * OPENING_SPREAD
        interval_s = (self._interval_ends_us - known.now_us) / 1_000_000
        return max(window_s, min(interval_s, longest_s))


def is_opening(state: RoomState, rules: Rules) -> bool:
    """Whether visitors may still wait for a poll time after a draw that was sent before it."""
    spread_us = round(2 * rules.longest_poll_interval_s * 1_000_000)
    return state.schedule.is_opening(state.now_us, spread_us=spread_us)
