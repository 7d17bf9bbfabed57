"""The judge of an opening finds every violation that the records prove, and no others."""

import hashlib
from dataclasses import replace

import pytest

from gatekeeper.policy.draw import drawn_turn_us, id_hash
from gatekeeper.policy.draw_record import DrawRecord
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.simulate.judge import Order, Place
from gatekeeper.simulate.opening import (
    OpeningRecord,
    early_admissions,
    first_admission_s,
    first_minute,
    quiet_opening,
)
from gatekeeper.simulate.opening_promises import EARLY, PROMPT, opening_promises
from gatekeeper.simulate.token_claims import TICKET, Claims

START_US, SPAN_US = 1_800_000_000_000_000, 600_000_000
SECRET = bytes(range(32))
CLOCK_S = START_US / 1e6 - 1000  # the store's clock when the crowd's is 0: it starts at 1,000 s
COMMITTED = DrawRecord(
    "sale", "default", "committed", hashlib.sha256(SECRET).hexdigest(), START_US, SPAN_US
)
DRAWN = DrawRecord(
    *("sale", "default", "drawn", COMMITTED.commitment, START_US, SPAN_US),
    secret=SECRET.hex(),
    participants=2,
)


def claims(visitor: str, *, at_s: float, turn_us: int | None = None) -> Claims:
    arrival_us = round((CLOCK_S + at_s) * 1e6)
    return Claims(TICKET, visitor, arrival_us, arrival_us if turn_us is None else turn_us)


def arrives(
    record: OpeningRecord, visitor: str, *, at_s: float, trip_s: float = 0.2, confirms: bool = True
) -> Place:
    """A visitor arrives at `at_s`, in the middle of a round trip, and receives a ticket."""
    place, ticket = Place(), claims(visitor, at_s=at_s)
    place.turn_us = record.turns.of(ticket)
    record.arrived(place, ticket, began_s=at_s - trip_s / 2, now_s=at_s + trip_s / 2)
    if confirms and record.turns.covers(ticket.arrival_us):
        place.turn_us = record.turns.of(provisional(ticket))
    return place


def provisional(ticket: Claims) -> Claims:
    """The ticket after its return before the opening."""
    return replace(ticket, turn_us=PROVISIONAL_US + ticket.arrival_us)


def enters(record: OpeningRecord, place: Place, *, at_s: float, trip_s: float = 0.2) -> bool:
    return record.received_admitted(place, on_arrival=False, sent_s=at_s - trip_s, now_s=at_s)


@pytest.fixture
def record() -> OpeningRecord:
    return OpeningRecord(COMMITTED)


@pytest.fixture
def ann(record: OpeningRecord) -> Place:
    return arrives(record, "ann", at_s=700)


def test_turn_is_provisional_until_draw_then_drawn(record: OpeningRecord, ann: Place) -> None:
    assert ann.turn_us == PROVISIONAL_US + claims("ann", at_s=700).arrival_us

    assert record.learn(COMMITTED, now_s=900) == []
    assert ann.turn_us > PROVISIONAL_US
    record.learn(DRAWN, now_s=1001)

    expected = drawn_turn_us(SECRET, "ann", start_us=START_US, span_us=SPAN_US)
    assert ann.turn_us == expected == record.turns.of(provisional(claims("ann", at_s=700)))
    assert START_US - SPAN_US <= expected < START_US


def test_ticket_returned_after_the_opening_is_after_the_draw(record: OpeningRecord) -> None:
    bob = arrives(record, "bob", at_s=999, confirms=False)
    record.learn(DRAWN, now_s=1001)

    assert bob.turn_us == START_US == record.turns.of(claims("bob", at_s=999))


@pytest.mark.parametrize(
    ("at_s", "own_turn_us"),
    [(399.9, None), (1000, None), (700, 42)],
    ids=["before the prequeue", "at the start", "a turn of its own"],
)
def test_other_tickets_keep_their_turn(
    record: OpeningRecord, at_s: float, own_turn_us: int | None
) -> None:
    record.learn(DRAWN, now_s=1001)
    ticket = claims("bob", at_s=at_s, turn_us=own_turn_us)

    assert record.turns.of(ticket) == ticket.turn_us


@pytest.mark.parametrize(
    ("at_s", "early"), [(999.8, 1), (999.95, 0), (1000.05, 0), (1003, 0)], ids=str
)
def test_early_admission_counts_only_beyond_doubt(
    record: OpeningRecord, ann: Place, at_s: float, early: int
) -> None:
    """Because of the round trip, the arrival is uncertain by a tenth of a second in both
    directions."""
    enters(record, ann, at_s=at_s)

    assert early_admissions(record) == early


def test_admission_on_arrival_in_prequeue_is_early(record: OpeningRecord, ann: Place) -> None:
    record.received_admitted(ann, on_arrival=True, sent_s=999.9, now_s=1000.4)

    assert early_admissions(record) == 1


def test_admission_of_earlier_line_in_prequeue_is_not_early(record: OpeningRecord) -> None:
    """Released before the prequeue, claimed in it."""
    place = arrives(record, "old", at_s=300)
    arrives(record, "ann", at_s=700)
    enters(record, place, at_s=710)

    assert early_admissions(record) == 0
    assert first_admission_s(record) is None


def test_local_stamps_do_not_make_other_visitors_early(record: OpeningRecord, ann: Place) -> None:
    """A local stamp is late, so that the store's clock seems to be behind."""
    for number in range(20):
        arrives(record, f"v{number}", at_s=701)
    late = claims("late", at_s=701)
    record.arrived(Place(turn_us=1), late, began_s=706, now_s=706.1)
    enters(record, ann, at_s=1002)

    assert early_admissions(record) == 0


