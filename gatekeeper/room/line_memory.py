"""What a replica keeps of its waiting visitors, for the time after a loss of the store: what
was sent to them last (`told_intervals`), and where they stood (`line_places`)."""

from __future__ import annotations

import time
from collections.abc import Callable

from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.ordering import PROVISIONAL_US, Ordering, turn_of
from gatekeeper.policy.tokens import Ticket
from gatekeeper.room.line_places import LinePlaces
from gatekeeper.room.state import RoomState
from gatekeeper.room.told_intervals import ToldIntervals


class LineMemory:
    """Of one room on one replica."""

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.told = ToldIntervals(monotonic_s=monotonic_s)
        self._places = LinePlaces()

    def note_told(
        self,
        ticket: Ticket,
        position: QueuePosition | None,
        interval_s: float,
        *,
        state: RoomState | None,
        ordering: Ordering,
    ) -> None:
        """A response asks this visitor to poll again after `interval_s`. `position`: as the store
        has just given it; None: it did not respond."""
        turn_us = turn_of(ticket, ordering) if position is None else position.turn_us
        if state is None or not _knows_turn(turn_us, state):
            self.told.note(0, interval_s, in_store=position is not None and position.confirmed)
        elif position is None or not position.confirmed:
            self.told.note(turn_us, interval_s, in_store=False)
        else:
            self.told.note(turn_us, interval_s, in_store=True)
            if not state.is_recovering:
                self._places.note(
                    turn_us,
                    position.ahead,
                    released_total=state.released_total,
                    now_us=state.now_us,
                )

    def ahead_of(
        self,
        ticket: Ticket,
        position: QueuePosition | None,
        *,
        state: RoomState | None,
        ordering: Ordering,
    ) -> int | None:
        """About how many visitors are ahead, also of visitors whom the store does not know now;
        None: unknown."""
        turn_us = turn_of(ticket, ordering) if position is None else position.turn_us
        if state is None or not _knows_turn(turn_us, state):
            return None
        return self._places.ahead_of(turn_us, released_total=state.released_total)


def _knows_turn(turn_us: int, state: RoomState) -> bool:
    """Whether no draw can still give this visitor another turn."""
    return state.knows_turns and turn_us < PROVISIONAL_US
