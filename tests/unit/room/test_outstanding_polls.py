"""Which visitors may still have to poll, by the intervals that a replica sent."""

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.pacing import RETURN_MARGIN
from gatekeeper.policy.rules import Rules
from gatekeeper.room.outstanding_polls import (
    EVERY_TURN_US,
    GRACE_S,
    OutstandingPolls,
    ReturnReport,
    remembered_s,
)


class Replica:
    """The intervals that one replica sends, with a clock that the test sets. It reports four times
    a second."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.outstanding_polls = OutstandingPolls(monotonic_s=lambda: self.now_s)
        self.outstanding_polls.note_epoch(1)
        self.outstanding_polls.note_counted()
        self.through_after(2 * GRACE_S)

    def lose_store(self, epoch: int = 2) -> None:
        self.outstanding_polls.note_epoch(epoch)
        self.outstanding_polls.note_counted()

    def through_after(self, seconds: float) -> int:
        until_s, report = self.now_s + seconds, self.outstanding_polls.report()
        while self.now_s < until_s:
            self.now_s = min(self.now_s + 0.25, until_s)
            report = self.outstanding_polls.report()
            self.outstanding_polls.note_counted()
        return report.through_us


def test_visitor_of_before_a_loss_is_waited_for() -> None:
    replica = Replica()
    replica.outstanding_polls.note(50, 1, in_store=True)
    replica.outstanding_polls.note(70, 8, in_store=True)
    replica.lose_store()
    assert replica.through_after(0.5) == 49
    assert replica.through_after(1.25 + GRACE_S) == 69
    assert replica.through_after(8 * RETURN_MARGIN + GRACE_S) == EVERY_TURN_US


def test_visitor_with_a_place_in_the_new_store_is_not_waited_for() -> None:
    replica = Replica()
    replica.lose_store()
    replica.outstanding_polls.note(50, 8, in_store=True)
    replica.outstanding_polls.note(60, 8, in_store=False)
    assert replica.through_after(0.5) == 59


def test_visitor_of_a_recovery_is_waited_for_after_the_next_loss() -> None:
    replica = Replica()
    replica.lose_store()
    replica.outstanding_polls.note(50, 8, in_store=True)
    replica.lose_store(3)
    assert replica.through_after(0.5) == 49


def test_interval_of_an_earlier_turn_covers_the_later_ones() -> None:
    replica = Replica()
    replica.outstanding_polls.note(70, 1, in_store=True)
    replica.outstanding_polls.note(50, 36, in_store=True)  # was far back in a fast line
    replica.lose_store()
    assert replica.through_after(20) == 49


def test_turn_that_is_not_known_holds_up_all() -> None:
    replica = Replica()
    replica.outstanding_polls.note(0, 4, in_store=True)
    replica.lose_store()
    assert replica.through_after(1) == 0


def test_replica_that_was_paused_reports_no_return() -> None:
    """Its visitors may have polled meanwhile, but it has not read their requests yet."""
    replica = Replica()
    replica.outstanding_polls.note(50, 1, in_store=True)
    replica.lose_store()
    replica.outstanding_polls.report()
    replica.now_s += 6
    assert replica.outstanding_polls.report().through_us == 0
    assert replica.through_after(GRACE_S + 0.25) == EVERY_TURN_US


def test_replica_unknown_to_the_lost_store_reports_no_lost_epoch() -> None:
    """Its own visitors are waited for, but it does not replace another replica."""
    replica = Replica()
    started = OutstandingPolls(monotonic_s=lambda: replica.now_s)
    started.note_epoch(2)
    started.note(50, 8, in_store=False)
    started.report()
    for _ in range(8):
        replica.now_s += 0.25
        report = started.report()
    assert report == ReturnReport(epoch=2, lost_epoch=0, through_us=49)


def test_replica_that_missed_the_last_calls_names_no_lost_store() -> None:
    replica = Replica()
    replica.now_s += 30
    replica.outstanding_polls.note_epoch(2)
    assert replica.outstanding_polls.report().lost_epoch == 0


def test_report_names_the_store_it_is_about() -> None:
    replica = Replica()
    replica.lose_store(7)
    assert replica.outstanding_polls.report()[:2] == (7, 1)


def test_store_remembers_a_replica_longer_than_any_interval() -> None:
    rules = Rules.of(RoomConfig())
    assert (
        remembered_s(rules) > rules.longest_poll_interval_s * RETURN_MARGIN * 2 + GRACE_S + 20 - 1
    )


NOTES = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 40), st.floats(0, 6)), max_size=30)


@given(notes=NOTES, after_s=st.floats(0, 60))
def test_report_covers_every_visitor(notes: list[tuple[int, int, float]], after_s: float) -> None:
    """Never a turn whose visitor has to poll, and every turn if no visitor has to."""
    replica, due = Replica(), []
    for turn_us, interval_s, passing_s in notes:
        replica.outstanding_polls.note(turn_us, interval_s, in_store=True)
        due.append((replica.now_s + interval_s * RETURN_MARGIN + GRACE_S, turn_us))
        replica.through_after(passing_s)
    replica.lose_store()
    through_us = replica.through_after(after_s)
    still = [turn_us for until_s, turn_us in due if until_s > replica.now_s]
    assert through_us < min(still, default=EVERY_TURN_US + 1)
    assert replica.through_after(60) == EVERY_TURN_US


def test_memory_is_bounded_by_time_and_not_by_visitors() -> None:
    replica = Replica()
    for turn_us in range(20_000):
        replica.outstanding_polls.note(turn_us, 1 + turn_us % 36, in_store=True)
    assert (
        len(replica.outstanding_polls._in_store._turns_us) <= (36 * RETURN_MARGIN + GRACE_S) * 4 + 1
    )
