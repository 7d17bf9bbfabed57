"""The order of turns, tied turns and turns that differ from arrivals: held on every store.

Turns are written as offsets from a moment of the room, which `Line` adds.
"""

import asyncio
from collections.abc import Mapping

import pytest

from gatekeeper.policy.decision import QueuePosition, SlotGrant
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.queue import MAX_RELEASED_PER_CALL
from tests.contract.grounds import (
    Ground,
    Open,
    Replica,
    admitted_names,
    crowd,
    line_up,
    poll_request,
)

WINDOW_S = 40  # longer than the recovery window of these rooms


class Line:
    """Visitors with tickets of given turns, and one replica that they poll."""

    def __init__(self, replica: Replica, base_us: int, turns: Mapping[str, int]) -> None:
        self.replica = replica
        self.base_us = base_us
        self.turns = {name: base_us + us for name, us in turns.items()}

    @classmethod
    async def of(cls, replica: Replica, turns: Mapping[str, int]) -> "Line":
        """Each visitor of `turns` polls once, in this order."""
        line = cls(replica, (await replica.read_state()).now_us, turns)
        await line.poll()
        return line

    async def poll(self) -> dict[str, int | str]:
        """How many visitors are ahead of each, or "in"."""
        polls = [poll_request(name, turn_us) for name, turn_us in self.turns.items()]
        standings = await asyncio.gather(*map(self.replica.queue.poll, polls))
        found: dict[str, int | str] = {}
        for name, standing in zip(self.turns, standings, strict=True):
            assert isinstance(standing, QueuePosition | SlotGrant)
            assert standing.turn_us == self.turns[name]
            found[name] = standing.ahead if isinstance(standing, QueuePosition) else "in"
        return found

    async def release(self, count: int) -> int:
        """Grants `count`; the offset of the watermark after a call that releases as many."""
        await self.replica.allow(count)
        assert await self.replica.released() == count
        return await self.watermark()

    async def watermark(self) -> int:
        return (await self.replica.read_state()).watermark_us - self.base_us


async def test_turns_order_the_queue_whatever_the_order_of_polls(open_room: Open) -> None:
    line = await Line.of(await open_room(rate=0), {"dan": 40, "ann": 10, "cat": 30, "bob": 20})
    assert await line.poll() == {"dan": 3, "ann": 0, "cat": 2, "bob": 1}
    assert await line.release(2) == 20
    assert await line.poll() == {"dan": 1, "ann": "in", "cat": 0, "bob": "in"}


async def test_newcomer_arrives_behind_every_turn(open_room: Open) -> None:
    replica = await open_room(rate=0)
    line = await Line.of(replica, {"ann": 1_000_000, "bob": 2_000_000})
    late = await line_up(replica, ["late"])
    assert late["late"] == QueuePosition(line.turns["bob"] + 1, 2)


async def test_turn_before_earlier_arrivals_is_ahead_of_them(open_room: Open) -> None:
    replica = await open_room(rate=0)
    base_us = (await replica.read_state()).now_us
    await replica.queue.poll(poll_request("ann", base_us + 500))
    first = await line_up(replica, ["bob"])
    early_us = base_us + 100
    assert await replica.queue.poll(poll_request("cat", early_us)) == QueuePosition(early_us, 0)
    assert await replica.queue.poll(poll_request("bob", first["bob"].turn_us)) == QueuePosition(
        first["bob"].turn_us, 2
    )


async def test_tied_turns_are_ordered_by_visitor_id(open_room: Open) -> None:
    line = await Line.of(await open_room(rate=0), {"cat": 10, "ann": 10, "B": 10, "zoe": 9})
    assert await line.poll() == {"zoe": 0, "B": 1, "ann": 2, "cat": 3}


async def test_watermark_stays_below_a_turn_that_is_partly_released(open_room: Open) -> None:
    turns = {"first": 10, "ann": 20, "bob": 20, "cat": 20, "last": 30}
    line = await Line.of(await open_room(rate=0), turns)
    assert [await line.release(1) for _ in turns] == [10, 19, 19, 20, 30]


