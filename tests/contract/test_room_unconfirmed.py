"""Visitors admitted without the store: counted when it recovers, until they are seen again."""

from gatekeeper.policy.decision import QueuePosition, SlotGrant
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.queue import IF_CONFIRMED, UNCONFIRMED
from tests.contract.grounds import (
    Ground,
    Open,
    Replica,
    admitted_names,
    arrive,
    confirm,
    crowd,
    enter,
    line_up,
    poll,
)


async def count_guesses(replica: Replica, names: list[str], *, for_s: float = 25) -> None:
    """Write the slots of these visitors to the store when it recovers."""
    until_us = (await replica.read_state()).now_us + round(for_s * 1_000_000)
    for name in names:
        assert await replica.queue.touch(VisitorId(name), until_us=until_us, ends_us=UNCONFIRMED)


async def test_guesses_of_an_outage_fill_the_slots(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="600/min", burst=10, max_active=3)
    await count_guesses(replica, crowd(3))
    state = await replica.read_state()
    assert (state.active, state.has_room) == (3, False)
    assert admitted_names(await arrive(replica, ["new"])) == []
    await ground.pass_time(26)
    await replica.released()
    assert (await replica.read_state()).active == 0


async def test_guesses_of_an_outage_hold_up_no_confirmed_visitor(open_room: Open) -> None:
    replica = await open_room(rate="600/min", burst=10, max_active=3)
    await count_guesses(replica, crowd(20))
    assert (await replica.read_state()).active == 3  # of 20: as many as there are slots
    assert admitted_names(await line_up(replica, ["ann", "bob"])) == ["ann", "bob"]
    assert (await replica.read_state()).active == 3


async def test_guess_that_is_seen_again_holds_the_slot(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="600/min", burst=10, max_active=3)
    await count_guesses(replica, ["ann", "bob"])
    until_us = (await replica.read_state()).now_us + 600_000_000
    await replica.queue.touch(VisitorId("ann"), until_us=until_us, ends_us=until_us)
    await count_guesses(replica, ["ann"])
    await ground.pass_time(26)
    await replica.released()
    stored = await ground.read()
    assert [*stored["active"]] == ["ann"]
    assert "unconfirmed" not in stored


async def test_guess_changes_nothing_for_a_visitor_that_is_known(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, max_active=9)
    await enter(replica, "inside")
    await enter(replica, "gone")
    await replica.queue.leave([VisitorId("gone")])
    waiting = await line_up(replica, ["waits", "left"])
    await replica.queue.leave([VisitorId("left")], with_tickets=True)
    before = await ground.read()
    for name in ("inside", "waits", "left"):
        await count_guesses(replica, [name])
    await count_guesses(replica, ["expired"], for_s=-1)
    assert not await replica.queue.touch(VisitorId("gone"), until_us=9**16, ends_us=UNCONFIRMED)
    assert await ground.read() == before
    [standing] = (await poll(replica, {"waits": waiting["waits"]})).values()
    assert isinstance(standing, QueuePosition)
    assert not isinstance(standing, SlotGrant)


async def test_stream_keeps_a_confirmed_slot_and_makes_none(
    ground: Ground, open_room: Open
) -> None:
    """The visitor had not used the pass when the stream began."""
    replica = await open_room(rate="600/min", burst=10, max_active=9)
    await arrive(replica, ["guess", "inside", "gone"])
    await confirm(replica, ["inside"])
    await replica.queue.leave([VisitorId("gone")])
    before = await ground.read()
    until_us = (await replica.read_state()).now_us + 7_200_000_000
    for name, is_allowed in (("guess", True), ("inside", True), ("new", True), ("gone", False)):
        touch = replica.queue.touch(VisitorId(name), until_us=until_us, ends_us=IF_CONFIRMED)
        assert await touch is is_allowed
    contents = await ground.read()
    assert contents.pop("active") == {"inside": until_us}
    del before["active"]
    assert contents == before


async def test_stream_claims_no_release(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    await line_up(replica, ["ann"])
    await replica.allow(1)
    assert await replica.released() == 1
    before = await ground.read()
    assert before["active"].keys() == before["deadlines"].keys() == {"ann"}
    until_us = (await replica.read_state()).now_us + 900_000_000
    assert await replica.queue.touch(VisitorId("ann"), until_us=until_us, ends_us=IF_CONFIRMED)
    assert await ground.read() == before
