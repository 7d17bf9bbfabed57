"""The requests of passes in progress, and the passes with the most requests."""

from __future__ import annotations

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.pass_figures import MAX_ADDRESSES, MAX_LISTED, PassFigures
from gatekeeper.web.pass_uses import PassUses, RequestUse

ROOM = RoomName("sale")
ANN, BOB = VisitorId("A" * 22), VisitorId("B" * 22)
NOBODY: frozenset[VisitorId] = frozenset()


def visitor(number: int) -> VisitorId:
    return VisitorId(f"{number:022}")


def use(uses: PassUses, who: VisitorId, *, requests: int = 1, address: str = "192.0.2.1") -> None:
    """Requests in succession."""
    counted = uses.counted(who, address)
    for _ in range(requests):
        counted.begin().end()


def listed(uses: PassUses, *, revoked: frozenset[VisitorId] = NOBODY) -> list[VisitorId]:
    return [each.visitor for each in uses.sweep(revoked)]


def test_limit_is_per_visitor_whatever_the_address() -> None:
    uses = PassUses(ROOM, limit=2)
    home, mobile = uses.counted(ANN, "192.0.2.1"), uses.counted(ANN, "2001:db8::1")
    first = home.begin()
    assert mobile.is_free()
    mobile.begin()
    assert not home.is_free()
    assert not mobile.is_free()
    assert uses.counted(BOB, "192.0.2.1").is_free()
    first.end()
    assert mobile.is_free()


def test_limit_that_changes_counts_what_is_under_way() -> None:
    uses = PassUses(ROOM, limit=1)
    counted = uses.counted(ANN, "192.0.2.1")
    counted.begin()
    uses.limit = 2
    assert counted.is_free()
    counted.begin()
    uses.limit = 1
    counted.end()
    assert not counted.is_free()


def test_client_that_closed_its_half_makes_room() -> None:
    """The client may have disconnected. A half-close does not avoid the limit, but doubles it."""
    uses = PassUses(ROOM, limit=2)
    counted = uses.counted(ANN, "192.0.2.1")
    gone = []
    for _ in range(4):
        assert counted.is_free()
        gone.append(counted.begin().close_half())
    assert not counted.is_free(), "twice the limit"
    assert [each.close_half() for each in gone] == gone, "once"
    gone.pop().end()
    assert counted.is_free()
    present = counted.begin()
    assert not counted.is_free()
    present.end()
    for each in gone:
        each.end()
    kept = [counted.begin(), counted.begin()]
    assert not counted.is_free()
    for one in kept:
        one.end()
    assert counted.is_free()


def test_request_ends_as_what_it_was_at_last() -> None:
    uses = PassUses(ROOM, limit=1)
    counted = uses.counted(ANN, "192.0.2.1")
    for closes in (True, False):
        use_ = RequestUse(counted)
        assert not counted.is_free()
        if closes:
            use_.close_half()
            assert counted.is_free()
            assert uses.sweep(frozenset({ANN})) == []
            assert len(uses) == 1, "kept as long as a request will end"
        use_.end()
        assert counted.is_free()
    uses.sweep(frozenset({ANN}))
    assert len(uses) == 0


def test_figures_of_a_pass() -> None:
    uses = PassUses(ROOM, limit=2)
    use(uses, ANN, requests=3)
    use(uses, ANN, address="192.0.2.2")
    one = uses.counted(ANN, "192.0.2.1")
    one.begin()
    one.begin()
    one.turn_away()
    [figures] = uses.sweep(NOBODY)
    assert (figures.room, figures.visitor) == (ROOM, ANN)
    assert (figures.requests, figures.most, figures.turned_away) == (6, 2, 1)
    assert len(figures.addresses) == 2


def test_addresses_of_a_pass_are_networks_and_bounded() -> None:
    uses = PassUses(ROOM, limit=2)
    for number in range(50):
        use(uses, ANN, address=f"2001:db8:1:1::{number:x}")
        use(uses, BOB, address=f"192.0.2.{number}")
    counts = {each.visitor: len(each.addresses) for each in uses.sweep(NOBODY)}
    assert counts == {ANN: 1, BOB: MAX_ADDRESSES}


def test_list_has_the_most_requests_and_the_most_addresses() -> None:
    uses = PassUses(ROOM, limit=2)
    for number in range(100):
        use(uses, visitor(number), requests=2 + number)
    for number in range(8):
        use(uses, ANN, address=f"192.0.2.{number}")
    found = listed(uses)
    assert len(found) == MAX_LISTED == len(set(found))
    assert found[: MAX_LISTED // 2] == [visitor(n) for n in range(99, 99 - MAX_LISTED // 2, -1)]
    assert ANN in found, "few requests, from many addresses"


def test_table_of_passes_is_bounded_and_keeps_the_busiest() -> None:
    uses = PassUses(ROOM, limit=1000, most=100)
    in_flight = [uses.counted(visitor(number), "192.0.2.1").begin() for number in range(30)]
    for number in range(1000, 4000):
        use(uses, visitor(number))
        use(uses, ANN, requests=2)
        assert len(uses) <= 2 * (100 // 2 + 30)
    assert listed(uses)[0] == ANN
    for counted in in_flight:
        counted.end()  # none was removed meanwhile
    assert not uses.use_of(visitor(0)).is_busy


def test_more_passes_under_way_than_the_bound_are_all_counted() -> None:
    uses = PassUses(ROOM, limit=1, most=10)
    counted = [uses.counted(visitor(number), "192.0.2.1") for number in range(500)]
    for each in counted:
        each.begin()
    assert not any(each.is_free() for each in counted)
    for each in counted:
        each.end()
    assert all(each.is_free() for each in counted)
    for number in range(500, 2000):
        use(uses, visitor(number))
    assert len(uses) <= 1001


def test_pass_that_ended_or_is_idle_is_forgotten() -> None:
    uses = PassUses(ROOM, limit=2)
    use(uses, ANN)
    use(uses, BOB)
    assert listed(uses, revoked=frozenset({ANN})) == [BOB]
    assert len(uses) == 1
    for _ in range(1000):
        listed(uses)
    assert len(uses) == 0


def test_pass_under_way_is_not_forgotten_by_its_end() -> None:
    uses = PassUses(ROOM, limit=2)
    counted = uses.counted(ANN, "192.0.2.1").begin()
    for _ in range(1000):
        assert listed(uses, revoked=frozenset({ANN})) == []
    counted.end()
    assert not uses.use_of(ANN).is_busy


@pytest.mark.parametrize("address", ["192.0.2.77", "2001:db8:77::1"])
def test_figures_hold_no_address(address: str) -> None:
    uses = PassUses(ROOM, limit=2)
    use(uses, ANN, address=address)
    [figures] = uses.sweep(NOBODY)
    assert isinstance(figures, PassFigures)
    [hashed] = figures.addresses
    assert hashed < 2**32
    assert str(hashed) not in address
