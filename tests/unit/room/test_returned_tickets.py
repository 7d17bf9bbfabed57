"""Tickets that are returned while the store is unreachable."""

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.rules import Rules
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.replica import RoomReplica
from tests.contract.grounds import EmulatedGround, poll_request

CONFIG = RoomConfig(name=RoomName("sale"), rate=0)
NAME = "A" * 22


def replica_on(ground: EmulatedGround, name: str) -> RoomReplica:
    return RoomReplica(ground.connect(), NoEvents(), Rules.of(CONFIG), replica=name)


async def test_replica_without_a_state_moves_no_place() -> None:
    """It does not know the draw, and would place the visitor at the turn of the arrival."""
    ground = EmulatedGround(CONFIG.name)
    first, late = replica_on(ground, "1"), replica_on(ground, "2")
    await first._tick()
    drawn_us = ground.rules.clock_us + 50
    position = await first.poll(poll_request(NAME, drawn_us))
    assert isinstance(position, QueuePosition)
    late.place_soon(poll_request(NAME, drawn_us - 40))
    await late._tick()
    assert (await ground.read())["queue"] == {NAME: drawn_us}


async def test_ticket_that_the_store_does_not_know_is_placed_later() -> None:
    ground = EmulatedGround(CONFIG.name)
    replica = replica_on(ground, "1")
    await replica._tick()
    replica.view.note_store_down()
    replica.place_soon(poll_request(NAME, ground.rules.clock_us + 50))
    await replica._tick()
    assert (await ground.read())["queue"] == {NAME: ground.rules.clock_us + 50}
