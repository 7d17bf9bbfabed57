"""A reply that no script gives is an error of the store, whatever its shape."""

from collections.abc import Sequence

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.errors import StoreError
from gatekeeper.policy.rules import Rules
from gatekeeper.room.queue import Queue
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
        await queue.look()
