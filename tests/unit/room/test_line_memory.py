"""What a replica keeps about its waiting visitors, and which replies it does not count as a
place."""

from dataclasses import replace

import pytest

from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.ordering import ARRIVAL_ORDER, PROVISIONAL_US
from gatekeeper.room.line_memory import LineMemory
from gatekeeper.room.outstanding_polls import EVERY_TURN_US
from gatekeeper.room.state import RoomState
from tests.builders import TICKET, room_state

STATE = room_state()
TURN_US = TICKET.arrival_us
POSITION = QueuePosition(TURN_US, ahead=40)


class Replica:
    """The memory of one replica, with a clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.memory = LineMemory(monotonic_s=lambda: self.now_s)

    def note(self, position: QueuePosition | None, *, state: RoomState | None = STATE) -> None:
        self.memory.note_poll_interval(TICKET, position, 8.0, state=state, ordering=ARRIVAL_ORDER)

    def ahead(
        self, position: QueuePosition | None = None, *, state: RoomState | None = STATE
    ) -> int | None:
        return self.memory.ahead_of(TICKET, position, state=state, ordering=ARRIVAL_ORDER)

    def through_us(self) -> int:
        """After a loss, the turn up to which no visitor has an outstanding poll."""
        polls = self.memory.outstanding_polls
        polls.note_epoch(1)
        polls.note_epoch(2)
        polls.report()
        for _ in range(6):  # a replica that was paused reports nothing at first
            self.now_s += 0.25
            report = polls.report()
        return report.through_us


def test_place_of_a_poll_is_known_afterwards() -> None:
    replica = Replica()
    assert replica.ahead() is None
    replica.note(POSITION)
    assert replica.ahead() == 40
    since = replace(STATE, released_total=STATE.released_total + 30)
    assert replica.ahead(state=since) == 10


@pytest.mark.parametrize("position", [None, replace(POSITION, confirmed=False)])
def test_visitor_without_a_place_in_the_store_notes_none(position: QueuePosition | None) -> None:
    replica = Replica()
    replica.note(position)
    assert replica.ahead() is None


def test_place_in_a_line_that_recovers_is_not_kept() -> None:
    """Visitors ahead of it have not returned yet."""
    replica = Replica()
    replica.note(POSITION, state=replace(STATE, recovering_until_us=STATE.now_us + 1))
    assert replica.ahead() is None


@pytest.mark.parametrize(
    ("position", "state"),
    [
        (replace(POSITION, turn_us=PROVISIONAL_US + TURN_US), STATE),
        (POSITION, replace(STATE, undrawn=1)),
        (POSITION, None),
    ],
    ids=["provisional turn", "draw to come", "unknown state"],
)
def test_turn_that_a_draw_may_change_has_no_place(
    position: QueuePosition, state: RoomState | None
) -> None:
    replica = Replica()
    replica.note(POSITION)
    assert replica.ahead(position, state=state) is None


def test_visitor_of_before_a_loss_is_waited_for_by_turn() -> None:
    replica = Replica()
    assert replica.through_us() == EVERY_TURN_US
    replica = Replica()
    replica.note(POSITION)
    assert replica.through_us() == TURN_US - 1


def test_visitor_with_a_turn_to_be_drawn_holds_every_turn() -> None:
    """The draw may place them at the head."""
    replica = Replica()
    replica.note(replace(POSITION, turn_us=PROVISIONAL_US + TURN_US))
    assert replica.through_us() == 0
