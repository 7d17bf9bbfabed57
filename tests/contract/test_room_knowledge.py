"""The knowledge of a live replica survives a loss of the store, no matter which replica calls it
first."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.visitor_calls import ArrivalRequest
from tests.contract.grounds import Ground

Join = Callable[[str], RoomReplica]


@pytest.fixture
def live(ground: Ground) -> Join:
    """A replica whose pacer ticks only when the test calls it."""
    rules = Rules.of(RoomConfig.model_validate({"name": ground.room, "rate": 0}))
    return lambda name: RoomReplica(ground.connect(), NoEvents(), rules, replica=name)


async def two_of_whom_the_first_knows_more(live: Join) -> tuple[RoomReplica, RoomReplica]:
    first, second = live("first"), live("second")
    for room in (first, second):
        await room.queue.join(starting=True)
    for number in range(3):
        await first.queue.arrive(ArrivalRequest(VisitorId(f"visitor {number}")))
    await first.queue.allow(2)
    await second._tick()
    await first._tick()
    await first.queue.set_rate(77)
    return first, second


async def lose_everything(ground: Ground) -> None:
    await ground.write({})
    await ground.pass_time(1)


async def test_best_informed_replica_writes_back_when_first(ground: Ground, live: Join) -> None:
    first, second = await two_of_whom_the_first_knows_more(live)
    known = first.view.state
    assert known is not None
    await lose_everything(ground)
    await first._tick()
    await second._tick()
    state = await second.queue.read_state()
    assert (state.rate_per_minute, state.watermark_us) == (77, known.watermark_us)
    assert state.arrived_total == 3


async def test_best_informed_replica_writes_back_when_second(ground: Ground, live: Join) -> None:
    first, second = await two_of_whom_the_first_knows_more(live)
    await lose_everything(ground)
    await second._tick()
    await first._tick()
    assert (await second.queue.read_state()).rate_per_minute == 77


async def test_best_informed_replica_writes_back_after_an_event(ground: Ground, live: Join) -> None:
    first, second = await two_of_whom_the_first_knows_more(live)
    await lose_everything(ground)
    await second._tick()
    assert second.view.state is not None
    first.receive_state(replace(second.view.state), sent_at_s=second.view.now_s())
    await first._tick()
    assert (await second.queue.read_state()).rate_per_minute == 77


async def test_rollback_is_noticed_by_the_first_call(ground: Ground, live: Join) -> None:
    room = live("only")
    await room.queue.join(starting=True)
    snapshot = await ground.read()
    await room.queue.set_rate(77)
    await ground.write(snapshot)
    for number in range(3):
        await room.queue.arrive(ArrivalRequest(VisitorId(f"visitor {number}")))
    await room._tick()
    assert (await room.queue.read_state()).rate_per_minute == 77