async def test_tied_turns_that_are_due_are_released_together(open_room: Open) -> None:
    line = await Line.of(await open_room(rate=0), {"ann": 20, "bob": 20, "cat": 20, "dan": 30})
    assert await line.release(3) == 20
    assert await line.poll() == {"ann": "in", "bob": "in", "cat": "in", "dan": 0}


async def test_partly_released_turn_admits_no_more_than_is_due(open_room: Open) -> None:
    line = await Line.of(await open_room(rate=0), {"ann": 20, "bob": 20, "cat": 20})
    await line.release(2)
    assert (await line.replica.read_state()).expected == 2
    assert await line.poll() == {"ann": "in", "bob": "in", "cat": 0}
    state = await line.replica.read_state()
    assert (state.admitted_total, state.expected, state.queue_length) == (2, 0, 1)


async def test_tied_turns_move_at_a_burst_of_one(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="6/min", burst=1, heartbeat_timeout="90s")
    assert admitted_names(await line_up(replica, ["inside"])) == ["inside"]
    line = await Line.of(replica, dict.fromkeys(crowd(5), 10))
    marks = []
    for _ in range(5):
        await ground.pass_time(10)
        assert await replica.released() == 1
        marks.append(await line.watermark())
    assert marks == [9, 9, 9, 9, 10]


async def test_tied_turns_move_through_a_single_slot(open_room: Open) -> None:
    replica = await open_room(rate=0, max_active=1)
    line = await Line.of(replica, dict.fromkeys(crowd(3), 10))
    await replica.allow(10)
    marks = []
    for name in crowd(3):
        assert await replica.released() == 1
        marks.append(await line.watermark())
        await replica.queue.leave([VisitorId(name)])
    assert marks == [9, 9, 10]


async def test_more_tied_turns_than_one_call_releases_take_two_calls(open_room: Open) -> None:
    replica = await open_room(rate=0)
    line = await Line.of(replica, dict.fromkeys(crowd(MAX_RELEASED_PER_CALL + 50), 10))
    await replica.allow(5_000)
    assert await replica.released() == MAX_RELEASED_PER_CALL
    assert await line.watermark() == 9
    assert await replica.released() == 50
    assert await line.watermark() == 10


@pytest.mark.parametrize("tied_from", [95, 99])
async def test_tie_across_a_chunk_of_the_script_is_one_tie(open_room: Open, tied_from: int) -> None:
    turns = {name: 10 + (number >= tied_from) for number, name in enumerate(crowd(103))}
    line = await Line.of(await open_room(rate=0), turns)
    assert await line.release(100) == 10
    assert await line.release(3) == 11


async def test_visitor_of_a_released_turn_returns_to_the_head(open_room: Open) -> None:
    line = await Line.of(await open_room(rate=0), {"ann": 10, "bob": 10, "last": 90})
    assert await line.release(2) == 10
    line.turns["late"] = line.turns["ann"]
    assert await line.poll() == {"ann": "in", "bob": "in", "last": 0, "late": 0}
    assert await line.poll() == {"ann": "in", "bob": "in", "last": 1, "late": 0}
    assert await line.release(1) == 10


async def test_turns_survive_the_loss_of_the_store(ground: Ground, open_room: Open) -> None:
    line = await Line.of(await open_room(rate=0), {"dan": 40, "ann": 10, "cat": 20, "bob": 20})
    assert await line.release(2) == 19
    await ground.write({})
    await ground.pass_time(1)
    await line.poll()
    # Two were released and had not claimed. Of these the watermark covers one, and `bob` is first
    # in the queue again.
    assert await line.poll() == {"dan": 2, "ann": "in", "bob": 0, "cat": 1}
    await ground.pass_time(WINDOW_S)
    await line.poll()
    assert await line.release(1) == 19
    assert await line.poll() == {"dan": 1, "ann": "in", "bob": "in", "cat": 0}
