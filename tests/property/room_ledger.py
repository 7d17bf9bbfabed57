"""The state in the model of a room: its visitors, its events, its bucket, and its gate.

Rules: every visitor is in one of six states, and time never goes back behind the last update of the
bucket. The bucket counts billionths in whole numbers: exact for rates that divide a microsecond
evenly.
"""

from dataclasses import dataclass, field
from typing import Literal

from gatekeeper.policy.event_order import EventOrder
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Mode, Phase, is_moving, phase_of
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.schedule import NO_EVENTS, Schedule
from gatekeeper.policy.tokens import VisitorId

UNIT = 10**9
NO_SLOTS_BEFORE = -(10**15)
Cost = Literal["rate", "grant", "free"]


@dataclass(slots=True)
class WaitingState:
    turn_us: int
    deadline_us: int


@dataclass(slots=True)
class ActiveState:
    """`cost`: what the unclaimed release cost; None after the claim. From then on `ends_us` is the
    end of the session."""

    until_us: int
    cost: Cost | None = None
    ends_us: int | None = None


@dataclass(slots=True)
class UnconfirmedSlot:
    until_us: int


@dataclass(slots=True)
class SpentTicket:
    until_us: int


@dataclass(slots=True)
class Revocation:
    until_us: int


# Without an entry a visitor is unknown.
VisitorState = WaitingState | ActiveState | UnconfirmedSlot | SpentTicket | Revocation


@dataclass(slots=True)
class Totals:
    arrived: int = 0
    released: int = 0
    admitted: int = 0
    abandoned: int = 0
    revocations: int = 0


