"""A scripted hour of a sale for the control room, the same in every run.

Minutes before the end: 40, the room opens to a crowd; 18, the origin returns 502; 16, the operator
maria holds the line; 12, the line continues at a lower rate. The page receives all values through
the real monitor and listener.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime

from gatekeeper import metrics
from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.monitor import Monitor
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.state import RoomState
from gatekeeper.room.steering_record import NO_STEERING, SteeringRecord, SteeringStep
from gatekeeper.room.worker_figures import Figures, RequestCounts

SALE, CHECKOUT = RoomName("sale"), RoomName("checkout")
REPLICAS = ("gate-1-14-c0ffee", "gate-2-14-facade", "gate-3-14-decade")
HOUR_S = 3600
_OPENED_S, _FAILING_S, _HELD_S, _RESUMED_S = 1200, 2520, 2640, 2880
_WAITS, _ORIGIN = metrics.waits.bounds_s, metrics.origin_seconds.bounds_s


@dataclass
class Room:
    """One room, with the state that the script sets."""

    rules: Rules
    state: RoomState
    is_store_down: bool = False
    record: SteeringRecord | None = None

    async def steering(self) -> SteeringRecord | None:
        return self.record

    async def count_lanes(self) -> dict[str, int]:
        return dict.fromkeys((lane.name for lane in self.rules.lanes), 3)

    async def status(self) -> RoomState:
        if self.is_store_down:
            raise StoreError("the store does not respond")
        return self.state


def room_of(name: RoomName, rate: float, *, max_active: int = 0) -> Room:
    keys = {"name": name, "rate": f"{rate:g}/min", "max_active": max_active}
    rules = Rules.of(RoomConfig.model_validate(keys))
    numbers = dict.fromkeys((each.name for each in fields(RoomState) if each.init), 0)
    more = {"mode": Mode.AUTO, "message": "", "overrides": "", "rate_per_minute": rate}
    state = RoomState(**numbers | more)  # type: ignore[arg-type]
    return Room(rules, replace(state, epoch=1, now_us=2))


@dataclass
class Sale:
    """The state of the gate at `second` of the hour; `monitor` holds all earlier seconds."""

    ends_at: datetime
    rooms: list[Room] = field(default_factory=list)
    second: int = 0
    silent: str = ""
    steers: bool = False  # whether autotune steers the rate
    _totals: dict[str, float] = field(default_factory=dict)
    _figures: dict[str, Figures] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rooms = [room_of(SALE, 480.0), room_of(CHECKOUT, 60.0)]
        nothing = Figures("", 1.0, 0, {}, store_up=True, events_up=True)
        self._figures = {name: replace(nothing, replica=name) for name in REPLICAS}
        self.monitor = Monitor(
            self.rooms, NoEvents(), own=self._own, wall_s=self.now_s, monotonic_s=self.now_s
        )

    def now_s(self) -> float:
        return self.ends_at.timestamp() - HOUR_S + self.second

    def _own(self) -> list[Figures]:
        return list(self._figures.values())

    async def run(self, seconds: int = HOUR_S) -> None:
        """Let `seconds` pass, with one reading of the monitor per second."""
        for _ in range(seconds):
            self.second += 1
            self._step()
            await self.monitor.refresh()

    def _grow(self, name: str, by: float) -> int:
        """Add `by` to a total; returns the total as a whole number."""
        self._totals[name] = self._totals.get(name, 0.0) + by
        return int(self._totals[name])

    def _step(self) -> None:
        wave = 1 + 0.15 * math.sin(self.second / 37) + 0.08 * math.sin(self.second / 11)
        self._step_sale(wave)
        checkout = self.rooms[1]
        arrived = self._grow("checkout", 0.4 * wave)
        checkout.state = replace(
            checkout.state,
            version=self.second,
            arrived_total=arrived,
            admitted_total=arrived,
            active=int(40 * wave),
        )

    def _step_sale(self, wave: float) -> None:
        room, second = self.rooms[0], self.second
        held, failing = _HELD_S <= second < _RESUMED_S, _FAILING_S <= second < _RESUMED_S + 60
        mode = Mode.HOLD if held else Mode.AUTO
        if room.state.mode is Mode.OPEN:
            mode = Mode.OPEN
        rate = 480.0 if second < _RESUMED_S else 360.0
        crowd_per_s = 34 * math.exp(-(second - _OPENED_S) / 420) if second >= _OPENED_S else 0.0
        arrived = (1.8 + crowd_per_s) * wave
        queue = room.state.queue_length
        released = 0.0 if held else min(queue + arrived, rate / 60)
        admitted = released * 0.95
        abandoned = released * 0.05 + queue * 0.00004
        waiting = self._totals.get("queue", 0.0) + arrived - released - queue * 0.00004
        self._totals["queue"] = max(waiting, 0.0)
        waited_s = queue / (rate / 60) if queue else 0.0
        active = self._totals.get("active", 240.0)
        self._totals["active"] = active + admitted - active / 300
        room.state = replace(
            room.state,
            version=second,
            mode=mode,
            rate_per_minute=rate,
            queue_length=int(self._totals["queue"]),
            active=int(self._totals["active"]),
            arrived_total=self._grow("arrived", arrived),
            released_total=self._grow("released", released),
            admitted_total=self._grow("admitted", admitted),
            abandoned_total=self._grow("abandoned", abandoned),
        )
        if self.steers and second % 5 == 0:
            self._steer(room, fell=failing, slow_s=0.9 if failing else 0.3 + 0.1 * wave)
        for index, name in enumerate(REPLICAS):
            if name != self.silent:
                share = (0.42, 0.33, 0.25)[index]
                self._count(name, share, active * wave, failing=failing)
                self._admit(name, admitted * share, waited_s)

    def _steer(self, room: Room, *, fell: bool, slow_s: float) -> None:
        """Set what autotune would have recorded; shown only if the room's rules have autotune."""
        rate, reason = room.state.rate_per_minute, "too_slow" if fell else "rise"
        before = rate / 0.7 if fell else rate - 10
        at_us = round(self.now_s() * 1_000_000)
        step = SteeringStep(at_us, before, rate, reason, slow_s, 400, 48 if fell else 1, 40)
        room.record = (room.record or NO_STEERING).after(step)

    def _count(self, name: str, share: float, requests: float, *, failing: bool) -> None:
        """Count requests by outcome: nine of ten are for the sale."""
        queue = self._totals.get("queue", 0.0)
        rooms: dict[str, RequestCounts] = {}
        for room, part in ((SALE, 0.9), (CHECKOUT, 0.1)):
            key = f"{name}.{room}"
            forwarded = requests * share * 0.8 * part
            slow = 0.9 if failing else 0.04 + 0.03 * requests / 900
            buckets = [0] * len(_ORIGIN)
            for factor, of_all in ((0.6, 0.5), (1.0, 0.3), (2.2, 0.17), (6.0, 0.03)):
                at = next(i for i, bound in enumerate(_ORIGIN) if bound >= slow * factor * part)
                self._grow(f"{key}.{at}", forwarded * of_all)
            for at in range(len(_ORIGIN)):
                buckets[at] = self._grow(f"{key}.{at}", 0)
            rooms[room] = RequestCounts(
                forwarded=self._grow(f"{key}.forwarded", forwarded),
                waiting=self._grow(f"{key}.waiting", queue * share / 8 if room == SALE else 0.0),
                failures={"502": self._grow(f"{key}.502", forwarded * 0.12 if failing else 0.0)},
                origin=tuple(buckets),
                waits=self._figures[name].served(room).waits,
            )
        self._figures[name] = replace(
            self._figures[name],
            heartbeat_s=float(self.second),
            connections=int((requests + queue) * share * 1.1),
            rooms=rooms,
        )

    def _admit(self, name: str, admitted: float, waited_s: float) -> None:
        rooms = self._figures[name].rooms
        waits = list(rooms[SALE].waits or (0,) * len(_WAITS))
        for factor, part in ((0.8, 0.3), (1.0, 0.6), (1.4, 0.1)):
            at = next(i for i, bound in enumerate(_WAITS) if bound >= waited_s * factor)
            waits[at] = self._grow(f"{name}.wait.{at}", admitted * part)
        sale = replace(rooms[SALE], waits=tuple(waits))
        self._figures[name] = replace(self._figures[name], rooms={**rooms, SALE: sale})

    async def write(self, audit: AuditLog) -> None:
        """Write the changes of maria and otto; the clock of `audit` is `self.now_s`."""
        changes = (
            (_OPENED_S, "mode", "hold", "auto"),
            (_HELD_S, "mode", "auto", "hold"),
            (_HELD_S + 60, "message", "", "We are fixing the shop. Your place is kept."),
            (_RESUMED_S - 5, "rate", 480.0, 360.0),
            (_RESUMED_S, "mode", "hold", "auto"),
            (_RESUMED_S + 30, "message", "We are fixing the shop. Your place is kept.", ""),
            (_RESUMED_S + 400, "allow", None, 25),
        )
        now = self.second
        for self.second, action, before, after in changes:
            operator = "otto" if action == "allow" else "maria"
            await audit.add(
                operator, action, address="192.0.2.7", room=SALE, before=before, after=after
            )
        await audit.refused("anonymous", "mode", address="198.51.100.9", note="unknown token")
        self.second = now


NOW = datetime(2026, 11, 23, 20, 31, tzinfo=UTC)
