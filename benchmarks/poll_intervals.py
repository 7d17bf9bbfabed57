"""How often waiting visitors poll, by the poll intervals that a real gate reports.

    python -m benchmarks.poll_intervals      alone; it is a part of `make bench-line`

A queue of 100,000 waits at one replica. No visitor is released, because the only slot is taken.
Visitors at positions along the whole queue request their status, each with a ticket. From their
poll intervals follow the requests per second of the whole queue, and the polls of a visitor who
waits an hour from the end of the queue, with the interval of each position.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import uvloop

from benchmarks.readme_section import table
from benchmarks.rig import Rig, running_rig
from gatekeeper.config.schema import DEFAULT_ROOM, RoomConfig
from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Keyring, Ticket, Tokens, VisitorId, new_visitor_id
from gatekeeper.room.batching import BATCH_LIMIT
from gatekeeper.room.queue import Queue
from gatekeeper.room.store import RedisStore
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest
from tests.builders import SECRET

WAITING = 100_000
SAMPLED = 1_500
WAIT_S = 3600.0
FIXED_INTERVAL_S = 5.0
# The middle rate gives the last visitor a wait of one hour.
RATES_PER_MINUTE = (500, round(WAITING / 60), 6_000)
MAX_REQUESTS_PER_S = 4_000
FAST_RATE_PER_MINUTE = 6_000  # above this rate, each admission causes polls of its own
MAX_REQUESTS_PER_ADMISSION = 12
MIN_REDUCTION = 4
_MAX_CONCURRENT = 50
_ADMISSION = """\
rate = "500/min"
max_active = 1
confirm_timeout = "1h"
claim_timeout = "1h"
heartbeat_timeout = "1h"
"""


@dataclass(frozen=True)
class PollIntervals:
    """Reported poll intervals in seconds, by increasing number of visitors ahead."""

    rate_per_minute: int
    ahead: Sequence[int]
    intervals_s: Sequence[float]

    def limit_per_s(self) -> float:
        if self.rate_per_minute <= FAST_RATE_PER_MINUTE:
            return MAX_REQUESTS_PER_S
        return MAX_REQUESTS_PER_S + MAX_REQUESTS_PER_ADMISSION * self.rate_per_minute / 60

    def requests_per_s(self) -> float:
        """Requests per second of the whole queue; each sample stands for an equal part of it."""
        return WAITING * statistics.fmean(1 / each for each in self.intervals_s)

    def requests_in(self, wait_s: float) -> int:
        """Requests of a visitor who waits `wait_s`: after each interval the position is lower."""
        requests, left_s = 1, wait_s  # the first poll, after the page of the arrival
        while left_s > 0:
            ahead = round(left_s * self.rate_per_minute / 60)
            place = min(bisect_left(self.ahead, ahead), len(self.ahead) - 1)
            left_s -= self.intervals_s[place]
            requests += 1
        return requests


async def measured() -> list[PollIntervals]:
    async with running_rig(1, admission=_ADMISSION) as rig:
        visitors = await _fill_queue(rig)
        found = []
        for rate in RATES_PER_MINUTE:
            await rig.admin("POST", f"/admin/rate?rate={rate}/min")
            found.append(await _sample_intervals(rig, visitors, rate_per_minute=rate))
        return found


async def _fill_queue(rig: Rig) -> list[tuple[VisitorId, int]]:
    """Ids and arrivals in order, without the visitor with the only slot."""
    room = RoomConfig.model_validate(
        {"name": DEFAULT_ROOM, "rate": "500/min", "max_active": 1}
        | {"confirm_timeout": "1h", "claim_timeout": "1h", "heartbeat_timeout": "1h"}
    )
    store = RedisStore(rig.store_url, timeout_s=10)
    queue = Queue(
        store,
        Rules.of(room),
        replica="crowd",
        on_state=lambda _: None,
        newest_known=lambda: None,
    )
    visitors: list[tuple[VisitorId, int]] = []
    try:
        while len(visitors) < WAITING:
            batch = [new_visitor_id() for _ in range(BATCH_LIMIT)]
            places = await asyncio.gather(*map(queue.arrive, map(ArrivalRequest, batch)))
            turns_us = [each.turn_us for each in places]
            standings = await asyncio.gather(
                *(
                    queue.poll(PollRequest(visitor, turn_us, has_pass=False))
                    for visitor, turn_us in zip(batch, turns_us, strict=True)
                )
            )
            visitors += [
                (visitor, turn_us)
                for visitor, turn_us, standing in zip(batch, turns_us, standings, strict=True)
                if isinstance(standing, QueuePosition)
            ]
    finally:
        await queue.close()
        await store.close()
    return visitors[:WAITING]


async def _sample_intervals(
    rig: Rig, visitors: Sequence[tuple[VisitorId, int]], *, rate_per_minute: int
) -> PollIntervals:
    tokens = Tokens(Keyring([SECRET]), DEFAULT_ROOM)
    sampled = visitors[:: WAITING // SAMPLED]
    now_s = time.time()
    limiter = asyncio.Semaphore(_MAX_CONCURRENT)
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=15)
    ) as session:

        async def request_status(visitor: VisitorId, arrival_us: int) -> tuple[int, float]:
            ticket = Ticket(
                room=DEFAULT_ROOM,
                visitor=visitor,
                arrival_us=arrival_us,
                issued_at_s=now_s + 2,  # issued after the arrival: a confirmed visitor
                expires_at_s=now_s + 7200,
            )
            headers = {"X-Queue-Token": tokens.mint(ticket)}
            async with (
                limiter,
                session.get(f"{rig.urls[0]}/.gatekeeper/status", headers=headers) as response,
            ):
                status = json.loads(await response.read())
            return status["ahead"], status["refresh_seconds"]

        found = sorted(await asyncio.gather(*(request_status(*visitor) for visitor in sampled)))
    return PollIntervals(rate_per_minute, [each[0] for each in found], [each[1] for each in found])


def problems_of(found: Sequence[PollIntervals]) -> list[str]:
    """The limits that these poll intervals exceed."""
    problems = [
        f"poll intervals at {intervals.rate_per_minute}/min: {WAITING:,} visitors send "
        f"{intervals.requests_per_s():,.0f} requests/s; "
        f"expected less than {intervals.limit_per_s():,.0f}"
        for intervals in found
        if intervals.requests_per_s() >= intervals.limit_per_s()
    ]
    requests = _one_hour(found).requests_in(WAIT_S)
    if requests * MIN_REDUCTION > WAIT_S / FIXED_INTERVAL_S:
        problems.append(f"poll intervals: a wait of one hour has {requests} requests")
    return problems


def text_of(found: Sequence[PollIntervals]) -> str:
    requests, fixed = _one_hour(found).requests_in(WAIT_S), round(WAIT_S / FIXED_INTERVAL_S)
    rows = [
        [
            f"{intervals.rate_per_minute:,}/min",
            f"{WAITING / intervals.rate_per_minute:,.0f} min",
            f"{min(intervals.intervals_s):g} to {max(intervals.intervals_s):g} s",
            f"{intervals.requests_per_s():,.0f}",
            f"{intervals.limit_per_s():,.0f}",
            f"{WAITING / FIXED_INTERVAL_S:,.0f}",
        ]
        for intervals in found
    ]
    head = [
        "rate",
        "wait of the last visitor",
        "poll interval",
        "requests/s",
        "limit",
        "at a fixed 5 s",
    ]
    return f"""\
A queue of {WAITING:,} at a real gate; {SAMPLED:,} visitors along the whole queue requested their \
status at each rate. A visitor that waits an hour sends {requests} requests; at a fixed interval \
of 5 s it would be {fixed}, {fixed / requests:.1f} times as many. A page in a hidden tab polls \
less often. Near the front the interval is 1 s, so a queue that moves fast causes more requests in \
total.

{table(head, rows)}"""


def _one_hour(found: Sequence[PollIntervals]) -> PollIntervals:
    return found[1]


def main() -> None:
    found = uvloop.run(measured())
    print(text_of(found))
    if problems := problems_of(found):
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