@dataclass(slots=True)
class RoomLedger:
    rules: Rules
    clock_us: int
    schedule: Schedule = NO_EVENTS
    epoch: int = 0
    origin: tuple[int, int] = (0, 0)
    mode: Mode = Mode.AUTO
    message: str = ""
    rate: int = 0
    configured_rate: int = 0
    level: int = 0
    filled_at_us: int = 0
    clock_ahead_us: int = 0  # of the room's clock, when the bucket was filled
    grants: int = 0
    watermark_us: int = 0
    reached_us: int = 0  # the highest turn of which any visitor was released
    lanes: dict[VisitorId, str] = field(default_factory=dict)  # of visitors to be drawn
    claims_until: int = 0  # the admitted total after all claims of before the loss
    # Bounds of the open claims: turns above the first one, and for returned visitors turns up to
    # the second, if they returned before `again_at` releases. `releases`: the time of each release,
    # the watermark before it, the highest turn that was released again, and the total of releases
    # then.
    owed_from_us: int = 0
    again_through_us: int = 0
    again_at: int = 0
    releases: list[tuple[int, int, int, int]] = field(default_factory=list)
    last_us: int = 0
    recovering_until_us: int = 0
    # How many replicas have to report before a visitor is released early (-1: none is released);
    # their reports (when, the turn, and whether the lost store counted it); how many replicas the
    # store knows; and the minimum of slots held, less `totals.released`.
    to_report: int = 0
    reports: dict[str, tuple[int, int, bool]] = field(default_factory=dict)
    replicas: int = 0
    slots_before: int = NO_SLOTS_BEFORE
    totals: Totals = field(default_factory=Totals)
    # Settings by an operator: the epoch of each.
    operator_set: dict[str, int] = field(default_factory=dict)
    visitor_states: dict[VisitorId, VisitorState] = field(default_factory=dict)
    # Minus the time of the first missed release, or from the second on the new turn.
    missed_us: dict[VisitorId, int] = field(default_factory=dict)
    # All admissions and grants that were given back.
    returned: int = 0
    returned_grants: int = 0

    @property
    def now_us(self) -> int:
        elapsed_us = self.clock_us + self.clock_ahead_us - self.filled_at_us
        elapsed_us = min(max(elapsed_us, 0), 500_000)
        return max(self.clock_us, self.filled_at_us + elapsed_us - elapsed_us // 10)

    def notice_clock(self) -> bool:
        """What the next call does if the store's clock was set; whether it was."""
        elapsed_us = self.clock_us + self.clock_ahead_us - self.filled_at_us
        is_corrected = self.clock_ahead_us > 0 and elapsed_us > 500_000
        if elapsed_us < -1_000_000 or (is_corrected and elapsed_us > 3_000_000):
            # Its replicas may hold visitors.
            self.recovering_until_us = max(self.recovering_until_us, self.now_us + 2_000_000)
        if elapsed_us < 0:
            self.clock_ahead_us = self.filled_at_us - self.clock_us
        elif is_corrected and self.filled_at_us < self.clock_us - 500_000:
            self.filled_at_us, self.clock_ahead_us = self.clock_us - 500_000, 0
        return elapsed_us < 0 or is_corrected

    def line(self) -> list[tuple[int, VisitorId]]:
        """The queue in order: by turn, and by name for equal turns."""
        return sorted(
            (each.turn_us, name)
            for name, each in self.visitor_states.items()
            if isinstance(each, WaitingState)
        )

    def inside(self) -> list[VisitorId]:
        return [name for name, each in self.visitor_states.items() if isinstance(each, ActiveState)]

    def unconfirmed(self) -> list[VisitorId]:
        """Visitors with unconfirmed slots, by the end of the slot."""
        slots = [
            (each.until_us, name)
            for name, each in self.visitor_states.items()
            if isinstance(each, UnconfirmedSlot)
        ]
        return [name for _, name in sorted(slots)]

    def provisional(self) -> dict[VisitorId, int]:
        """Visitors in line with provisional turns, and their arrivals."""
        return {n: us - PROVISIONAL_US for us, n in self.line() if us >= PROVISIONAL_US}

    def order(self) -> EventOrder:
        """The order of the queue now."""
        return EventOrder.of(self.schedule, self.schedule.at(self.now_us))

    def end_draws(self) -> None:
        """Without events there is no draw: provisional turns end."""
        if not self.schedule.events:
            self.lanes.clear()
        for each in self.visitor_states.values():
            if isinstance(each, WaitingState) and not self.schedule.events:
                each.turn_us %= PROVISIONAL_US

    def is_shut(self) -> bool:
        """Whether the operator's mode admits no visitor."""
        return not is_moving(phase_of(self.mode))

    def is_closed(self) -> bool:
        """Whether events admit no visitor now, in mode AUTO."""
        is_running = self.schedule.at(self.now_us).phase is Phase.RUNNING
        return not is_running or bool(self.provisional())

    def is_gathering(self, arrival_us: int) -> bool:
        """Whether that arrival is in the prequeue of a draw that is running now."""
        window = self.schedule.at(self.now_us)
        if window.phase is not Phase.PREQUEUE or window.event is None:
            return False
        return window.event.has_draw and window.from_us <= arrival_us

    def has_room(self) -> bool:
        """Whether a newcomer is admitted at once now."""
        if self.mode is Mode.OPEN and self.now_us >= self.recovering_until_us:
            return True
        if not self._due():
            return False
        level, limit = self._level_now(), self.rules.max_active
        slots = len(self.inside()) + len(self.unconfirmed())
        burst = self.rules.burst
        is_rich = level >= min(burst, 2) * UNIT and 2 * level > burst * UNIT
        is_slow = burst < 2 and self.rate <= 60  # the only admission is for a visitor who confirms
        if is_slow and self.now_us - self.last_us < 2_000_000:
            return False
        return is_rich and not self.line() and (not limit or slots < limit)

    # Internal steps

    def _claims_left(self) -> int:
        if self.now_us >= self.recovering_until_us:
            return 0
        return max(self.claims_until - self.totals.admitted, 0)

    def _is_set_by_operator(self, word: str) -> bool:
        return self.operator_set.get(word) == self.epoch

    def _ahead(self, name: VisitorId) -> int:
        return [each for _, each in self.line()].index(name)

    def _level_now(self) -> int:
        if not self.rate:
            return 0
        elapsed_us = self.now_us - self.filled_at_us
        if not elapsed_us:
            return self.level
        most = max(self.rules.burst * UNIT, self._capped())
        return min(self.level + elapsed_us * self.rate * 1000 // 60, most)

    def _capped(self) -> int:
        return min(self.level, self.rules.burst * UNIT + self.level % UNIT)

    def _refill(self) -> None:
        self._set_level(self._level_now())

    def _set_level(self, level: int) -> None:
        self.level, self.filled_at_us = level, self.now_us
        self.clock_ahead_us = self.filled_at_us - self.clock_us

    def _falls_due(self) -> int:
        """The admissions due: whole ones of the rate, and grants."""
        return max(self._level_now() // UNIT, 0) + self.grants

    def _due(self) -> int:
        if self.now_us < self.recovering_until_us or self.is_shut():
            return 0
        if self.mode is Mode.OPEN:
            return 10**9
        return 0 if self.is_closed() else self._falls_due()

    def _early_due(self) -> int:
        if self.mode is not Mode.AUTO or self.is_closed():
            return 0
        return self._falls_due()

    def _unheld(self) -> int:
        """Free slots, without those that unknown visitors may hold after a loss."""
        free, limit = self._free(), self.rules.max_active
        if not limit or self.now_us >= self.recovering_until_us:
            return free
        return max(min(free, limit - self.slots_before - self.totals.released), 0)

    def _early_through_us(self) -> int:
        """Up to which turn visitors may be released before the end of the recovery."""
        fresh = [each for each in self.reports.values() if self.now_us - each[0] <= 1_000_000]
        from_before = sum(was_counted for _, _, was_counted in fresh)
        if self.to_report <= 0 or from_before < self.to_report or len(fresh) < self.replicas:
            return 0
        through_us = min(turn_us for _, turn_us, _ in fresh)
        return through_us if through_us >= self.watermark_us else 0

    def _pay(self, count: int) -> None:
        if self.mode is not Mode.AUTO:
            return
        self._refill()
        by_rate = min(count, max(self.level // UNIT, 0))
        self.level -= by_rate * UNIT
        self.grants -= count - by_rate

    def _free(self) -> int:
        if not self.rules.max_active:
            return 10**9
        return max(self.rules.max_active - len(self.inside()), 0)

    def _yield_unconfirmed(self) -> None:
        """Confirmed visitors take unconfirmed slots, the oldest first."""
        limit, guesses = self.rules.max_active, self.unconfirmed()
        if limit:
            excess = len(self.inside()) + len(guesses) - limit
            for name in guesses[: max(excess, 0)]:
                del self.visitor_states[name]

    def _end_slots(self) -> None:
        unclaimed: list[tuple[int, VisitorId, Cost]] = []
        for name, each in list(self.visitor_states.items()):
            if not isinstance(each, ActiveState | UnconfirmedSlot) or each.until_us > self.now_us:
                continue
            del self.visitor_states[name]
            if isinstance(each, ActiveState) and each.cost is not None:
                unclaimed.append((each.until_us, name, each.cost))
            elif isinstance(each, ActiveState):
                self.visitor_states[name] = SpentTicket(self.now_us + in_us(self.rules.spent_for_s))
        self.totals.abandoned += len(unclaimed)
        self._give_back([cost for _, _, cost in unclaimed])
        for _, name, _ in sorted(unclaimed):
            if name in self.missed_us:
                self.last_us = max(self.last_us + 1, self.now_us)
                self.missed_us[name] = self.last_us
            else:
                self.missed_us[name] = -self.now_us

    def _give_back(self, costs: list[Cost]) -> None:
        if self.now_us < self.recovering_until_us:
            return
        by_rate, grants = costs.count("rate"), costs.count("grant")
        self.grants += grants
        self.returned_grants += grants
        if costs:
            self._refill()
        if self.rate:
            self.level += min(by_rate, self.rules.burst) * UNIT
            self.returned += by_rate


def tenth_after(us: int) -> int:
    """Deadlines are stored in tenths of a second, rounded up."""
    return -(-us // 100_000) * 100_000


def in_us(seconds: float) -> int:
    return round(seconds * 1_000_000)
