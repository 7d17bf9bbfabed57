"""The delay from a release in the store to the watermark of every replica.

    python -m benchmarks.watermark_delay      alone; it is a part of `make bench-line`

A real store and NATS, ten replicas in as many processes, a queue that moves at 500 a minute. A
release happens at the `now` of its script. A replica knows of it when its own watermark reaches
that of the release, by an event or by the call of its own pacer. All processes run on one machine,
so both times are from the same clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
import time
from dataclasses import dataclass

import uvloop

from benchmarks.readme_section import table
from benchmarks.rig import running_servers
from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import new_visitor_id
from gatekeeper.room.event_bus import Events, NoEvents
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.events import NatsEvents
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.state import RoomState
from gatekeeper.room.store import RedisStore
from gatekeeper.room.view import ReplicaView
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest

REPLICAS = 10
RATE = "500/min"
SECRET = b"known to the replicas of this benchmark"
WAITING = 600
WARM_UP_S = 1.0
START_AND_STOP_S = 120.0


def room_of(name: str) -> RoomConfig:
    """A room in which visitors keep their places without polls, so that only releases happen."""
    return RoomConfig.model_validate({"name": name, "rate": RATE, "heartbeat_timeout": "10m"})


class RecordingView(ReplicaView):
    """Records each rise of the watermark, with the store's clock in the state that caused it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[int, int, int]] = []  # watermark, known at, released at

    def update_from_store(self, state: RoomState) -> None:
        super().update_from_store(state)
        self._record(state)

    def update_from_replica(self, state: RoomState, *, sent_at_s: float) -> bool:
        believed = super().update_from_replica(state, sent_at_s=sent_at_s)
        self._record(state)
        return believed

    def _record(self, state: RoomState) -> None:
        known_us = self.decisive.watermark_us
        if known_us == state.watermark_us and (not self.records or known_us > self.records[-1][0]):
            self.records.append((known_us, time.time_ns() // 1000, state.now_us))


async def run_replica(store_url: str, events_url: str, room: RoomConfig) -> None:
    """One replica until its standard input ends. Prints "pacing", and then its records."""
    store = RedisStore(store_url, timeout_s=5)
    events: Events = NoEvents()
    if events_url != "off":
        events = NatsEvents(events_url, replica=f"{os.getpid()}", signer=EventSigner([SECRET]))
    view = RecordingView()
    live = RoomReplica(store, events, Rules.of(room), replica=f"{os.getpid()}", view=view)
    await live.start()
    print("pacing", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await live.close()
    await events.close()
    await store.close()
    print(json.dumps(view.records))


@dataclass(frozen=True)
class Delays:
    releases: int
    us: list[int]  # sorted, one for each release and replica

    def at_s(self, share: float) -> float:
        """The delay that this share of the values does not exceed."""
        return self.us[math.ceil(share * len(self.us)) - 1] / 1_000_000

    def at(self, share: float) -> str:
        return f"{self.at_s(share) * 1000:.1f} ms"


def delays(replicas: list[list[tuple[int, int, int]]], *, since_us: int) -> Delays:
    released_us: dict[int, int] = {}
    for records in replicas:
        for watermark, _, released_at_us in records:
            released_us[watermark] = min(released_us.get(watermark, released_at_us), released_at_us)
    known_to_all = min(records[-1][0] for records in replicas)
    counted = {w: us for w, us in released_us.items() if us >= since_us and w <= known_to_all}
    found = [
        max(next(known for reached, known, _ in records if reached >= watermark) - us, 0)
        for watermark, us in counted.items()
        for records in replicas
    ]
    return Delays(len(counted), sorted(found))


async def measure(store_url: str, events_url: str, *, seconds: float) -> Delays:
    name = "with-nats" if events_url != "off" else "without-nats"
    room = room_of(name)
    store = RedisStore(store_url, timeout_s=5)
    crowd = RoomReplica(store, NoEvents(), Rules.of(room), replica="crowd")
    await crowd.queue.join(starting=True)
    await asyncio.gather(*(_line_up(crowd) for _ in range(WAITING)))
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.watermark_delay",
            *("--pace", store_url, events_url, name),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(REPLICAS)
    ]
    try:
        async with asyncio.timeout(seconds + START_AND_STOP_S):
            for process in processes:
                assert process.stdout is not None
                await process.stdout.readline()
            # The replica that starts last learns of earlier releases late; these are not measured.
            await asyncio.sleep(WARM_UP_S)
            since_us = time.time_ns() // 1000
            await asyncio.sleep(seconds)
            outputs = await asyncio.gather(*(process.communicate(b"") for process in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
        await store.close()
    replicas = [records for out, _ in outputs if (records := json.loads(out.splitlines()[-1]))]
    if len(replicas) != REPLICAS:
        raise SystemExit("not every replica received a release")
    return delays(replicas, since_us=since_us)


async def _line_up(crowd: RoomReplica) -> None:
    """One visitor arrives and returns the ticket."""
    visitor = new_visitor_id()
    place = await crowd.queue.arrive(ArrivalRequest(visitor))
    await crowd.queue.poll(PollRequest(visitor, place.turn_us, has_pass=False))


async def measured(*, seconds: float) -> dict[str, Delays]:
    """The delays, by the way a release is announced."""
    async with running_servers() as (_, store, events):
        return {
            "NATS": await measure(store.url, events.url, seconds=seconds),
            'the store alone (`events.url = "off"`)': await measure(
                store.url, "off", seconds=seconds / 3
            ),
        }


def text_of(found: dict[str, Delays]) -> str:
    rows = [
        [how, str(each.releases), each.at(0.5), each.at(0.99), each.at(1)]
        for how, each in found.items()
    ]
    return f"""\
{REPLICAS} replicas in as many processes, a queue that moves at {RATE}, on one machine without \
other load. The delay is from a release in the store to the new watermark at each replica. It does \
not delay an admission: the poll of a released visitor calls the store.

{table(["announced by", "releases", "p50", "p99", "max"], rows)}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pace", nargs=3, metavar=("STORE", "EVENTS", "ROOM"))
    arguments = parser.parse_args()
    if arguments.pace:
        store_url, events_url, name = arguments.pace
        uvloop.run(run_replica(store_url, events_url, room_of(name)))
    else:
        print(text_of(uvloop.run(measured(seconds=arguments.seconds))))


if __name__ == "__main__":
    main()
