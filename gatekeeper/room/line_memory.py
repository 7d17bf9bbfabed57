"""What a replica keeps of its waiting visitors, for the time after a loss of the store: the poll
intervals that were sent to them last (`outstanding_polls`), and where they stood
(`line_places`)."""

from __future__ import annotations

import time
from collections.abc import Callable

from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.ordering import PROVISIONAL_US, Ordering, turn_of
from gatekeeper.policy.tokens import Ticket
from gatekeeper.room.line_places import LinePlaces
from gatekeeper.room.outstanding_polls import OutstandingPolls
from gatekeeper.room.state import RoomState


class LineMemory:
    """The outstanding polls and known places of one room on one replica."""

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.outstanding_polls = OutstandingPolls(monotonic_s=monotonic_s)
        self._places = LinePlaces()

    def note_poll_interval(
        self,
        ticket: Ticket,
        position: QueuePosition | None,
        interval_s: float,
        *,
        state: RoomState | None,
        ordering: Ordering,
    ) -> None:
        """A response asks this visitor to poll again after `interval_s` seconds. `position`: as the
        store has just returned it; None: the store did not respond."""
        turn_us = turn_of(ticket, ordering) if position is None else position.turn_us
        if state is None or not _knows_turn(turn_us, state):
            self.outstanding_polls.note(
                0, interval_s, in_store=position is not None and position.confirmed
            )
        elif position is None or not position.confirmed:
            self.outstanding_polls.note(turn_us, interval_s, in_store=False)
        else:
            self.outstanding_polls.note(turn_us, interval_s, in_store=True)
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
        """The estimated number of visitors ahead, also for a visitor that the store does not know
        now; None: unknown."""
        turn_us = turn_of(ticket, ordering) if position is None else position.turn_us
        if state is None or not _knows_turn(turn_us, state):
            return None
        return self._places.ahead_of(turn_us, released_total=state.released_total)


def _knows_turn(turn_us: int, state: RoomState) -> bool:
    """Whether the turn is final: no draw can change it."""
    return state.knows_turns and turn_us < PROVISIONAL_US
