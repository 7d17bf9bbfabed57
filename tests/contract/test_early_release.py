"""Releases while the store recovers from a loss: held on every store."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.outstanding_polls import OutstandingPolls
from tests.contract.grounds import (
    Ground,
    Open,
    Replica,
    Responses,
    admitted_names,
    crowd,
    line_up,
    poll,
)
from tests.contract.lost_store import WINDOW_S, lose_everything


@dataclass
class Line:
    """Replicas of a room, and the visitors in line."""

    ground: Ground
    open_room: Open
    rooms: list[Replica] = field(default_factory=list)
    waiting: Responses = field(default_factory=dict)
    clock_s: float = 1000.0  # the monotonic clock of the replicas

    async def add_replica(self, **keys: object) -> Replica:
        room = await self.open_room(**{"rate": "60/min", "burst": 2} | keys)
        room.queue.outstanding_polls = OutstandingPolls(monotonic_s=lambda: self.clock_s)
        return room

    async def pass_time(self, seconds: float, *rooms: Replica) -> int:
        """These replicas, or all, call four times a second. Returns how many visitors they
        released."""
        released = 0
        for _ in range(round(seconds * 4)):
            self.clock_s += 0.25
            await self.ground.pass_time(0.25)
            for replica in rooms or self.rooms:
                released += await replica.released()
        return released

    def tell(self, replica: Replica, intervals_s: dict[str, float]) -> None:
        for name, interval_s in intervals_s.items():
            replica.queue.outstanding_polls.note(
                self.waiting[name].turn_us, interval_s, in_store=True
            )

    async def lose_store(self) -> None:
        await lose_everything(self.ground)

    async def poll(self, *names: str) -> None:
        """These visitors, or all, poll the first replica."""
        await poll(self.rooms[0], {name: self.waiting[name] for name in names or self.waiting})


FormLine = Callable[..., Awaitable[Line]]


@pytest.fixture
def form_line(ground: Ground, open_room: Open) -> FormLine:
    """Twelve visitors in line before two replicas; the first two visitors are released."""

    async def form(*, age_s: float = 200, **keys: object) -> Line:
        line = Line(ground, open_room)
        line.rooms = [await line.add_replica(**keys) for _ in range(2)]
        await line.pass_time(0.25)
        await ground.pass_time(age_s)
        await line.rooms[0].queue.set_rate(0)
        replies = await line_up(line.rooms[0], crowd(12))
        await line.rooms[0].queue.set_rate(60)
        admitted = admitted_names(replies)
        line.waiting = {name: each for name, each in replies.items() if name not in admitted}
        await line.pass_time(1)
        return line

    return form


@pytest.fixture
async def line(form_line: FormLine) -> Line:
    return await form_line()


async def test_front_is_released_before_the_rest_has_returned(line: Line) -> None:
    names = list(line.waiting)
    line.tell(line.rooms[0], {names[1]: 1, names[5]: 20})
    line.tell(line.rooms[1], {names[2]: 1})
    await line.lose_store()
    assert await line.pass_time(2) == 0
    await line.poll()
    assert 1 <= await line.pass_time(1.5) <= 3  # a burst, and what falls due meanwhile
    # Only up to the first visitor who may not have returned.
    assert await line.pass_time(6) <= 4
    state = await line.rooms[0].read_state()
    assert state.recovering_until_us > state.now_us
    assert state.watermark_us == line.waiting[names[4]].turn_us
    await line.pass_time(WINDOW_S)
    assert (await line.rooms[0].read_state()).watermark_us > line.waiting[names[5]].turn_us


async def test_nobody_is_released_before_every_replica_reports(line: Line) -> None:
    await line.lose_store()
    await line.poll()
    assert await line.pass_time(8, line.rooms[0]) == 0
    assert await line.pass_time(2) > 0


async def test_release_of_before_the_loss_is_claimed_first(line: Line) -> None:
    """A visitor who returned to an earlier turn waits until then. An early release would end the
    claims of before the loss."""
    names = list(line.waiting)
    assert await line.pass_time(1) == 1  # the second visitor
    line.tell(line.rooms[1], {names[1]: 6})
    first = line.waiting[names[0]]
    assert isinstance(first, QueuePosition)
    line.waiting[names[0]] = replace(first, returned_at=2)
    await line.lose_store()
    await line.poll(*names[:1], *names[2:])
    assert await line.pass_time(6) == 0
    claim = await poll(line.rooms[1], {names[1]: line.waiting[names[1]]})
    assert admitted_names(claim) == [names[1]]
    await line.pass_time(4)
    assert VisitorId(names[0]) not in (await line.ground.read())["queue"]


async def test_replica_that_started_since_replaces_no_other(line: Line) -> None:
    """The replica that ended may have sent any poll interval."""
    await line.lose_store()
    await line.poll()
    late = await line.add_replica()
    assert await line.pass_time(8, line.rooms[0], late) == 0


async def test_visitors_of_a_replica_that_started_since_are_waited_for(line: Line) -> None:
    """It may have sent a visitor a longer interval while the store was unreachable again."""
    names = list(line.waiting)
    await line.lose_store()
    await line.poll(*names[1:])
    late = await line.add_replica()
    await line.pass_time(0.5, *line.rooms, late)
    late.queue.outstanding_polls.note(line.waiting[names[0]].turn_us, 6, in_store=False)
    assert await line.pass_time(6, *line.rooms, late) == 0
    assert await line.pass_time(4, *line.rooms, late) > 0


async def test_young_store_of_an_older_room_waits_for_the_whole_line(
    form_line: FormLine,
) -> None:
    """It does not know all replicas that served the room yet."""
    line = await form_line(age_s=20, is_first=False)
    await line.lose_store()
    await line.poll()
    assert await line.pass_time(8) == 0


async def test_store_knows_all_replicas_of_a_new_room(form_line: FormLine) -> None:
    line = await form_line(age_s=0)
    await line.lose_store()
    await line.poll()
    assert await line.pass_time(3) > 0


async def test_second_loss_after_the_recovery_from_the_first(line: Line) -> None:
    """The store knows all replicas since they have reported."""
    await line.lose_store()
    await line.poll()
    await line.pass_time(WINDOW_S + 1)
    await line.lose_store()
    await line.poll()
    assert await line.pass_time(3) > 0


async def test_silent_replica_ends_early_releases(line: Line) -> None:
    await line.lose_store()
    await line.poll()
    assert await line.pass_time(3) > 0
    await line.pass_time(1.25, line.rooms[0])
    assert await line.pass_time(3, line.rooms[0]) == 0


async def test_second_loss_waits_for_the_whole_line(line: Line) -> None:
    await line.lose_store()
    await line.pass_time(1)
    await line.lose_store()
    await line.poll()
    assert await line.pass_time(6) == 0


@pytest.mark.parametrize("pause_s", [0, 6])
async def test_rolled_back_store_releases_up_to_who_may_be_missing(
    line: Line, pause_s: float
) -> None:
    """A fail-over to a copy without the last moment, in which the sixth visitor arrived. `pause_s`:
    the copy is older than pacers ever pause, with the time until the copy was promoted."""
    names = list(line.waiting)
    contents = await line.ground.read()
    del contents["queue"][names[5]]
    line.tell(line.rooms[1], {names[1]: 1, names[5]: 20})
    await line.rooms[0].allow(1)
    await line.rooms[0].released()
    await line.ground.write(contents)
    await line.ground.attend(ago_s=pause_s)
    await line.poll(*[name for name in names if name != names[5]])
    assert await line.pass_time(2) == 0
    assert await line.pass_time(6) > 0
    state = await line.rooms[0].read_state()
    assert state.recovering_until_us > state.now_us
    assert state.watermark_us == line.waiting[names[4]].turn_us


async def test_loss_after_a_pause_of_the_pacers_is_the_first(line: Line) -> None:
    """Nobody is admitted in that pause, which is no recovery from another loss."""
    contents = await line.ground.read()
    await line.ground.attend(ago_s=6)
    await line.rooms[0].allow(1)
    assert await line.rooms[0].released() == 0
    await line.ground.write(contents)
    await line.ground.attend()
    await line.poll()
    assert await line.pass_time(6) > 0


async def test_copy_from_within_a_recovery_waits_for_the_whole_line(line: Line) -> None:
    await line.lose_store()
    await line.pass_time(1)
    contents = await line.ground.read()
    await line.rooms[0].allow(1)
    await line.pass_time(1)
    await line.ground.write(contents)
    await line.ground.attend()
    await line.poll()
    assert await line.pass_time(6) == 0


async def test_slots_of_visitors_inside_are_kept(form_line: FormLine) -> None:
    """The store knows these visitors again only when they use their passes."""
    line = await form_line(max_active=4)
    state = await line.rooms[0].read_state()
    assert state.active < 4
    free = 4 - state.active
    await line.lose_store()
    await line.poll()
    released = await line.pass_time(8)
    entered = (await line.rooms[0].read_state()).active
    assert released + entered <= 2 * free + state.active
    assert released <= free


async def test_rate_of_early_releases_is_exact(line: Line) -> None:
    """The admissions due since the loss, at most a burst at once."""
    await line.lose_store()
    await line.poll()
    before = await line.rooms[0].read_state()
    await line.pass_time(8)
    state = await line.rooms[0].read_state()
    assert state.recovering_until_us > state.now_us
    assert 8 - 1.5 <= state.released_total - before.released_total <= 8 + 1


async def test_absent_visitor_returns_to_the_head(line: Line) -> None:
    names = list(line.waiting)
    await line.lose_store()
    await line.poll(*names[2:])
    assert await line.pass_time(4) > 0
    await line.poll(names[0])
    assert await line.pass_time(1.25) >= 1
    assert VisitorId(names[0]) not in (await line.ground.read())["queue"]
