"""How often those who wait ask, by what a real gate tells them.

    python -m benchmarks.polling      by itself; it is a part of `make bench-line`

A line of 100,000 stands before one replica: nobody is released, as the only slot is taken. Visitors
at places all along it ask for their status, each with their own ticket, and the gate tells when to
ask again. From those answers follow the requests a second of the whole line, and how often one
asks who starts an hour's wait at its end and is told anew at each place passed.
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

from benchmarks.report import table
from benchmarks.rig import Rig, running_rig
from gatekeeper.config.schema import DEFAULT_ROOM, RoomConfig
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Keyring, Ticket, Tokens, VisitorId, new_visitor_id
from gatekeeper.room.batching import BATCH_LIMIT
from gatekeeper.room.queue import Queue
from gatekeeper.room.store import RedisStore
from tests.builders import SECRET

WAITING = 100_000
SAMPLED = 1_500
WAIT_S = 3600.0
FIXED_INTERVAL_S = 5.0
# The rate at which the last of them waits an hour, and others around it.
RATES_PER_MINUTE = (500, round(WAITING / 60), 6_000)
MOST_PER_S = 4_000
FAST_PER_MINUTE = 6_000  # beyond it, some more for each who is let in: they cannot be asked less
MOST_FOR_EACH_LET_IN = 12
LEAST_TIMES_FEWER = 4
_ASK_AT_ONCE = 50
_ADMISSION = """\
rate = "500/min"
max_active = 1
confirm_timeout = "1h"
claim_timeout = "1h"
"""


@dataclass(frozen=True)
class Told:
    """What visitors at rising places were told: when to ask again, seconds."""

    rate_per_minute: int
    ahead: Sequence[int]
    refresh_s: Sequence[float]

    def promised_per_s(self) -> float:
        if self.rate_per_minute <= FAST_PER_MINUTE:
            return MOST_PER_S
        return MOST_PER_S + MOST_FOR_EACH_LET_IN * self.rate_per_minute / 60

    def requests_per_s(self) -> float:
        """Of the whole line, as if each told stood for an equal part of it."""
        return WAITING * statistics.fmean(1 / each for each in self.refresh_s)

    def requests_in(self, wait_s: float) -> int:
        """Of one who waits so long from now: told at each place, they ask again a while nearer."""
        asked, left_s = 1, wait_s  # the arrival's page is followed by a first poll
        while left_s > 0:
            ahead = round(left_s * self.rate_per_minute / 60)
            place = min(bisect_left(self.ahead, ahead), len(self.ahead) - 1)
            left_s -= self.refresh_s[place]
            asked += 1
        return asked


async def measured() -> list[Told]:
    async with running_rig(1, admission=_ADMISSION) as rig:
        visitors = await _line_up(rig)
        found = []
        for rate in RATES_PER_MINUTE:
            await rig.admin("POST", f"/admin/rate?rate={rate}/min")
            found.append(await _ask_along(rig, visitors, rate_per_minute=rate))
        return found


async def _line_up(rig: Rig) -> list[tuple[VisitorId, int]]:
    """Everyone's id and arrival, in order; the first has the slot and is left out."""
    room = RoomConfig.model_validate(
        {"name": DEFAULT_ROOM, "rate": "500/min", "max_active": 1}
        | {"confirm_timeout": "1h", "claim_timeout": "1h"}
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
        while len(visitors) < WAITING + 1:
            batch = [new_visitor_id() for _ in range(BATCH_LIMIT)]
            placed = await asyncio.gather(*map(queue.arrive, batch))
            visitors += [
                (visitor, place.turn_us) for visitor, place in zip(batch, placed, strict=True)
            ]
    finally:
        await queue.close()
        await store.close()
    return visitors[1 : WAITING + 1]


async def _ask_along(
    rig: Rig, visitors: Sequence[tuple[VisitorId, int]], *, rate_per_minute: int
) -> Told:
    tokens = Tokens(Keyring([SECRET]), DEFAULT_ROOM)
    asked = visitors[:: WAITING // SAMPLED]
    now_s = time.time()
    gateway = asyncio.Semaphore(_ASK_AT_ONCE)
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=15)
    ) as session:

        async def ask(visitor: VisitorId, arrival_us: int) -> tuple[int, float]:
            ticket = Ticket(
                room=DEFAULT_ROOM,
                visitor=visitor,
                arrival_us=arrival_us,
                issued_at_s=now_s + 2,  # renewed since they came: no newcomer any more
                expires_at_s=now_s + 7200,
            )
            headers = {"X-Queue-Token": tokens.mint(ticket)}
            async with (
                gateway,
                session.get(f"{rig.urls[0]}/.gatekeeper/status", headers=headers) as answer,
            ):
                told = json.loads(await answer.read())
            return told["ahead"], told["refresh_seconds"]

        found = sorted(await asyncio.gather(*(ask(*visitor) for visitor in asked)))
    return Told(rate_per_minute, [each[0] for each in found], [each[1] for each in found])


def broken(found: Sequence[Told]) -> list[str]:
    """The promises that these answers do not keep."""
    problems = [
        f"{WAITING:,} waiting at {told.rate_per_minute}/min make {told.requests_per_s():,.0f} "
        f"requests/s, {told.promised_per_s():,.0f} promised"
        for told in found
        if told.requests_per_s() >= told.promised_per_s()
    ]
    asked = _hour(found).requests_in(WAIT_S)
    if asked * LEAST_TIMES_FEWER > WAIT_S / FIXED_INTERVAL_S:
        problems.append(f"an hour's wait takes {asked} requests")
    return problems


def text_of(found: Sequence[Told]) -> str:
    asked, fixed = _hour(found).requests_in(WAIT_S), round(WAIT_S / FIXED_INTERVAL_S)
    rows = [
        [
            f"{told.rate_per_minute:,}/min",
            f"{WAITING / told.rate_per_minute:,.0f} min",
            f"{min(told.refresh_s):g} to {max(told.refresh_s):g} s",
            f"{told.requests_per_s():,.0f}",
            f"{told.promised_per_s():,.0f}",
            f"{WAITING / FIXED_INTERVAL_S:,.0f}",
        ]
        for told in found
    ]
    head = [
        "rate",
        "the last waits",
        "told to ask again in",
        "requests/s",
        "at most",
        "at a fixed 5 s",
    ]
    return f"""\
A line of {WAITING:,} before a real gate, and {SAMPLED:,} of them all along it asked for their \
status at each rate. What they were told makes {asked} requests in an hour's wait, against {fixed} \
at a fixed 5 s: {fixed / asked:.1f} times fewer. A page in a hidden tab asks less often \
still. Near the front they ask each second, so a line that is soon let in asks more in all.

{table(head, rows)}"""


def _hour(found: Sequence[Told]) -> Told:
    return found[1]


def main() -> None:
    found = uvloop.run(measured())
    print(text_of(found))
    if problems := broken(found):
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
