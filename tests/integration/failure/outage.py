"""Stores that become unreachable and recover, and rooms whose visitors return soon."""

from collections.abc import Callable

from tests.integration.replicas.replica_group import Replica
from tests.servers import StoreServer, eventually

GRANTS_ONLY: dict[str, object] = {"rate": 0, "burst": 1}  # admits only what an operator grants
SHORT_TIMEOUTS = {
    "heartbeat_timeout": "3s",
    "confirm_timeout": "1s",
}  # polls at least once a second

Outage = Callable[[StoreServer], None]
OUTAGES = {"killed": StoreServer.kill, "paused": StoreServer.pause}


def recover(store: StoreServer) -> None:
    """Start or resume the store with its data. A kill loses the writes of the last second."""
    if store._process is None:
        store.start()
    else:
        store.resume()


async def wait_until_unreachable(*replicas: Replica) -> None:
    await eventually(lambda: not any(each.store_up for each in replicas), what="the outage")


async def wait_until_recovered(*replicas: Replica) -> None:
    await eventually(lambda: all(each.store_up for each in replicas), what="the recovery")
