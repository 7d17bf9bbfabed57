"""The view of one replica: the store's clock by the reply with the least delay, and states of
others."""

from dataclasses import replace

import pytest

from gatekeeper.policy.phase import Mode, Phase
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.view import ReplicaView
from tests.builders import room_state
from tests.linear_time import assert_linear
from tests.unit.clock import Clock

START_S = 1_700_000_000.0
STARTED_S = Clock().now_s
STATE = replace(
    room_state(rate=60),
    watermark_us=100,
    last_arrival_us=200,
    now_us=round(START_S * 1_000_000),
)


@pytest.fixture
def view(clock: Clock) -> ReplicaView:
    """A view whose own clock is an hour off."""
    return ReplicaView(monotonic_s=clock, wall_s=lambda: START_S + 3600)


def receive(view: ReplicaView, clock: Clock, *, store_s: float, late_s: float = 0.0) -> None:
    clock.now_s = STARTED_S + store_s + late_s
    view.update_from_store(replace(STATE, now_us=round((START_S + store_s) * 1_000_000)))


def error_s(view: ReplicaView, clock: Clock) -> float:
    return view.now_s() - (START_S + clock.now_s - STARTED_S)


def test_first_reply_of_the_store_sets_the_clock(view: ReplicaView, clock: Clock) -> None:
    receive(view, clock, store_s=0)
    assert error_s(view, clock) == pytest.approx(0, abs=1e-5)


def test_late_reply_does_not_set_the_clock_back(view: ReplicaView, clock: Clock) -> None:
    receive(view, clock, store_s=0, late_s=0.001)
    receive(view, clock, store_s=1, late_s=0.9)
    assert error_s(view, clock) == pytest.approx(-0.001, abs=0.002)


def test_less_late_reply_sets_the_clock_at_once(view: ReplicaView, clock: Clock) -> None:
    receive(view, clock, store_s=0, late_s=0.9)
    receive(view, clock, store_s=1, late_s=0.001)
    assert error_s(view, clock) == pytest.approx(-0.001, abs=1e-5)


def test_slower_clock_is_followed(view: ReplicaView, clock: Clock) -> None:
    for second in range(1000):
        clock.now_s = STARTED_S + second
        view.update_from_store(
            replace(STATE, now_us=round((START_S + second * 0.9995) * 1_000_000))
        )
    assert view.now_s() == pytest.approx(START_S + 999 * 0.9995, abs=0.01)


def test_clock_of_a_room_that_is_corrected_is_followed(view: ReplicaView, clock: Clock) -> None:
    """After a fail-over to a server whose clock is behind, it is a tenth slower."""
    errors_s = []
    for step in range(400):
        clock.now_s = STARTED_S + step / 4
        room_s = START_S + step / 4 * 0.9
        view.update_from_store(replace(STATE, now_us=round(room_s * 1_000_000)))
        errors_s.append(view.now_s() - room_s)
    assert min(errors_s) > -0.001
    assert max(errors_s) < 1.1  # a tenth of two spans


def test_clock_that_is_seconds_behind_is_followed(view: ReplicaView, clock: Clock) -> None:
    """The time of an outage, in a fail-over to a server whose clock is behind."""
    receive(view, clock, store_s=0)
    for second in range(12):
        receive(view, clock, store_s=second, late_s=4)
    assert error_s(view, clock) == pytest.approx(-4, abs=0.01)


def test_clock_set_back_is_followed_at_once(view: ReplicaView, clock: Clock) -> None:
    receive(view, clock, store_s=60)
    receive(view, clock, store_s=0, late_s=61)
    assert view.now_s() == pytest.approx(START_S)


def test_states_of_others_count_before_the_first_reply(view: ReplicaView, clock: Clock) -> None:
    received = replace(STATE, mode=Mode.HOLD)
    assert view.update_from_replica(received, sent_at_s=START_S)
    assert (view.state, view.store_state, view.decisive.phase) == (received, None, Phase.HELD)
    assert error_s(view, clock) == pytest.approx(0, abs=1e-5)
    clock.now_s = STARTED_S + 1.9
    assert view.update_from_replica(received, sent_at_s=START_S + 1)  # 0.9 s late
    assert error_s(view, clock) == pytest.approx(0, abs=0.002)


