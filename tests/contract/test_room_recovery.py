"""A room whose store was emptied or rolled back: held on every store."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise, permutations

import pytest

from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.state import RoomState
from tests.contract.grounds import (
    Ground,
    Open,
    Replica,
    admitted_names,
    crowd,
    line_up,
    poll,
    poll_request,
)
from tests.contract.lost_store import TOTALS, WINDOW_S, fell, lose_everything

# The store comes back empty


@pytest.mark.parametrize("order", [*permutations(range(3))])
async def test_newest_known_state_is_written_back_in_any_order(
    ground: Ground, open_room: Open, order: tuple[int, int, int]
) -> None:
    replicas = [await open_room(rate=0) for _ in range(3)]
    for replica in replicas:  # each of them receives less than the next
        replies = await line_up(replica, crowd(5, prefix=f"at-{id(replica)}-"))
        await replica.allow(2)
        await replica.released()
        await poll(replica, replies)
        await replica.queue.set_rate(100 + replica.newest.version if replica.newest else 0)
        await replica.allow(7)
    await replicas[2].set_mode(Mode.HOLD)
    await replicas[2].queue.set_message("Doors at noon. – Türen um 12 🎟")
    known = [replica.newest for replica in replicas]
    newest = known[2]
    assert newest is not None
    await lose_everything(ground)
    received: list[RoomState] = []
    for at in order:
        received.append(await replicas[at].queue.join())
        best = known[at]
        assert best is not None
        assert fell(best, received[-1]) == []
    assert [fell(one, next_) for one, next_ in pairwise(received)] == [[], []]
    state = received[-1]
    assert state.epoch > newest.epoch
    assert (state.mode, state.rate_per_minute) == (Mode.HOLD, newest.rate_per_minute)
    assert state.message == newest.message == "Doors at noon. – Türen um 12 🎟"
    assert state.pending_grants == newest.pending_grants
    assert [getattr(state, name) for name in TOTALS] == [getattr(newest, name) for name in TOTALS]


async def test_uninformed_replica_hides_no_known_state(ground: Ground, open_room: Open) -> None:
    old = await open_room(rate=0)
    await old.queue.set_rate(99)
    await old.set_mode(Mode.HOLD)
    await lose_everything(ground)
    fresh = await open_room(rate=0)
    assert (await fresh.read_state()).mode is Mode.AUTO
    state = await old.queue.join()
    assert (state.mode, state.rate_per_minute) == (Mode.HOLD, 99)
    assert state.recovering_until_us > state.now_us


async def test_first_call_of_any_kind_notices_the_loss(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, ["ann", "bob"])
    await replica.queue.set_rate(99)
    await lose_everything(ground)
    assert (await replica.read_state()).rate_per_minute == 99
    await lose_everything(ground)
    assert await poll(replica, replies) == {
        name: QueuePosition(each.turn_us, ahead)
        for ahead, (name, each) in enumerate(replies.items())
    }


async def test_no_visitor_is_released_in_the_recovery_window(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate="600/min", burst=10, confirm_timeout="20s")
    await replica.queue.set_rate(0)
    replies = await line_up(replica, crowd(30))
    await replica.queue.set_rate(600)
    await replica.allow(5)
    await lose_everything(ground)
    state = await replica.queue.join()
    assert state.recovering_until_us - state.now_us >= 20_000_000
    assert admitted_names(await line_up(replica, ["a newcomer"])) == []
    assert admitted_names(await poll(replica, replies)) == []
    await ground.pass_time(19)
    assert await replica.released() == 0
    await replica.set_mode(Mode.OPEN)
    assert await replica.released() == 0
    await replica.set_mode(Mode.AUTO)
    await ground.pass_time(WINDOW_S)
    assert await replica.released() == 15


async def test_second_loss_does_not_shorten_the_first_recovery(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate="6/min", burst=10, confirm_timeout="2s")
    replies = await line_up(replica, crowd(100))
    await replica.released()
    slow, quick = list(replies)[50], list(replies)[99]
    await lose_everything(ground)
    await replica.queue.join()
    await poll(replica, {quick: replies[quick]})
    await replica.released()
    await ground.pass_time(1)
    await lose_everything(ground)
    state = await replica.queue.join()
    assert state.recovering_until_us - state.now_us > 40_000_000
    await ground.pass_time(15)
    assert admitted_names(await poll(replica, {quick: replies[quick]})) == []
    assert await replica.released() == 0
    await poll(replica, {slow: replies[slow]})
    await ground.pass_time(2 * WINDOW_S)
    assert admitted_names(await poll(replica, {slow: replies[slow]})) == [slow]


async def test_returning_visitors_keep_their_order_before_newcomers(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(30))
    await lose_everything(ground)
    newcomers = await line_up(replica, ["new"])
    for name in reversed(replies):
        await poll(replica, {name: replies[name]})
    standings = await poll(replica, replies | newcomers)
    assert [each.ahead for each in standings.values() if isinstance(each, QueuePosition)] == [
        *range(31)
    ]
    await ground.pass_time(WINDOW_S)
    await poll(replica, replies | newcomers)
    await replica.allow(30)
    assert await replica.released() == 30
    assert (await ground.read())["queue"].keys() == {"new"}


async def test_old_ticket_starts_the_recovery_of_an_empty_store(
    ground: Ground, open_room: Open
) -> None:
    replies = await line_up(await open_room(rate=0), ["ann", "bob"])
    await lose_everything(ground)
    replica = await open_room(rate="600/min", burst=10)
    assert (await replica.read_state()).recovering_until_us == 0
    assert await poll(replica, {"bob": replies["bob"]}) == {
        "bob": QueuePosition(replies["bob"].turn_us, 0)
    }
    assert await replica.released() == 0
    await poll(replica, {"ann": replies["ann"]})
    await ground.pass_time(WINDOW_S)
    assert admitted_names(await poll(replica, replies)) == ["ann", "bob"]


async def test_second_join_keeps_what_was_set_since(ground: Ground, open_room: Open) -> None:
    replica, other = await open_room(rate=0), await open_room(rate=0)
    await replica.allow(5)
    await lose_everything(ground)
    await replica.queue.join()
    await other.queue.set_rate(55)
    await other.allow(3)
    before = await ground.read()
    state = await replica.queue.join()
    assert (state.rate_per_minute, state.pending_grants) == (55, 8)
    assert await ground.read() == before


async def test_rollback_to_a_snapshot_is_repaired(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(10))
    snapshot = await ground.read()
    await replica.allow(4)
    await replica.released()
    await replica.queue.set_rate(33)
    newest = replica.newest
    assert newest is not None
    await ground.write(snapshot)
    state, released = await replica.queue.advance()
    assert released == 0  # the granted visitors were released already
    assert state.newer_than(newest)
    assert fell(newest, state) == []
    assert state.rate_per_minute == 33
    assert state.recovering_until_us > state.now_us
    assert await replica.released() == 0
    assert admitted_names(await poll(replica, replies)) == crowd(4)  # these four only


@pytest.mark.parametrize("order", [*permutations(range(3))])
async def test_newest_replica_wins_after_a_rollback_in_any_order(
    ground: Ground, open_room: Open, order: tuple[int, int, int]
) -> None:
    replicas = [await open_room() for _ in range(3)]
    snapshot = await ground.read()
    for rate, replica in enumerate(replicas, start=50):  # each knows one state more than the last
        await replica.queue.set_rate(rate)
    await ground.write(snapshot)
    for at in order:
        await replicas[at].queue.join()
    assert (await replicas[0].read_state()).rate_per_minute == 52


async def test_admissions_before_a_rollback_are_not_repeated(
    ground: Ground, open_room: Open
) -> None:
    replica, other = await open_room(burst=3), await open_room(burst=3)
    snapshot = await ground.read()
    await replica.allow(2)
    before = await line_up(replica, crowd(6))
    assert len(admitted_names(before)) == 5  # a burst of three and two grants
    await other.read_state()
    await ground.write(snapshot)
    late = await line_up(other, ["late"])
    assert admitted_names(late) == []
    assert late["late"].turn_us > max(each.turn_us for each in before.values())
    assert await replica.released() == 0


async def test_time_before_a_rollback_fills_no_bucket(ground: Ground, open_room: Open) -> None:
    """Admissions that fell due after the copy was made were used in the lost state."""
    replica = await open_room(rate="60/min", burst=1)
    replies = await line_up(replica, crowd(4))
    assert admitted_names(replies) == crowd(1)
    await replica.queue.leave([VisitorId("v0000")])
    snapshot = await ground.read()
    await ground.pass_time(1)
    assert await replica.released() == 1
    await ground.write(snapshot)
    await ground.pass_time(1)
    assert admitted_names(await poll(replica, {"v0001": replies["v0001"]})) == ["v0001"]
    [early, later] = crowd(2, prefix="w")  # two at most: one is taken in advance
    at = QueuePosition(replies["v0001"].turn_us - 1, 0)
    assert admitted_names(await poll(replica, {early: at, later: at})) == [early]


SET: dict[
    str, tuple[Callable[[Replica], Awaitable[RoomState]], Callable[[RoomState], bool]]
] = {
    "rate": (lambda r: r.queue.set_rate(77), lambda s: s.rate_per_minute == 77),
    "mode": (lambda r: r.set_mode(Mode.HOLD), lambda s: s.mode is Mode.HOLD),
    "message": (lambda r: r.queue.set_message("wait"), lambda s: s.message == "wait"),
    "grants": (lambda r: r.allow(3), lambda s: s.pending_grants == 3),
}  # fmt: skip


@pytest.mark.parametrize("what", SET)
async def test_setting_after_a_loss_outlives_older_knowledge(
    ground: Ground, open_room: Open, what: str
) -> None:
    set_it, is_set = SET[what]
    replica, late = await open_room(rate=0), await open_room(rate=0)
    replies = await line_up(late, crowd(3))
    await late.allow(2)
    await late.released()
    await late.queue.set_rate(5)
    await late.set_mode(Mode.ENDED)
    await late.queue.set_message("over")
    await lose_everything(ground)
    await set_it(replica)
    state = await late.read_state()
    assert is_set(state)
    assert state.watermark_us == replies["v0001"].turn_us
    known = (state.rate_per_minute, state.mode, state.message)
    assert sum(a == b for a, b in zip(known, (5, Mode.ENDED, "over"), strict=True)) >= 2
    await lose_everything(ground)
    assert is_set(await late.read_state())


async def test_watermark_after_two_losses_is_the_highest_known(
    ground: Ground, open_room: Open
) -> None:
    replica, late = await open_room(rate=0), await open_room(rate=0)
    replies = await line_up(late, crowd(3))
    await late.allow(2)
    await late.released()
    await lose_everything(ground)
    await replica.queue.set_rate(5)
    await lose_everything(ground)
    await replica.read_state()
    state = await late.read_state()
    assert state.watermark_us == replies["v0001"].turn_us
    assert (state.rate_per_minute, state.released_total) == (5, 2)


async def test_two_losses_from_one_state_get_two_epochs(ground: Ground, open_room: Open) -> None:
    replica, late = await open_room(), await open_room()
    ahead = 3_600_000_000  # how far the clock of the lost store was
    for each in (replica, late):
        known = each.newest
        assert known is not None
        each.newest = replace(known, epoch=known.epoch + ahead)
    await lose_everything(ground)
    await replica.queue.set_rate(77)
    first = replica.newest
    assert first is not None
    await lose_everything(ground)
    await ground.pass_time(0.25)
    for _ in range(9):
        await late.allow(1)
    assert late.newest is not None
    assert late.newest.epoch != first.epoch
    assert (await replica.read_state()).rate_per_minute == 77


async def test_empty_store_with_a_late_clock_recovers_in_its_window(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(3))
    known = replica.newest
    assert known is not None
    replica.newest = replace(known, epoch=known.epoch + 3_600_000_000)
    await lose_everything(ground)
    await poll(replica, replies)
    await ground.pass_time(WINDOW_S)
    await poll(replica, replies)
    await replica.allow(3)
    assert await replica.released() == 3


async def test_empty_store_with_a_late_clock_keeps_the_order(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(3))
    known = replica.newest
    assert known is not None
    replica.newest = replace(  # as if the clock of the lost store had been an hour ahead
        known,
        epoch=known.epoch + 3_600_000_000,
        last_arrival_us=known.last_arrival_us + 3_600_000_000,
    )
    await lose_everything(ground)
    late = await line_up(replica, ["late"])
    assert late["late"].turn_us == known.last_arrival_us + 3_600_000_001
    standings = await poll(replica, replies | late)
    assert [each.ahead for each in standings.values() if isinstance(each, QueuePosition)] == [
        0,
        1,
        2,
        3,
    ]


async def test_newcomer_comes_behind_the_newest_ticket(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    ahead_us = (await replica.read_state()).now_us + 4_000_000
    await lose_everything(ground)
    await replica.queue.poll(poll_request("ann", ahead_us))
    assert await line_up(replica, ["bob"]) == {"bob": QueuePosition(ahead_us + 1, 1)}


@pytest.mark.parametrize("ahead_s", [61, 3600, 10**8])
@pytest.mark.parametrize("lane", ["", "members"])
@pytest.mark.parametrize("by_proxy", [False, True])
async def test_stamp_of_a_fast_clock_lifts_no_arrival(
    open_room: Open, ahead_s: float, lane: str, *, by_proxy: bool
) -> None:
    """The visitor's turn is the time of the return, before all later visitors."""
    replica = await open_room(rate=0)
    await line_up(replica, ["first"])
    now_us = (await replica.read_state()).now_us
    ahead_us = now_us + round(ahead_s * 1_000_000)
    stamped = replace(
        poll_request("ann", ahead_us),
        lane=lane,
        arrival_us=ahead_us if lane else 0,
        by_proxy=by_proxy,
    )
    standing = await replica.queue.poll(stamped)
    assert isinstance(standing, QueuePosition)
    assert standing.ahead == 1
    assert standing.is_moved
    assert standing.turn_us < now_us + 2_000_000
    late = await line_up(replica, ["late"])
    assert standing.turn_us < late["late"].turn_us < now_us + 4_000_000
    again = await replica.queue.poll(replace(stamped, turn_us=standing.turn_us, by_proxy=False))
    assert again == QueuePosition(standing.turn_us, 1)
