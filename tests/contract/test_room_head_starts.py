"""Newcomers with a head start, and newcomers who confirm first: held on every store."""

import asyncio
from collections.abc import Mapping

from gatekeeper.policy.decision import QueuePosition, SlotGrant
from gatekeeper.policy.next_token import conclude
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import Ticket, VisitorId
from gatekeeper.room.visitor_calls import ArrivalRequest
from tests.contract.event_room import plan
from tests.contract.grounds import Open, Replica, admitted_names, arrive, line_up, poll

SECOND_US = 1_000_000
HEAD_START_US = 15 * 60 * SECOND_US


async def arrive_ahead(
    replica: Replica, head_starts_us: Mapping[str, int]
) -> dict[str, QueuePosition]:
    """All arrive in one call, and each has to wait."""
    requests = [
        ArrivalRequest(VisitorId(name), head_start_us=us) for name, us in head_starts_us.items()
    ]
    places = await asyncio.gather(*map(replica.queue.arrive, requests))
    found = {}
    for name, place in zip(head_starts_us, places, strict=True):
        assert isinstance(place, QueuePosition)
        found[name] = place
    return found


async def join_ahead(replica: Replica, name: str, *, us: int = HEAD_START_US) -> QueuePosition:
    """A member arrives and returns the ticket at once."""
    place = (await arrive_ahead(replica, {name: us}))[name]
    standing = (await poll(replica, {name: place}))[name]
    assert isinstance(standing, QueuePosition)
    return standing


async def test_head_start_is_taken_from_the_arrival(open_room: Open) -> None:
    replica = await open_room(rate=0)
    before_us = (await replica.read_state()).now_us
    place = (await arrive_ahead(replica, {"member": HEAD_START_US}))["member"]
    assert place.arrival_us is not None
    assert place.arrival_us >= before_us
    assert place.turn_us == place.arrival_us - HEAD_START_US
    assert not place.confirmed


async def test_member_overtakes_the_visitors_in_line(open_room: Open) -> None:
    replica = await open_room(rate=0)
    await line_up(replica, ["ann", "bob"])
    assert (await join_ahead(replica, "member")).ahead == 0
    assert (await line_up(replica, ["cat"]))["cat"] == QueuePosition(
        (await replica.read_state()).last_arrival_us, 3
    )


async def test_head_start_overtakes_only_arrivals_within_it(open_room: Open) -> None:
    replica = await open_room(rate=0)
    base = (await line_up(replica, ["ann", "bob"]))["ann"]
    assert isinstance(base, QueuePosition)
    place = (await arrive_ahead(replica, {"member": 1}))["member"]
    assert place.arrival_us is not None
    assert place.turn_us == place.arrival_us - 1
    assert place.turn_us > base.turn_us


async def test_member_never_stands_before_a_released_turn(open_room: Open) -> None:
    replica = await open_room(rate=0)
    places = await line_up(replica, ["ann", "bob"])
    await replica.allow(1)
    assert await replica.released() == 1
    watermark_us = (await replica.read_state()).watermark_us
    assert watermark_us == places["ann"].turn_us
    member = await join_ahead(replica, "member")
    assert member.turn_us == watermark_us + 1
    assert (await replica.read_state()).watermark_us < member.turn_us


async def test_member_stands_behind_a_partly_released_turn(open_room: Open) -> None:
    """The watermark stays below a turn with several visitors; one of them has been released."""
    replica = await open_room(rate=0)
    turn_us = (await arrive(replica, ["a1"]))["a1"].turn_us
    tied = {name: QueuePosition(turn_us, 0) for name in ("a1", "a2")}
    await poll(replica, tied)
    await replica.allow(1)
    assert await replica.released() == 1
    assert (await replica.read_state()).watermark_us == turn_us - 1
    member = await join_ahead(replica, "member")
    assert member.turn_us == turn_us + 1


async def test_member_stands_behind_a_visitor_that_a_poll_let_in(open_room: Open) -> None:
    """The first of the queue enters by a poll, which does not raise the watermark."""
    replica = await open_room(rate=0)
    places = await arrive(replica, ["ann"])
    await replica.allow(1)
    assert admitted_names(await poll(replica, places)) == ["ann"]
    assert (await replica.read_state()).watermark_us == 0
    member = await join_ahead(replica, "member")
    assert member.turn_us == places["ann"].turn_us + 1


async def test_newcomers_of_one_call_have_their_own_head_starts(open_room: Open) -> None:
    replica = await open_room(rate=0)
    await line_up(replica, ["ann"])
    places = await arrive_ahead(replica, {"plain": 0, "member": HEAD_START_US, "friend": SECOND_US})
    assert places["plain"].arrival_us is None
    for name, us in (("member", HEAD_START_US), ("friend", SECOND_US)):
        arrival_us = places[name].arrival_us
        assert arrival_us is not None
        assert arrival_us - places[name].turn_us == us


async def test_head_start_reaches_the_ticket(open_room: Open) -> None:
    replica = await open_room(rate=0)
    place = (await arrive_ahead(replica, {"member": HEAD_START_US}))["member"]
    ticket = conclude(VisitorId("member"), place, None, rules=replica.queue.rules, now_s=1.0)
    assert isinstance(ticket, Ticket)
    assert (ticket.arrival_us, ticket.own_turn_us) == (place.arrival_us, place.turn_us)


async def test_head_start_waits_for_the_draw(open_room: Open) -> None:
    replica = await open_room(rate=0)
    await plan(replica)
    place = (await arrive_ahead(replica, {"member": HEAD_START_US}))["member"]
    assert place.arrival_us is None


async def test_arrival_after_a_draw_is_not_before_its_prequeue(open_room: Open) -> None:
    replica = await open_room(rate=0)
    event = await plan(replica, opens_in_s=-1)
    place = (await arrive_ahead(replica, {"member": HEAD_START_US}))["member"]
    assert place.turn_us == event.prequeue_us


async def test_newcomer_who_confirms_first_gets_no_slot(open_room: Open) -> None:
    replica = await open_room(burst=10)
    state = await replica.read_state()
    assert state.has_room
    place = await replica.queue.arrive(ArrivalRequest(VisitorId("ann"), may_enter=False))
    assert isinstance(place, QueuePosition)
    assert (await replica.read_state()).admitted_total == state.admitted_total
    standing = (await poll(replica, {"ann": place}))["ann"]
    assert isinstance(standing, SlotGrant)
    assert standing.confirmed


async def test_newcomer_who_confirms_first_gets_no_slot_while_open(open_room: Open) -> None:
    replica = await open_room()
    await replica.set_mode(Mode.OPEN)
    place = await replica.queue.arrive(ArrivalRequest(VisitorId("ann"), may_enter=False))
    assert isinstance(place, QueuePosition)


async def test_slot_is_not_handed_to_a_newcomer_that_confirms_first(open_room: Open) -> None:
    """A visitor id that arrives again and holds a slot already."""
    replica = await open_room(burst=10)
    assert admitted_names(await arrive(replica, ["ann"])) == ["ann"]
    again = await replica.queue.arrive(ArrivalRequest(VisitorId("ann"), may_enter=False))
    assert isinstance(again, QueuePosition)


async def test_one_call_admits_only_newcomers_that_may_enter(open_room: Open) -> None:
    replica = await open_room(burst=10)
    may_enter = {"ann": True, "bob": False, "cat": True}
    requests = [ArrivalRequest(VisitorId(n), may_enter=may) for n, may in may_enter.items()]
    places = await asyncio.gather(*map(replica.queue.arrive, requests))
    assert [isinstance(place, SlotGrant) for place in places] == [True, False, True]
