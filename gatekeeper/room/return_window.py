"""How long a store that lost the line waits for its visitors to return.

Rules. A visitor returns by the poll interval that the gate sent them last. That was sent by the
line and the rate of that moment: both may have changed since, and after a loss the store knows only
the visitors that have returned so far. So a replica keeps until when the visitors of every state
that it received poll again. Pure: instants are of the store's clock, as the states have them.
"""

from __future__ import annotations

from gatekeeper.policy.pacing import OPENING_SPREAD, RETURN_MARGIN, recovery_s, return_s
from gatekeeper.policy.rules import Rules
from gatekeeper.room.state import RoomState


class ReturnWindow:
    """Of one room on one replica."""

    def __init__(self) -> None:
        self._told_until_us = 0
        self._line = self._released = 0  # the line when all of it was known, and the releases then

    def note(self, state: RoomState, *, rules: Rules) -> None:
        """Visitors received poll intervals by this state, or in a recovery by the estimated place
        in the line of before it."""
        waiting = state.queue_length
        if state.recovering_until_us > state.now_us:
            waiting = max(waiting, self._line - max(state.released_total - self._released, 0))
        else:
            self._line, self._released = waiting, state.released_total
        told_s = return_s(
            waiting,
            rate_per_minute=state.expected_rate_per_minute,
            rules=rules,
            is_opening=is_opening(state, rules),
        )
        self._told_until_us = max(self._told_until_us, state.now_us + round(told_s * 1_000_000))

    def seconds(self, known: RoomState | None, *, rules: Rules) -> float:
        """How long the visitors need who were in line at the newest known state or before."""
        if known is None:
            return recovery_s(0, rate_per_minute=rules.rate_per_minute, rules=rules)
        window_s = recovery_s(
            known.queue_length,
            rate_per_minute=known.expected_rate_per_minute,
            rules=rules,
            is_opening=is_opening(known, rules),
        )
        # No interval is longer, wherever the clock of another store stood.
        longest_s = rules.longest_poll_interval_s * RETURN_MARGIN * OPENING_SPREAD
        told_s = (self._told_until_us - known.now_us) / 1_000_000
        return max(window_s, min(told_s, longest_s))


def is_opening(state: RoomState, rules: Rules) -> bool:
    """Whether visitors may have received before a draw when to poll after it."""
    spread_us = round(2 * rules.longest_poll_interval_s * 1_000_000)
    return state.schedule.is_opening(state.now_us, spread_us=spread_us)
