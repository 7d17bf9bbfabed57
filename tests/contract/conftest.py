"""One room on every store of the contract.

The fixtures import what they use, since the process that distributes the tests imports this file.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatekeeper.config.types import RoomName
    from tests.contract.grounds import Ground, Open, Replica


@pytest.fixture(params=["server", "dragonfly rules"])
async def ground(request: pytest.FixtureRequest, room_name: RoomName) -> AsyncIterator[Ground]:
    """An empty store; the server is the tests' own or that of `GATEKEEPER_TEST_STORE_URL`."""
    from tests.contract.grounds import EmulatedGround, ServerGround

    if request.param == "dragonfly rules":
        yield EmulatedGround(room_name)
        return
    server = ServerGround(request.getfixturevalue("store_url"), room_name)
    yield server
    await server.close()


@pytest.fixture
def open_room(ground: Ground) -> Open:
    """A replica that joined the room; keywords are keys of the room's configuration.

    By default the test releases visitors itself: a rate of one in ten seconds, and a burst of 1.
    """
    from gatekeeper.config.schema import RoomConfig
    from gatekeeper.policy.rules import Rules
    from tests.contract.grounds import Replica

    async def join(*, is_first: bool = True, **keys: object) -> Replica:
        defaults: dict[str, object] = {"name": ground.room, "rate": "6/min", "burst": 1}
        rules = Rules.of(RoomConfig.model_validate(defaults | keys))
        replica = Replica(ground, rules, name=secrets.token_hex(4))
        await replica.queue.join(starting=True, is_first=is_first)
        return replica

    return join
