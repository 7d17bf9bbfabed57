"""A reply that no script can give is an error of the store, in any format."""

from collections.abc import Sequence

import pytest

from gatekeeper import metrics
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.rules import Rules
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.queue import Queue
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.store import RedisStore, Reply, Script


class MalformedStore(RedisStore):
    def __init__(self, reply: Reply) -> None:
        super().__init__("redis://127.0.0.1:1", timeout_s=1)
        self._reply = reply

    async def run(self, _script: Script, _keys: Sequence[str], _args: Sequence[str]) -> Reply:
        return self._reply


@pytest.mark.parametrize("reply", [[], [b""], [b"x"] * 40, [1] * 40])
async def test_malformed_reply_is_a_store_error(reply: Reply) -> None:
    queue = Queue(
        MalformedStore(reply),
        Rules.of(RoomConfig()),
        replica="one",
        on_state=lambda _state: None,
        newest_known=lambda: None,
    )
    with pytest.raises(StoreError):
        await queue.advance()
    with pytest.raises(StoreError):
        await queue.read_state()


async def test_room_removed_without_the_store_is_not_a_worker_problem() -> None:
    """A reload may remove it in an outage; `/readyz` reads the figure of each room."""
    name = RoomName("removed")
    rules = Rules.of(RoomConfig(name=name))
    room = RoomReplica(MalformedStore([]), NoEvents(), rules, replica="one")

    def store_up() -> set[float]:
        samples = [each for family in metrics.store_up.collect() for each in family.samples]
        return {each.value for each in samples if each.labels["room"] == name}

    await room.start()
    assert store_up() == {0.0}
    await room.close()
    assert store_up() == {1.0}
