"""Ten replicas of a room whose event opens soon, on one real store and one real NATS."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from benchmarks.rig import running_servers
from gatekeeper.config.event_schema import EventConfig
from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.planned_events import SigningKeys
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.schedule import Event
from gatekeeper.process.embedded import EmbeddedServer
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.events import NatsEvents
from gatekeeper.room.openings import FileEvents, Openings
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.store import RedisStore

ROOM, EVENT = "opening", "sale"
REPLICAS = 10
RATE_PER_MINUTE, BURST = 500, 10  # the defaults of the product
SECRET = b"known to the replicas of this benchmark"
_STORE_TIMEOUT_S = 30.0  # so that a busy machine is late, but loses no request


@dataclass
class Rig:
    replicas: list[RoomReplica]
    rules: Rules
    store: EmbeddedServer
    event: Event


@asynccontextmanager
async def running_rig(*, prequeue_s: float) -> AsyncIterator[Rig]:
    """Ten replicas with an event whose prequeue begins now."""
    room = {"name": ROOM, "rate": f"{RATE_PER_MINUTE}/min", "burst": BURST}
    rules = Rules.of(RoomConfig.model_validate(room))
    keys = SigningKeys((SECRET,))
    async with AsyncExitStack() as stack:
        _, store, events = await stack.enter_async_context(running_servers())
        began_us = time.time_ns() // 1000
        config = EventConfig.model_validate(
            {
                "name": EVENT,
                "room": ROOM,
                "prequeue": _rfc3339(began_us),
                "start": _rfc3339(began_us + round(prequeue_s * 1e6)),
            }
        )
        file = FileEvents((config,), keys)
        replicas = []
        for number in range(REPLICAS):
            connection = RedisStore(store.url, timeout_s=_STORE_TIMEOUT_S)
            stack.push_async_callback(connection.close)
            bus = NatsEvents(events.url, replica=f"{number}", signer=EventSigner([SECRET]))
            stack.push_async_callback(bus.close)
            replica = RoomReplica(
                connection,
                bus,
                rules,
                replica=f"{number}",
                openings=lambda queue: Openings(queue, file=file),
            )
            await replica.start()
            stack.push_async_callback(replica.close)
            replicas.append(replica)
        state = replicas[0].view.state
        event = state.schedule.find(EVENT) if state else None
        assert event is not None
        yield Rig(replicas, rules, store, event)


def _rfc3339(at_us: int) -> str:
    seconds, us = divmod(at_us, 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{us:06}Z"
