"""The opening of a sale: 100,000 visitors in the prequeue of a draw, ten replicas.

    make bench-opening                                 below five minutes
    python -m benchmarks.opening --visitors 5000       a small run, writes nothing

The replicas are those of the gate (`RoomReplica`), on one real store and one real NATS, in one
process. Visitors poll without HTTP, since two cores could not both send and serve three thousand
requests a second. Each visitor arrives, confirms and polls at the interval of the status that the
replica would send, 15 % earlier or later, at a random replica.

The prequeue is scaled: half an hour is `PREQUEUE_S`. After the start no time is scaled. Judged by
the code of `gatekeeper simulate --event`: polls per second around the start at most 1.5 times those
a minute later, the first admission within 10 s, the rate from the first minute, no inversion
against the drawn order, no early admission.

Writes the section `bench-opening` of `benchmarks/README.md`. The exit status is 1 when a bound is
missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import os
import resource
import time
from array import array
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from random import Random

import uvloop

from benchmarks.opening_rig import BURST, EVENT, RATE_PER_MINUTE, REPLICAS, ROOM, Rig, running_rig
from benchmarks.readme_section import conclude, table
from benchmarks.rig import cpu_s
from gatekeeper.policy.decision import LineFull, Poll, QueuePosition, SlotGrant, decide
from gatekeeper.policy.draw_record import DrawRecord
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.schedule import Event
from gatekeeper.policy.tokens import Ticket, VisitorId, new_visitor_id
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest
from gatekeeper.simulate.judge import Order, Place, max_certain_above_rate
from gatekeeper.simulate.opening import OpeningRecord, first_minute, quiet_opening
from gatekeeper.simulate.opening_promises import opening_promises
from gatekeeper.simulate.token_claims import TICKET, Claims
from gatekeeper.web.waiting_status import waiting_status_of

VISITORS = 100_000
PREQUEUE_S, REAL_PREQUEUE_S = 120.0, 1800.0
LAST_ARRIVAL_S = 10.0  # before the start
RUN_S = 95.0  # after the start
MAX_LATE_S = 3.0  # p99 of the crowd; if later, the figures show the machine, not the gate
_MAX_IN_FLIGHT, _MAX_OF_A_TICK = 2000, 500
_TICK_S, _SAMPLE_S = 0.05, 0.5  # requests due in one tick are sent together
_JITTER = (0.85, 1.15)


@dataclass(slots=True)
class Visitor:
    """One visitor; `ticket` is None before the arrival."""

    identity: VisitorId
    due_s: float
    ticket: Ticket | None = None
    place: Place = field(default_factory=Place)


class Crowd:
    """All visitors of one run, and their observations."""

    def __init__(self, rig: Rig, visitors: int) -> None:
        self.rig = rig
        self.order = Order()
        self.record = OpeningRecord(_record_of(rig.event))
        self.admitted = 0
        self.failed = 0
        self.late_s = array("d")
        self.admitted_began_s = array("d")
        self.admitted_ended_s = array("d")
        self.released: list[tuple[float, int]] = []
        self.drawn_after_s: float | None = None
        self._visitors = visitors
        self._random = Random(1)
        self._heap: list[tuple[float, int, Visitor]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._began_s = asyncio.get_running_loop().time()
        self._start_s = rig.event.start_us / 1e6 - time.time()

    def now_s(self) -> float:
        return asyncio.get_running_loop().time() - self._began_s

    async def run(self) -> None:
        last_s = self._start_s - min(LAST_ARRIVAL_S, self._start_s / 4)
        for number in range(self._visitors):
            due_s = self._random.uniform(0.2, last_s)
            heappush(self._heap, (due_s, number, Visitor(new_visitor_id(), due_s)))
        sampled_s, number = 0.0, self._visitors
        while (now_s := self.now_s()) < self._start_s + RUN_S:
            for _ in range(min(_MAX_OF_A_TICK, _MAX_IN_FLIGHT - len(self._running))):
                if not self._heap or self._heap[0][0] > now_s:
                    break
                visitor = heappop(self._heap)[2]
                number += 1
                task = asyncio.create_task(self._request(visitor, number))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            if now_s - sampled_s >= _SAMPLE_S:
                sampled_s = now_s
                self._sample(now_s)
            await asyncio.sleep(_TICK_S)
        await asyncio.gather(*self._running)

    def _sample(self, now_s: float) -> None:
        state = self.rig.replicas[0].view.state
        if state is None:
            return
        self.released.append((now_s, state.released_total))
        self.record.sample(
            waiting=state.queue_length,
            rate_per_minute=RATE_PER_MINUTE if self.record.turns.is_known else None,
            admissions=self.admitted,
            now_s=now_s,
        )

    async def _request(self, visitor: Visitor, number: int) -> None:
        replica = self._random.choice(self.rig.replicas)
        began_s = self.now_s()
        self.late_s.append(began_s - visitor.due_s)
        self.order.request_began(visitor.place, now_s=began_s)
        is_arrival = visitor.ticket is None
        if is_arrival:
            position = await self._arrive(replica, visitor, began_s=began_s)
        else:
            self.record.polled(now_s=began_s)
            position = await self._poll(replica, visitor)
        if visitor.ticket is None or isinstance(position, SlotGrant):
            return
        status = waiting_status_of(
            visitor.ticket, position, replica.view.state, rules=self.rig.rules, newcomer=is_arrival
        )
        now_s, pause_s = self.now_s(), status.refresh_seconds
        if is_arrival:
            self.order.received_ticket(visitor.place, now_s=now_s, poll_interval_s=pause_s)
        else:
            self.order.received_waiting(
                visitor.place, now_s=now_s, poll_interval_s=pause_s, known=position is not None
            )
            self.record.received_waiting(visitor.place, poll_interval_s=pause_s)
        visitor.due_s = now_s + pause_s * self._random.uniform(*_JITTER)
        heappush(self._heap, (visitor.due_s, number, visitor))

    async def _arrive(
        self, replica: RoomReplica, visitor: Visitor, *, began_s: float
    ) -> QueuePosition | SlotGrant | None:
        standing = await replica.arrive(ArrivalRequest(visitor.identity))
        if standing is None or isinstance(standing, LineFull):
            self.failed += 1
            return None
        claims = Claims(TICKET, visitor.identity, standing.turn_us, standing.turn_us)
        visitor.place.turn_us = self.record.turns.of(claims)
        now_s = self.now_s()
        self.record.arrived(visitor.place, claims, began_s=began_s, now_s=now_s)
        if isinstance(standing, SlotGrant):
            self._admitted(visitor, on_arrival=True)
            return standing
        issued_s = standing.turn_us / 1e6
        visitor.ticket = Ticket(
            self.rig.rules.room, visitor.identity, standing.turn_us, issued_s, issued_s + 7200
        )
        return standing

    async def _poll(
        self, replica: RoomReplica, visitor: Visitor
    ) -> QueuePosition | SlotGrant | None:
        view, rules = replica.view, self.rig.rules
        decision = decide(visitor.ticket, view.decisive, rules=rules, now_s=view.now_s())
        standing = None
        if isinstance(decision, Poll):
            standing = await replica.poll(
                PollRequest(decision.visitor, decision.turn_us, has_pass=False)
            )
        self._learn(replica)
        match standing:
            case SlotGrant():
                self._admitted(visitor, on_arrival=False)
            case QueuePosition(turn_us=turn_us) if visitor.ticket and turn_us >= PROVISIONAL_US:
                # Returned before the opening: this ticket takes part in the draw.
                ticket = replace(visitor.ticket, own_turn_us=turn_us)
                visitor.ticket = ticket
                self.record.turns.of(Claims(TICKET, ticket.visitor, ticket.arrival_us, turn_us))
            case QueuePosition():
                pass
            case _:
                self.failed += 1
                return None
        return standing

    def _admitted(self, visitor: Visitor, *, on_arrival: bool) -> None:
        place, now_s = visitor.place, self.now_s()
        self.admitted += 1
        self.admitted_began_s.append(place.last_waiting_began_s)
        self.admitted_ended_s.append(now_s)
        if self.record.received_admitted(
            place, on_arrival=on_arrival, sent_s=place.sent_s, now_s=now_s
        ):
            self.order.received_admitted(place)

    def _learn(self, replica: RoomReplica) -> None:
        """Read the public draw, as soon as every visitor has the drawn turn."""
        state = replica.view.state
        if self.record.turns.is_known or state is None or state.undrawn:
            return
        event = state.schedule.find(EVENT)
        if event is None or event.drawn is None:
            return
        now_s = self.now_s()
        self.drawn_after_s = now_s - self._start_s
        for place in self.record.learn(_record_of(event), now_s=now_s):
            self.order.received_admitted(place)

    # The result.

    def late(self, share: float) -> float:
        return sorted(self.late_s)[math.ceil(share * len(self.late_s)) - 1]

    def released_in_first_minute(self) -> tuple[int, float]:
        """Releases by the store's count, and the seconds in which they happened."""
        first = next(((at_s, count) for at_s, count in self.released if count), None)
        if first is None:
            return 0, 60.0
        last = [each for each in self.released if each[0] <= first[0] + 60][-1]
        return last[1] - first[1], last[0] - first[0]


