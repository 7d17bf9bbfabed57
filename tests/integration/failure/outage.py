"""Stores that become unreachable and recover, and rooms with short poll intervals."""

from collections.abc import Callable
from typing import NamedTuple

from gatekeeper.room.operator import Operator
from tests.gates.gate import Gate
from tests.gates.http_visitor import Visitor
from tests.integration.replicas.replica_group import Replica, ReplicatedRoom
from tests.servers import StoreServer, eventually

GRANTS_ONLY: dict[str, object] = {"rate": 0, "burst": 1}  # admits only by grants of an operator
SHORT_TIMEOUTS = {
    "heartbeat_timeout": "3s",
    "confirm_timeout": "1s",
}  # polls at least once a second


class Pair(NamedTuple):
    """Two replicas of a room and an operator of it."""

    room: ReplicatedRoom
    first: Replica
    second: Replica
    operator: Operator


Outage = Callable[[StoreServer], None]
OUTAGES = {"killed": StoreServer.kill, "paused": StoreServer.pause}


def recover(store: StoreServer) -> None:
    """Start or resume the store with its data. A kill loses the writes of the last second."""
    if store._process is None:
        store.start()
    else:
        store.resume()


async def admitted_and_waiting(gate: Gate) -> tuple[Visitor, Visitor]:
    """A visitor of a held line who was admitted by a grant, and one in line."""
    admitted, waiting = gate.visitor(), gate.visitor()
    await admitted.get()
    await gate.allow(1)
    await admitted.wait_until_admitted()
    await waiting.get()
    return admitted, waiting


async def wait_until_unreachable(*replicas: Replica) -> None:
    await eventually(lambda: not any(each.store_up for each in replicas), what="the outage")


async def wait_until_recovered(*replicas: Replica) -> None:
    await eventually(lambda: all(each.store_up for each in replicas), what="the recovery")
