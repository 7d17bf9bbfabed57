"""How soon every replica knows of a release: from the store's clock to the replica's watermark.

    python -m benchmarks.replicas      by itself; it is a part of `make bench-line`

A real store and NATS, ten replicas in as many processes, a line that moves at 500 a minute and
whichever pacer comes first. A release happens at the `now` of the script that made it; a replica
knows of it when its watermark reaches it, by event or by its own pacer's call. All on one machine,
so both are read from one clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.report import table
from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import new_visitor_id
from gatekeeper.process.embedded import start_events, start_store
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.events import Events, NatsEvents, NoEvents
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.state import RoomState
from gatekeeper.room.store import RedisStore
from gatekeeper.room.view import ReplicaView

REPLICAS = 10
RATE = "500/min"
SECRET = b"known to the replicas of this benchmark"
WAITING = 600
WARM_UP_S = 1.0
START_AND_END_S = 45.0


def room_of(name: str) -> RoomConfig:
    """Who waits here is kept without asking, so that nothing but releases is measured."""
    return RoomConfig.model_validate({"name": name, "rate": RATE, "confirm_timeout": "10m"})


class WatchedView(ReplicaView):
    """Notes when the watermark rose, and what the store's clock said in the state that told it."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[int, int, int]] = []  # watermark, known at, told at

    def update_from_store(self, state: RoomState) -> None:
        super().update_from_store(state)
        self._note(state)

    def update_from_replica(self, state: RoomState, *, sent_at_s: float) -> bool:
        believed = super().update_from_replica(state, sent_at_s=sent_at_s)
        self._note(state)
        return believed

    def _note(self, told: RoomState) -> None:
        known_us = self.decisive.watermark_us
        if known_us == told.watermark_us and (not self.noted or known_us > self.noted[-1][0]):
            self.noted.append((known_us, time.time_ns() // 1000, told.now_us))


async def pace(store_url: str, events_url: str, room: RoomConfig) -> None:
    """One replica, until its input ends: says that it paces, and then what it noted."""
    store = RedisStore(store_url, timeout_s=5)
    events: Events = NoEvents()
    if events_url != "off":
        events = NatsEvents(events_url, replica=f"{os.getpid()}", seal=EventSigner([SECRET]))
    view = WatchedView()
    live = RoomReplica(store, events, Rules.of(room), replica=f"{os.getpid()}", view=view)
    await live.start()
    print("pacing", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await live.close()
    await events.close()
    await store.close()
    print(json.dumps(view.noted))


@dataclass(frozen=True)
class Delays:
    releases: int
    us: list[int]  # sorted, one for each release and replica

    def at_s(self, share: float) -> float:
        """The delay that this share of them does not exceed."""
        return self.us[math.ceil(share * len(self.us)) - 1] / 1_000_000

    def at(self, share: float) -> str:
        return f"{self.at_s(share) * 1000:.1f} ms"


def delays(replicas: list[list[tuple[int, int, int]]], *, since_us: int) -> Delays:
    released_us: dict[int, int] = {}
    for noted in replicas:
        for watermark, _, told_us in noted:
            released_us[watermark] = min(released_us.get(watermark, told_us), told_us)
    heard_by_all = min(noted[-1][0] for noted in replicas)
    counted = {w: us for w, us in released_us.items() if us >= since_us and w <= heard_by_all}
    found = [
        max(next(known for reached, known, _ in noted if reached >= watermark) - us, 0)
        for watermark, us in counted.items()
        for noted in replicas
    ]
    return Delays(len(counted), sorted(found))


async def measure(store_url: str, events_url: str, *, seconds: float) -> Delays:
    name = "with-nats" if events_url != "off" else "without-nats"
    room = room_of(name)
    store = RedisStore(store_url, timeout_s=5)
    crowd = RoomReplica(store, NoEvents(), Rules.of(room), replica="crowd")
    await crowd.queue.join(starting=True)
    await asyncio.gather(*(crowd.queue.arrive(new_visitor_id()) for _ in range(WAITING)))
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.replicas",
            *("--pace", store_url, events_url, name),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(REPLICAS)
    ]
    try:
        async with asyncio.timeout(seconds + START_AND_END_S):
            for process in processes:
                assert process.stdout is not None
                await process.stdout.readline()
            # Who starts last knows late of what was released before; that is no delay of the news.
            await asyncio.sleep(WARM_UP_S)
            since_us = time.time_ns() // 1000
            await asyncio.sleep(seconds)
            outputs = await asyncio.gather(*(process.communicate(b"") for process in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
        await store.close()
    replicas = [noted for out, _ in outputs if (noted := json.loads(out.splitlines()[-1]))]
    if len(replicas) != REPLICAS:
        raise SystemExit("not every replica heard of a release")
    return delays(replicas, since_us=since_us)


async def measured(*, seconds: float) -> dict[str, Delays]:
    """The delays, by who tells of a release."""
    with tempfile.TemporaryDirectory(prefix="gk-") as folder:
        store = await start_store(Path(folder))
        events = await start_events(Path(folder))
        try:
            return {
                "NATS": await measure(store.url, events.url, seconds=seconds),
                'the store alone (`events.url = "off"`)': await measure(
                    store.url, "off", seconds=seconds / 3
                ),
            }
        finally:
            await events.stop()
            await store.stop()


def text_of(found: dict[str, Delays]) -> str:
    rows = [
        [how, str(each.releases), each.at(0.5), each.at(0.99), each.at(1)]
        for how, each in found.items()
    ]
    return f"""\
{REPLICAS} replicas in as many processes, a line that moves at {RATE}. From the instant of a \
release in the store to each replica's knowing of the watermark, all on one machine, with nothing \
else to do. A visitor whose release a replica has not heard of is let in all the same, since their \
own poll asks the store.

{table(["told by", "releases", "p50", "p99", "max"], rows)}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pace", nargs=3, metavar=("STORE", "EVENTS", "ROOM"))
    arguments = parser.parse_args()
    if arguments.pace:
        store_url, events_url, name = arguments.pace
        uvloop.run(pace(store_url, events_url, room_of(name)))
    else:
        print(text_of(uvloop.run(measured(seconds=arguments.seconds))))


if __name__ == "__main__":
    main()
