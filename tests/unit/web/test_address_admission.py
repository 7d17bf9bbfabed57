"""Which requests `newcomers_per_address` counts and refuses, and which it ignores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from gatekeeper.policy.decision import QueuePosition, SlotGrant, WaitWithoutPlace
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.phase import Phase
from gatekeeper.web.address_limit import NewcomerLimit
from gatekeeper.web.admission import Admission
from gatekeeper.web.outcome import Deny, Wait
from tests.builders import make_pass
from tests.unit.web.fake_room import ROOM, FakeRoom, admission, set_view, ticket

FACTS = RequestFacts(client=Client("192.0.2.1", "https", "shop.example"), method="GET", target="/")
TURNED_AWAY = WaitWithoutPlace("address_limit", 7.0)


@dataclass
class FullBucket:
    """A limit with a bucket that is empty for seven more seconds."""

    asked: int = 0

    def wait_s(self, facts: RequestFacts) -> float:
        assert facts is FACTS
        self.asked += 1
        return 7.0


def limited(room: FakeRoom) -> tuple[Admission, FullBucket]:
    made, limit = admission(room), FullBucket()
    made.newcomer_limit = cast(NewcomerLimit, limit)
    return made, limit


@pytest.mark.parametrize("store_up", [True, False])
async def test_newcomer_beyond_the_limit_costs_no_store_trip(store_up: bool) -> None:
    room = FakeRoom()
    set_view(room, store_up=store_up)
    gate, limit = limited(room)
    assert await gate.admit(None, facts=FACTS) == TURNED_AWAY
    assert room.asked == []
    assert limit.asked == 1


async def test_void_ticket_makes_a_newcomer_that_counts() -> None:
    room = FakeRoom()
    set_view(room)
    gate, _ = limited(room)
    assert await gate.admit(ticket(room, "A", ago_s=5), facts=FACTS) == TURNED_AWAY
    assert room.asked == ["poll"]


@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.BEFORE])
@pytest.mark.parametrize("store_up", [True, False])
async def test_room_that_gives_no_turns_counts_no_address(phase: Phase, store_up: bool) -> None:
    """In an open room no limit applies; before an event there is no place to count."""
    room = FakeRoom(place=SlotGrant(1, confirmed=False))
    set_view(room, store_up=store_up, phase=phase)
    gate, limit = limited(room)
    await gate.admit(None, facts=FACTS)
    assert limit.asked == 0


async def test_request_that_takes_one_admission_counts() -> None:
    """Otherwise a POST or an image would avoid the limit. A waiting request takes no admission."""
    room = FakeRoom(has_room=True)
    set_view(room)
    gate, limit = limited(room)
    assert await gate.admit(None, newcomers="once", facts=FACTS) == TURNED_AWAY
    assert room.asked == []
    assert limit.asked == 1
    set_view(room, has_room=False)
    assert await gate.admit(None, newcomers="once", facts=FACTS) == WaitWithoutPlace()
    assert limit.asked == 1


async def test_poll_without_a_token_counts_no_address() -> None:
    room = FakeRoom(has_room=True)
    set_view(room)
    gate, limit = limited(room)
    assert isinstance(await gate.admit(None, newcomers="denied", facts=FACTS), Deny)
    assert limit.asked == 0


async def test_visitor_with_a_token_counts_no_address() -> None:
    room = FakeRoom()
    held = ticket(room, "A", ago_s=5)
    room.standings = {held.visitor: QueuePosition(held.arrival_us, 3)}
    gate, limit = limited(room)
    for store_up in (True, False):
        set_view(room, store_up=store_up)
        assert isinstance(await gate.admit(held, facts=FACTS), Wait)
        await gate.admit(make_pass(ROOM, now_s=room.view.now_s()), facts=FACTS)
    assert limit.asked == 0
