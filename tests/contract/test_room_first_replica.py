"""A replica starts on an empty store: only the very first replica fills the bucket."""

from collections.abc import Callable

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.rules import Rules
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.replica import RoomReplica
from tests.contract.grounds import Ground, Open, admitted_names, arrive, crowd, line_up


class Bus(NoEvents):
    """Events between the replicas of one test. Counts the requests for a state."""

    def __init__(self) -> None:
        self.responding: list[RoomName] = []
        self.asked = 0

    async def is_known_elsewhere(self, room: RoomName) -> bool:
        self.asked += 1
        return room in self.responding

    async def respond_for(self, room: RoomName) -> None:
        self.responding.append(room)


Live = Callable[[str], RoomReplica]


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def live(ground: Ground, bus: Bus) -> Live:
    """A replica whose pacer ticks only when the test calls it."""
    rules = Rules.of(RoomConfig.model_validate({"name": ground.room, "rate": "6/min", "burst": 5}))
    return lambda name: RoomReplica(ground.connect(), bus, rules, replica=name)


async def level(ground: Ground) -> int:
    return int(float((await ground.read())["state"]["level"]) / 1e9)


async def test_first_replica_fills_the_bucket(ground: Ground, live: Live, bus: Bus) -> None:
    await live("first")._tick()
    assert (await level(ground), bus.asked) == (5, 1)


async def test_replica_on_a_lost_store_fills_no_bucket(
    ground: Ground, live: Live, bus: Bus
) -> None:
    first = live("first")
    await first._tick()
    await first.queue.set_rate(7)
    await ground.write({})
    await live("second")._tick()
    assert (await level(ground), bus.asked) == (0, 2)
    await first._tick()
    assert (await first.queue.read_state()).rate_per_minute == 7
    assert await level(ground) == 0


async def test_operator_on_an_empty_store_fills_no_bucket(ground: Ground, live: Live) -> None:
    await live("operator").queue.read_state()
    assert await level(ground) == 0
    await live("first")._tick()
    assert await level(ground) == 5


async def test_full_bucket_is_given_out_once(ground: Ground, live: Live, open_room: Open) -> None:
    await live("first")._tick()
    replica = await open_room(rate="6/min", burst=5)
    assert len(admitted_names(await line_up(replica, crowd(9)))) == 5
    await live("second")._tick()
    assert admitted_names(await arrive(replica, ["late"])) == []
    assert await level(ground) == 0


async def test_replica_that_starts_later_asks_nobody(live: Live, bus: Bus) -> None:
    first = live("first")
    await first._tick()
    await first.queue.set_rate(7)
    await live("second")._tick()
    assert bus.asked == 1
