"""A place moves from device to device, once for each code, on every store."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gatekeeper.errors import StoreError
from gatekeeper.policy.decision import Elsewhere, QueuePosition, SlotGrant
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.move_request import Move, MoveRequest
from gatekeeper.room.visitor_calls import PollRequest
from tests.contract.grounds import Ground, Open, Replica, line_up

ANN = VisitorId("ann")
PHONE, LAPTOP, TABLET = "phone-01", "laptop01", "tablet01"


class Mover:
    """Ann, the second of three in line, and her devices."""

    def __init__(self, replica: Replica, turn_us: int) -> None:
        self.replica = replica
        self.turn_us = turn_us

        self.moves_us: dict[str | None, int] = {}  # as in the tickets of the devices

    def request(self, device: str | None, **fields: Any) -> PollRequest:
        moved_us = self.moves_us.get(device, 0)
        request = PollRequest(ANN, self.turn_us, False, device=device, moved_us=moved_us)
        return replace(request, **fields)

    async def poll(self, device: str | None, **fields: Any) -> object:
        return await self.replica.queue.poll(self.request(device, **fields))

    async def code(self, made_on: str | None) -> MoveRequest:
        """A code made now, without the new device."""
        now_us = (await self.replica.read_state()).now_us
        return MoveRequest(ANN, made_on=made_on, to="", made_us=now_us)

    async def use(self, code: MoveRequest, to: str) -> str:
        """Use a code on a device. Returns "moved", or why not."""
        result = await self.replica.queue.move(code._replace(to=to))
        if not isinstance(result, Move):
            return result
        self.moves_us[to] = result.moved_us
        return "moved"

    async def move(self, made_on: str | None, to: str) -> str:
        return await self.use(await self.code(made_on), to)

    async def release(self) -> None:
        await self.replica.allow(2)
        assert await self.replica.released() == 2


@pytest.fixture
async def ann(open_room: Open) -> Mover:
    replica = await open_room(rate=0)
    places = await line_up(replica, ["bob", "ann", "cat"])
    return Mover(replica, places["ann"].turn_us)


async def test_moved_place_keeps_its_turn_and_its_release(ann: Mover) -> None:
    before = await ann.poll(None)
    assert isinstance(before, QueuePosition)
    assert await ann.move(None, PHONE) == "moved"
    assert await ann.poll(None) == Elsewhere()
    assert await ann.poll(PHONE) == before
    assert (await ann.replica.read_state()).queue_length == 3
    await ann.release()
    assert await ann.move(PHONE, LAPTOP) == "moved"  # released, and not claimed yet
    assert await ann.poll(PHONE) == Elsewhere()
    assert isinstance(await ann.poll(LAPTOP), SlotGrant)
    assert await ann.poll(None) == Elsewhere()


async def test_code_moves_a_place_once(ann: Mover) -> None:
    """Of all codes of one device only the first that is used, also if they are used at the same
    time."""
    results = await asyncio.gather(*(ann.move(None, to) for to in (PHONE, LAPTOP, TABLET)))
    assert sorted(results) == ["moved", "used", "used"]
    winner = (PHONE, LAPTOP, TABLET)[results.index("moved")]
    for device in (None, PHONE, LAPTOP, TABLET):
        standing = await ann.poll(device)
        assert (standing == Elsewhere()) == (device != winner)


async def test_lost_response_of_a_move_costs_nothing(ann: Mover) -> None:
    for _ in range(2):
        assert await ann.move(None, PHONE) == "moved"
        assert isinstance(await ann.poll(PHONE), QueuePosition)
    assert await ann.move(PHONE, LAPTOP) == "moved"
    for made_on, to in ((None, PHONE), (PHONE, TABLET), (PHONE, "other-01"), (None, TABLET)):
        assert await ann.move(made_on, to) == "used"
    assert isinstance(await ann.poll(LAPTOP), QueuePosition)


async def test_claimed_place_is_not_moved(ann: Mover) -> None:
    """Neither by an old or new code, nor to the device that has it."""
    assert await ann.move(None, PHONE) == "moved"
    await ann.release()
    assert isinstance(await ann.poll(PHONE), SlotGrant)
    for made_on, to in ((None, PHONE), (None, LAPTOP), (PHONE, LAPTOP)):
        assert await ann.move(made_on, to) == "claimed"
    assert isinstance(await ann.poll(PHONE), SlotGrant)


async def test_visitor_straight_through_is_not_moved(open_room: Open) -> None:
    replica = await open_room(rate="600/min", burst=10)
    assert isinstance((await line_up(replica, ["ann"]))["ann"], SlotGrant)
    request = MoveRequest(ANN, made_on=None, to=PHONE, made_us=(await replica.read_state()).now_us)
    assert await replica.queue.move(request) == "claimed"


async def test_place_that_was_given_back_is_not_moved(ann: Mover) -> None:
    await ann.replica.queue.leave([ANN], with_tickets=True, devices=[None])
    assert await ann.move(None, PHONE) == "void"
    await ann.replica.queue.leave([VisitorId("bob")])
    request = (await ann.code(None))._replace(visitor=VisitorId("bob"), to=PHONE)
    assert await ann.replica.queue.move(request) == "void"


async def test_absent_visitor_moves_to_the_place_of_the_ticket(ground: Ground, ann: Mover) -> None:
    """The laptop was closed and its visitor removed from the queue: the ticket keeps the place."""
    await ground.pass_time(91)
    await ann.replica.released()
    assert (await ann.replica.read_state()).queue_length == 0
    assert await ann.move(None, PHONE) == "moved"
    standing = await ann.poll(PHONE)
    assert isinstance(standing, QueuePosition)
    assert standing.turn_us == ann.turn_us
    assert await ann.poll(None) == Elsewhere()


async def test_leaving_on_the_old_device_keeps_a_moved_place(ann: Mover) -> None:
    assert await ann.move(None, PHONE) == "moved"
    _, left = await ann.replica.queue.leave([ANN], with_tickets=True, devices=[None])
    assert left == ["nothing"]
    assert isinstance(await ann.poll(PHONE), QueuePosition)


async def lose_everything(ground: Ground, ann: Mover) -> None:
    """The store loses everything; its recovery is not over yet."""
    await ground.write({})
    await ground.pass_time(1)
    await ann.replica.read_state()


async def test_old_device_is_refused_after_a_loss_of_the_store(ground: Ground, ann: Mover) -> None:
    """As soon as the new device has polled, no matter which of them polls first."""
    assert await ann.move(None, PHONE) == "moved"
    await lose_everything(ground, ann)
    assert isinstance(await ann.poll(None), QueuePosition)
    assert isinstance(await ann.poll(PHONE), QueuePosition)
    for _ in range(2):
        assert await ann.poll(None) == Elsewhere()
        assert isinstance(await ann.poll(PHONE, connected=True), QueuePosition)
    await ground.pass_time(60)  # until all visitors ahead had time to return
    assert isinstance(await ann.poll(PHONE), QueuePosition)
    await ann.replica.allow(5)
    await ann.replica.released()
    assert await ann.poll(None) == Elsewhere()
    assert isinstance(await ann.poll(PHONE), SlotGrant)
    assert await ann.poll(None) == Elsewhere()
    assert (await ann.replica.read_state()).active == 1


async def test_latest_move_counts_after_a_loss_of_the_store(ground: Ground, ann: Mover) -> None:
    for made_on, to in ((None, PHONE), (PHONE, LAPTOP), (LAPTOP, TABLET)):
        assert await ann.move(made_on, to) == "moved"
        await ground.pass_time(1)
    await lose_everything(ground, ann)
    polled = [PHONE, TABLET, LAPTOP, None, PHONE]
    standings = await asyncio.gather(
        *(ann.replica.queue.poll(ann.request(each)) for each in polled)
    )
    assert isinstance(standings[0], QueuePosition)  # the store does not know the others yet
    assert isinstance(standings[1], QueuePosition)
    assert standings[2:] == [Elsewhere()] * 3
    assert isinstance(await ann.poll(TABLET), QueuePosition)


async def test_one_device_enters_after_a_loss_of_the_store(ground: Ground, ann: Mover) -> None:
    """The old device polls first, and the new one does not poll in time."""
    assert await ann.move(None, PHONE) == "moved"
    await lose_everything(ground, ann)
    assert isinstance(await ann.poll(None), QueuePosition)
    await ground.pass_time(60)
    assert isinstance(await ann.poll(None), QueuePosition)
    await ann.replica.allow(5)
    await ann.replica.released()
    assert isinstance(await ann.poll(None), SlotGrant)
    assert await ann.poll(PHONE) == Elsewhere()
    assert (await ann.replica.read_state()).active == 1


async def test_code_from_before_a_loss_moves_nothing(ground: Ground, ann: Mover) -> None:
    """The store lost whether it was used; a new code works."""
    used, unused = await ann.code(None), await ann.code(None)
    assert await ann.use(used, PHONE) == "moved"
    await lose_everything(ground, ann)
    for code in (used, unused):
        assert await ann.use(code, TABLET) == "used"
    assert isinstance(await ann.poll(PHONE), QueuePosition)
    for code in (used, unused):
        assert await ann.use(code, TABLET) == "used"
    assert await ann.use(used, PHONE) == "moved"  # repeated after a lost response
    assert await ann.move(PHONE, TABLET) == "moved"
    assert await ann.poll(PHONE) == Elsewhere()


async def test_copy_of_the_store_that_lags_learns_of_the_move(ground: Ground, ann: Mover) -> None:
    """It knows the move before the last one."""
    assert await ann.move(None, PHONE) == "moved"
    copy = await ground.read()
    await ground.pass_time(1)
    code = await ann.code(PHONE)
    assert await ann.use(code, LAPTOP) == "moved"
    await ann.replica.queue.set_rate(0)
    await ground.write(copy)
    await ground.pass_time(1)
    await ann.replica.read_state()
    assert await ann.use(code, TABLET) == "used"
    assert isinstance(await ann.poll(LAPTOP), QueuePosition)
    assert await ann.poll(PHONE) == Elsewhere()
    assert await ann.poll(None) == Elsewhere()


@pytest.mark.parametrize("to", ["", "a b", "phone-01\n", "phone 01"])
async def test_bad_device_changes_nothing(ground: Ground, ann: Mover, to: str) -> None:
    with pytest.raises(StoreError):
        await ann.move(None, to)
    with pytest.raises(StoreError):
        await ann.move(PHONE, PHONE)
    assert "holders" not in await ground.read()