def _record_of(event: Event) -> DrawRecord:
    drawn = event.drawn
    return DrawRecord(
        event=event.name,
        room=ROOM,
        state="drawn" if drawn else "committed",
        commitment=event.commitment,
        start_us=event.start_us,
        span_us=event.span_us,
        secret=drawn.secret if drawn else None,
    )


async def benchmark(visitors: int, *, prequeue_s: float) -> tuple[str, list[str]]:
    """The text of the section, and the problems."""
    gc.disable()  # a collection traverses all visitors of the crowd, for half a second each time
    async with running_rig(prequeue_s=prequeue_s) as rig:
        crowd = Crowd(rig, visitors)
        store_s, own_s = cpu_s(rig.store.pid), cpu_s(os.getpid())
        await crowd.run()
        store_s, own_s = cpu_s(rig.store.pid) - store_s, cpu_s(os.getpid()) - own_s
        participants = await rig.replicas[0].queue.participants.count(rig.event.draw_id)
    return _result(
        crowd, participants=participants, store_s=store_s, own_s=own_s, prequeue_s=prequeue_s
    )


def _result(
    crowd: Crowd, *, participants: int, store_s: float, own_s: float, prequeue_s: float
) -> tuple[str, list[str]]:
    record, requests = crowd.record, len(crowd.late_s)
    promises = list(
        opening_promises(
            record,
            rate_per_minute=RATE_PER_MINUTE,
            burst=BURST,
            crowd_late_s=crowd.late(0.99),
            elapsed_s=crowd.now_s(),
        )
    )
    problems = [f"{each.name}: {each.detail}" for each in promises if each.held is False]
    above = max_certain_above_rate(
        RATE_PER_MINUTE, began_s=crowd.admitted_began_s, ended_s=crowd.admitted_ended_s
    )
    released, in_s = crowd.released_in_first_minute()
    expected = in_s * RATE_PER_MINUTE / 60
    quiet, minute = quiet_opening(record), first_minute(record, rate_per_minute=RATE_PER_MINUTE)
    for name, is_kept in {
        f"{crowd.order.inversions} inversions against the drawn order": not crowd.order.inversions,
        f"{above:.1f} admissions above the rate": above <= BURST,
        f"{released} releases in {in_s:.1f} s": abs(released - expected) <= BURST + 0.02 * expected,
        f"{participants} participants": participants == record.participants,
        f"{crowd.failed} requests failed": not crowd.failed,
        f"the crowd sent late, p99 {_ms(crowd, 0.99)}: the machine is too busy": crowd.late(0.99)
        < MAX_LATE_S,
        "the polls were not compared": quiet is not None,
        "the first minute was not measured": minute is not None,
    }.items():
        if not is_kept:
            problems.append(name)
    details = {each.name: each.detail for each in promises}
    order = crowd.order
    rows = [
        ["in the prequeue", f"{record.participants:,} visitors, {participants:,} participants"],
        ["all at their drawn turn", f"{crowd.drawn_after_s or math.nan:.2f} s after the start"],
        *([name, detail] for name, detail in details.items() if name != "draw"),
        [
            "inversions against the drawn order",
            f"{order.inversions:,} in {order.responses_judged:,} waiting responses",
        ],
        ["releases in the first minute", f"{released:,} in {in_s:.1f} s, {expected:,.0f} expected"],
        ["most above the rate in any span", f"{max(above, 0):.1f} of {BURST} allowed"],
        ["requests", f"{requests:,}, none failed" if not crowd.failed else f"{requests:,}"],
        ["CPU time of the store", f"{store_s * 1e6 / requests:.0f} µs per request"],
        ["CPU time of replicas and crowd", f"{own_s * 1e6 / requests:.0f} µs per request"],
        ["delay of the crowd", f"p50 {crowd.late(0.5) * 1e3:.0f} ms, p99 {_ms(crowd, 0.99)}"],
        ["memory of replicas and crowd", f"{_peak_mib():.0f} MiB"],
    ]
    text = f"""\
### The opening of a sale

Written by `make bench-opening`: {REPLICAS} replicas on one store and one NATS, visitors without \
HTTP. The prequeue is scaled by {REAL_PREQUEUE_S / prequeue_s:.0f}: half an hour takes \
{prequeue_s:.0f} s, so arrivals, confirmations and polls come together. From the start on no time \
is scaled. {RATE_PER_MINUTE:,} a minute, burst {BURST}, poll intervals of the product.

{table(["", ""], rows)}"""
    return text, problems


def _ms(crowd: Crowd, share: float) -> str:
    return f"{crowd.late(share) * 1e3:.0f} ms"


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--visitors", type=int, default=VISITORS)
    options.add_argument("--prequeue", type=float, default=PREQUEUE_S, help="its length, seconds")
    chosen = options.parse_args()
    is_whole = chosen == options.parse_args([])
    text, problems = uvloop.run(benchmark(chosen.visitors, prequeue_s=chosen.prequeue))
    conclude("bench-opening", text, problems, is_whole=is_whole)


if __name__ == "__main__":
    main()