def test_first_reply_overrides_states_of_others(view: ReplicaView, clock: Clock) -> None:
    view.update_from_replica(replace(STATE, epoch=9, mode=Mode.HOLD), sent_at_s=START_S + 60)
    held = view.state
    receive(view, clock, store_s=0)
    view.settle(held)
    assert view.state == view.store_state == STATE
    assert view.decisive.phase is Phase.RUNNING
    assert error_s(view, clock) == pytest.approx(0, abs=1e-5)


def test_state_of_another_epoch_is_not_accepted(view: ReplicaView) -> None:
    view.update_from_store(STATE)
    assert not view.update_from_replica(replace(STATE, epoch=9), sent_at_s=START_S)
    assert view.state == STATE


def test_state_of_another_counts_until_the_next_reply(
    view: ReplicaView,
) -> None:
    view.update_from_store(STATE)
    received = replace(STATE, version=9, watermark_us=300, mode=Mode.HOLD)
    assert view.update_from_replica(received, sent_at_s=START_S)
    assert (view.decisive.watermark_us, view.decisive.phase) == (300, Phase.HELD)
    held = view.state
    view.update_from_store(replace(STATE, version=2))
    assert view.store_state == replace(STATE, version=2)
    view.settle(held)
    assert (view.decisive.watermark_us, view.decisive.phase) == (100, Phase.RUNNING)


def test_state_received_during_a_call_stays(view: ReplicaView) -> None:
    view.update_from_store(STATE)
    held = view.state
    view.update_from_replica(replace(STATE, version=3, watermark_us=150), sent_at_s=START_S)
    view.update_from_store(replace(STATE, version=2))
    view.settle(held)
    assert view.decisive.watermark_us == 150


def test_state_of_another_never_lowers_the_watermark(view: ReplicaView) -> None:
    view.update_from_store(STATE)
    view.update_from_replica(replace(STATE, version=9, watermark_us=0), sent_at_s=START_S)
    assert view.decisive.watermark_us == 100


def test_store_that_lost_data_does_not_lower_the_watermark(view: ReplicaView) -> None:
    view.update_from_store(STATE)
    view.update_from_store(replace(STATE, epoch=2, version=0, watermark_us=0, rate_per_minute=7))
    assert view.decisive.watermark_us == 100
    assert view.state is not None
    assert view.state.rate_per_minute == 7


def test_store_s_clock_is_known_by_the_store_or_by_a_replica(view: ReplicaView) -> None:
    known = [view.decisive.knows_clock]
    view.note_store_down()
    known.append(view.decisive.knows_clock)
    view.update_from_replica(room_state(), sent_at_s=5.0)
    known.append(view.decisive.knows_clock)
    view.note_store_down()
    known.append(view.decisive.knows_clock)
    assert known == [False, False, True, True]


def test_revocations_of_one_moment_are_forgotten_in_linear_time() -> None:
    """After a loss of the store, all rewritten revocations expire at the same time."""

    def forget(visitors: bytes) -> None:
        view = ReplicaView(monotonic_s=lambda: STARTED_S)
        names = [VisitorId(str(number)) for number in range(len(visitors))]
        view.revoke(names, until_s=view.now_s() - 1, count=len(names))
        while view.revoked():
            view.forget_expired()

    assert_linear(forget, bytes, largest=16_000)


def test_revocation_that_still_counts_is_kept(view: ReplicaView) -> None:
    old, current = VisitorId("old"), VisitorId("current")
    view.revoke([old], until_s=view.now_s() - 1, count=1)
    view.revoke([current], until_s=view.now_s() + 1, count=2)
    view.forget_expired()
    assert list(view.revoked()) == [current]
