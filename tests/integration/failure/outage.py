"""Stores that go away and come back, for tests of what becomes of people meanwhile."""

from collections.abc import Callable

from tests.integration.replicas.replica_group import (
    Replica,
)
from tests.servers import StoreServer, eventually

GRANTS_ONLY: dict[str, object] = {"rate": 0, "burst": 1}  # only what is granted
SHORT_TIMEOUTS = {
    "heartbeat_timeout": "3s",
    "confirm_timeout": "1s",
}  # tells everybody to ask again within 1 s

Outage = Callable[[StoreServer], None]
OUTAGES = {"killed": StoreServer.kill, "paused": StoreServer.pause}


def recover(store: StoreServer) -> None:
    """With all it held; a killed one had a second and more to write it down."""
    if store._process is None:
        store.start()
    else:
        store.resume()


async def wait_until_unreachable(*replicas: Replica) -> None:
    await eventually(lambda: not any(each.store_up for each in replicas), what="the loss")


async def wait_until_recovered(*replicas: Replica) -> None:
    await eventually(lambda: all(each.store_up for each in replicas), what="the return")