def test_admission_before_draw_is_known_counts_in_order_later(
    record: OpeningRecord, ann: Place
) -> None:
    bob, order = arrives(record, "bob", at_s=701), Order()
    first, last = sorted((ann, bob), key=lambda each: _turn_of("ann" if each is ann else "bob"))
    for place in (first, last):
        order.request_began(place, now_s=702)
        order.received_ticket(place, now_s=702, poll_interval_s=500)
        order.request_began(place, now_s=703)
        order.received_waiting(place, now_s=704, poll_interval_s=500, known=True)
        order.request_began(place, now_s=710)
        order.received_waiting(place, now_s=711, poll_interval_s=500, known=True)
        order.request_began(place, now_s=1000.5)
    assert not enters(record, last, at_s=1001)

    unknown = record.learn(DRAWN, now_s=1002)
    for place in unknown:
        order.received_admitted(place)
    order.request_began(first, now_s=1003)
    order.received_waiting(first, now_s=1004, poll_interval_s=5, known=True)

    assert unknown == [last]
    assert order.inversions == 1


def _turn_of(visitor: str) -> int:
    return drawn_turn_us(SECRET, visitor, start_us=START_US, span_us=SPAN_US)


@pytest.mark.parametrize(("at_s", "held"), [(1009, True), (1010.2, True), (1010.6, False)])
def test_first_admission_is_due_in_ten_seconds(
    record: OpeningRecord, ann: Place, at_s: float, held: bool
) -> None:
    enters(record, ann, at_s=at_s)

    assert _promises(record, elapsed_s=1100)[PROMPT] is held


@pytest.mark.parametrize(("elapsed_s", "held"), [(1005, None), (1011, False)])
def test_missing_first_admission_breaks_promise(
    record: OpeningRecord, ann: Place, elapsed_s: float, held: bool | None
) -> None:
    assert ann.turn_us
    assert _promises(record, elapsed_s=elapsed_s)[PROMPT] is held


def test_nothing_is_judged_without_visitors(record: OpeningRecord) -> None:
    assert set(_promises(record, elapsed_s=1100).values()) == {None}
    assert _promises(record, elapsed_s=1100)[EARLY] is None


def _promises(record: OpeningRecord, *, elapsed_s: float) -> dict[str, bool | None]:
    found = opening_promises(
        record, rate_per_minute=600, burst=10, crowd_late_s=0, elapsed_s=elapsed_s
    )
    return {each.name: each.held for each in found}


@pytest.mark.parametrize(
    ("per_s", "held"), [(10.0, True), (9.5, True), (7.0, False), (14.0, False)], ids=str
)
def test_first_minute_has_the_rate(
    record: OpeningRecord, ann: Place, per_s: float, held: bool
) -> None:
    enters(record, ann, at_s=1001)
    for second in range(990, 1070):
        admissions = max(round((second - 1001) * per_s), 0)
        record.sample(waiting=2000, rate_per_minute=600, admissions=admissions, now_s=second)

    minute = first_minute(record, rate_per_minute=600)
    assert minute is not None
    assert minute.duration_s == pytest.approx(61, abs=1)
    assert minute.keeps_rate(burst=10, late_s=2) is held


def test_first_minute_ends_with_the_line(record: OpeningRecord, ann: Place) -> None:
    enters(record, ann, at_s=1001)
    for second in range(1001, 1070):
        waiting = 300 - (second - 1001) * 10
        record.sample(waiting=waiting, rate_per_minute=600, admissions=300 - waiting, now_s=second)

    minute = first_minute(record, rate_per_minute=600)
    assert minute is not None
    assert minute.duration_s == pytest.approx(28, abs=1)


def test_first_minute_needs_a_poll_of_everyone(record: OpeningRecord, ann: Place) -> None:
    record.received_waiting(ann, poll_interval_s=36)
    enters(record, ann, at_s=1001)
    for second in range(1001, 1031):
        record.sample(waiting=2000, rate_per_minute=600, admissions=0, now_s=second)

    assert first_minute(record, rate_per_minute=600) is None


def _polls(record: OpeningRecord, *, peak: int, waiting_later: int = 1000) -> None:
    for second in range(900, 1100):
        at_opening = 1004 <= second < 1004 + 5
        for _ in range(peak if at_opening else 20):
            record.polled(now_s=second + 0.5)
        waiting = waiting_later if second >= 1050 else 1000
        record.sample(waiting=waiting, rate_per_minute=60, admissions=0, now_s=second)


@pytest.mark.parametrize(("peak", "ratio"), [(20, 1.0), (30, 1.5), (60, 3.0)])
def test_polls_at_opening_are_compared_with_later(
    record: OpeningRecord, ann: Place, peak: int, ratio: float
) -> None:
    enters(record, ann, at_s=1001)
    _polls(record, peak=peak)

    quiet = quiet_opening(record)
    assert quiet is not None
    assert quiet.ratio == pytest.approx(ratio)


def test_shorter_line_is_no_measure_of_quiet(record: OpeningRecord, ann: Place) -> None:
    enters(record, ann, at_s=1001)
    _polls(record, peak=20, waiting_later=700)

    assert quiet_opening(record) is None


def test_certain_participants_polled_before_and_after_start(
    record: OpeningRecord, ann: Place
) -> None:
    bob, eve = arrives(record, "bob", at_s=701), arrives(record, "eve", at_s=702)
    ann.present_since_s, ann.last_waiting_began_s = 703, 1004
    bob.present_since_s, bob.last_waiting_began_s = 703, 990
    eve.present_since_s, eve.last_waiting_began_s = 1003, 1010

    assert record.certain_participants() == {id_hash("ann").hex()}
