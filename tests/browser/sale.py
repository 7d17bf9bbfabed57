"""An hour of a sale for the control room to show, second by second, and always the same.

At 40 minutes before its end the doors open on a crowd; at 18 the site begins to answer 502, at 16
maria holds the line, at 12 it goes on at a lower rate. Figures come to the page through the real
monitor and listener.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from gatekeeper import metrics
from gatekeeper.admin import AuditLog, Monitor
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.room.events import NoEvents
from gatekeeper.room.state import RoomState
from gatekeeper.room.worker_figures import Figures, RequestCounts

SALE, CHECKOUT = RoomName("sale"), RoomName("checkout")
REPLICAS = ("gate-1-14-c0ffee", "gate-2-14-facade", "gate-3-14-decade")
HOUR_S = 3600
_DOORS, _TROUBLE, _HELD, _GOES_ON = 1200, 2520, 2640, 2880
_WAITS, _ORIGIN = metrics.waits.bounds_s, metrics.origin_seconds.bounds_s


@dataclass
class Room:
    """One room as the script has it."""

    rules: Rules
    state: RoomState
    away: bool = False

    async def status(self) -> RoomState:
        if self.away:
            raise StoreError("the store does not respond")
        return self.state


def room_of(name: RoomName, rate: float, *, max_active: int = 0) -> Room:
    keys = {"name": name, "rate": f"{rate:g}/min", "max_active": max_active}
    rules = Rules.of(RoomConfig.model_validate(keys))
    numbers = dict.fromkeys(RoomState.__dataclass_fields__, 0)
    state = RoomState(**numbers | {"mode": Mode.AUTO, "message": "", "rate_per_minute": rate})  # type: ignore[arg-type]
    return Room(rules, replace(state, epoch=1, now_us=2))


@dataclass
class Sale:
    """The gate as it stands at `second` of the hour; `monitor` holds all seconds before."""

    ends_at: datetime
    rooms: list[Room] = field(default_factory=list)
    second: int = 0
    silent: str = ""
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
        """Let so many seconds pass, each of them seen."""
        for _ in range(seconds):
            self.second += 1
            self._pass()
            await self.monitor.look()

    def _grow(self, name: str, by: float) -> int:
        """A total that grows by fractions, as a whole number."""
        self._totals[name] = self._totals.get(name, 0.0) + by
        return int(self._totals[name])

    def _pass(self) -> None:
        wave = 1 + 0.15 * math.sin(self.second / 37) + 0.08 * math.sin(self.second / 11)
        self._pass_sale(wave)
        checkout = self.rooms[1]
        came = self._grow("checkout", 0.4 * wave)
        checkout.state = replace(
            checkout.state,
            version=self.second,
            arrived_total=came,
            admitted_total=came,
            active=int(40 * wave),
        )

    def _pass_sale(self, wave: float) -> None:
        room, t = self.rooms[0], self.second
        held, troubled = _HELD <= t < _GOES_ON, _TROUBLE <= t < _GOES_ON + 60
        mode = Mode.HOLD if held else Mode.AUTO
        if room.state.mode is Mode.OPEN:
            mode = Mode.OPEN
        rate = 480.0 if t < _GOES_ON else 360.0
        crowd = 34 * math.exp(-(t - _DOORS) / 420) if t >= _DOORS else 0.0
        came = (1.8 + crowd) * wave
        queue = room.state.queue_length
        released = 0.0 if held else min(queue + came, rate / 60)
        entered = released * 0.95
        gave_up = released * 0.05 + queue * 0.00004
        left = self._totals.get("queue", 0.0) + came - released - queue * 0.00004
        self._totals["queue"] = max(left, 0.0)
        waited_s = queue / (rate / 60) if queue else 0.0
        inside = self._totals.get("inside", 240.0)
        self._totals["inside"] = inside + entered - inside / 300
        room.state = replace(
            room.state,
            version=t,
            mode=mode,
            rate_per_minute=rate,
            queue_length=int(self._totals["queue"]),
            active=int(self._totals["inside"]),
            arrived_total=self._grow("arrived", came),
            released_total=self._grow("released", released),
            admitted_total=self._grow("admitted", entered),
            abandoned_total=self._grow("abandoned", gave_up),
        )
        for index, name in enumerate(REPLICAS):
            if name != self.silent:
                share = (0.42, 0.33, 0.25)[index]
                self._count(name, share, inside * wave, troubled=troubled)
                self._admit(name, entered * share, waited_s)

    def _count(self, name: str, share: float, requests: float, *, troubled: bool) -> None:
        """What the site answered: nine of ten requests are for the sale."""
        queue = self._totals.get("queue", 0.0)
        rooms: dict[str, RequestCounts] = {}
        for room, part in ((SALE, 0.9), (CHECKOUT, 0.1)):
            key = f"{name}.{room}"
            asked = requests * share * 0.8 * part
            slow = 0.9 if troubled else 0.04 + 0.03 * requests / 900
            buckets = [0] * len(_ORIGIN)
            for factor, of_all in ((0.6, 0.5), (1.0, 0.3), (2.2, 0.17), (6.0, 0.03)):
                at = next(i for i, bound in enumerate(_ORIGIN) if bound >= slow * factor * part)
                self._grow(f"{key}.{at}", asked * of_all)
            for at in range(len(_ORIGIN)):
                buckets[at] = self._grow(f"{key}.{at}", 0)
            rooms[room] = RequestCounts(
                forwarded=self._grow(f"{key}.forwarded", asked),
                waiting=self._grow(f"{key}.waiting", queue * share / 8 if room == SALE else 0.0),
                failures={"502": self._grow(f"{key}.502", asked * 0.12 if troubled else 0.0)},
                origin=tuple(buckets),
                waits=self._figures[name].served(room).waits,
            )
        self._figures[name] = replace(
            self._figures[name],
            heartbeat_s=float(self.second),
            connections=int((requests + queue) * share * 1.1),
            rooms=rooms,
        )

    def _admit(self, name: str, entered: float, waited_s: float) -> None:
        rooms = self._figures[name].rooms
        waits = list(rooms[SALE].waits or (0,) * len(_WAITS))
        for factor, part in ((0.8, 0.3), (1.0, 0.6), (1.4, 0.1)):
            at = next(i for i, bound in enumerate(_WAITS) if bound >= waited_s * factor)
            waits[at] = self._grow(f"{name}.wait.{at}", entered * part)
        sale = replace(rooms[SALE], waits=tuple(waits))
        self._figures[name] = replace(self._figures[name], rooms={**rooms, SALE: sale})

    async def write(self, audit: AuditLog) -> None:
        """What maria and otto did meanwhile; `audit` tells the time by `self.now_s`."""
        deeds = (
            (_DOORS, "mode", "hold", "auto"),
            (_HELD, "mode", "auto", "hold"),
            (_HELD + 60, "message", "", "We are fixing the shop. Your place is kept."),
            (_GOES_ON - 5, "rate", 480.0, 360.0),
            (_GOES_ON, "mode", "hold", "auto"),
            (_GOES_ON + 30, "message", "We are fixing the shop. Your place is kept.", ""),
            (_GOES_ON + 400, "allow", None, 25),
        )
        now = self.second
        for self.second, what, before, after in deeds:
            who = "otto" if what == "allow" else "maria"
            await audit.add(who, what, address="192.0.2.7", room=SALE, before=before, after=after)
        await audit.refused("anonymous", "mode", address="198.51.100.9", note="unknown token")
        self.second = now


NOW = datetime(2026, 11, 23, 20, 31, tzinfo=UTC)
