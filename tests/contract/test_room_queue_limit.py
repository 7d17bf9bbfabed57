"""`queue_limit` on every store: newcomers beyond it get no turn, and no place is lost."""

from gatekeeper.policy.decision import LineFull, QueuePosition, SlotGrant
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.visitor_calls import ArrivalRequest
from tests.contract.grounds import (
    Ground,
    Open,
    arrive,
    arrive_at_limit,
    crowd,
    line_up,
    poll,
    poll_request,
    stay,
)

ANN = VisitorId("ann")


async def test_line_takes_no_more_than_its_limit(open_room: Open) -> None:
    replica = await open_room(rate="0", queue_limit=3)
    await line_up(replica, crowd(3))
    before = await replica.read_state()
    assert await replica.queue.arrive(ArrivalRequest(ANN)) == LineFull()
    after = await replica.read_state()
    assert (after.queue_length, after.arrived_total) == (3, 3)
    assert after.last_arrival_us == before.last_arrival_us, "no turn was given"
    assert after.version == before.version, "nothing to publish"


async def test_one_call_gives_no_more_turns_than_are_free(open_room: Open) -> None:
    replica = await open_room(rate="0", queue_limit=3)
    await line_up(replica, ["first"])
    replies = await arrive_at_limit(replica, crowd(20))
    placed = [name for name, reply in replies.items() if isinstance(reply, QueuePosition)]
    assert placed == crowd(2), "in the order of the call"
    assert all(replies[name] == LineFull() for name in crowd(20)[2:])


async def test_without_a_limit_every_newcomer_gets_a_turn(open_room: Open) -> None:
    replica = await open_room(rate="0")
    replies = await line_up(replica, crowd(300))
    assert all(isinstance(reply, QueuePosition) for reply in replies.values())


async def test_ticket_of_a_free_line_counts_when_it_is_full(open_room: Open) -> None:
    """Tickets that were not returned yet are not counted, and none of them is refused."""
    replica = await open_room(rate="0", queue_limit=2)
    early = await arrive(replica, ["early"])
    await line_up(replica, crowd(2))
    standing = (await poll(replica, early))["early"]
    assert isinstance(standing, QueuePosition)
    assert standing.ahead == 0, "at the turn of the arrival"
    assert (await replica.read_state()).queue_length == 3


async def test_absent_visitor_returns_to_a_full_line(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="0", queue_limit=2)
    replies = await line_up(replica, ["ann", "bob"])
    await ground.pass_time(80)
    await stay(replica, {"bob": replies["bob"]})
    await ground.pass_time(20)
    await replica.released()
    assert (await replica.read_state()).queue_length == 1, "ann was absent too long"
    assert isinstance(await replica.queue.arrive(ArrivalRequest(VisitorId("cat"))), QueuePosition)
    await line_up(replica, ["dan"])
    assert await replica.queue.arrive(ArrivalRequest(VisitorId("eve"))) == LineFull()
    ann = await replica.queue.poll(poll_request("ann", replies["ann"].turn_us))
    assert ann == QueuePosition(replies["ann"].turn_us, 0)


async def test_release_makes_room_in_a_full_line(open_room: Open) -> None:
    replica = await open_room(rate="0", queue_limit=2)
    await line_up(replica, crowd(2))
    assert await replica.queue.arrive(ArrivalRequest(ANN)) == LineFull()
    await replica.allow(1)
    assert await replica.released() == 1
    assert isinstance(await replica.queue.arrive(ArrivalRequest(ANN)), QueuePosition)


async def test_open_room_admits_beyond_the_limit(open_room: Open) -> None:
    replica = await open_room(rate="0", queue_limit=1)
    await line_up(replica, crowd(1))
    await replica.set_mode(Mode.OPEN)
    assert isinstance(await replica.queue.arrive(ArrivalRequest(ANN)), SlotGrant)


async def test_limit_does_not_close_an_empty_line(open_room: Open) -> None:
    """Newcomers are admitted at once while there is room; then as many turns as the limit."""
    replica = await open_room(burst=1, queue_limit=1)
    replies = await arrive_at_limit(replica, crowd(4))
    kinds = [type(reply) for reply in replies.values()]
    assert kinds == [SlotGrant, QueuePosition, LineFull, LineFull]


async def test_lower_limit_keeps_the_places_there_are(open_room: Open) -> None:
    replica = await open_room(rate="0", queue_limit=10)
    replies = await line_up(replica, crowd(5))
    lower = await open_room(rate="0", queue_limit=2)
    assert await lower.queue.arrive(ArrivalRequest(ANN)) == LineFull()
    again = await poll(lower, replies)
    assert again == replies


async def test_requests_without_a_place_ignore_the_limit(open_room: Open) -> None:
    replica = await open_room(burst=10, queue_limit=1)
    assert await replica.queue.take_admission()
    await replica.set_mode(Mode.HOLD)
    await line_up(replica, crowd(1))
    assert not await replica.queue.take_admission()
