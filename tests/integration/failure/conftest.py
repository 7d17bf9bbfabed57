"""Ways to make a store unreachable, and a room that uses it."""

import pytest

from tests.integration.failure.outage import GRANTS_ONLY, OUTAGES, SHORT_TIMEOUTS, Outage, Pair
from tests.integration.replicas.replica_group import RoomStarter


@pytest.fixture(params=OUTAGES)
def break_store(request: pytest.FixtureRequest) -> Outage:
    """Kills or pauses a store."""
    return OUTAGES[request.param]


@pytest.fixture
async def pair(start_room: RoomStarter) -> Pair:
    """A pair of replicas of a room that admits only by grants, with short poll intervals."""
    room = start_room(**GRANTS_ONLY, **SHORT_TIMEOUTS)
    first, second = await room.replicas(2)
    return Pair(room, first, second, await room.operator())
