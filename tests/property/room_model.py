"""A room in plain Python: what the scripts should do, written a second time and another way.

Rules: every visitor is in one of six states, and time never steps back behind the last look at
the bucket. No limits of size are modelled, for the machine's rooms stay below all of them. The
bucket counts billionths in whole numbers: exact for rates that divide a microsecond evenly.
"""

from dataclasses import dataclass, field
from typing import Literal

from gatekeeper.policy.decision import QueuePosition, SlotGrant, Standing, VoidToken
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.queue import Left, PollRequest
from gatekeeper.room.state import RoomState

UNIT = 10**9
Cost = Literal["rate", "grant", "free"]


@dataclass(slots=True)
class WaitingState:
    turn_us: int
    deadline_us: int


@dataclass(slots=True)
class ActiveState:
    """`cost`: what the release took that the visitor has yet to claim; None once claimed. From then
    on `ends_us` is the end of the session."""

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
class RoomModel:
    rules: Rules
    clock_us: int
    epoch: int = 0
    origin: tuple[int, int] = (0, 0)
    mode: Mode = Mode.AUTO
    message: str = ""
    rate: int = 0
    configured_rate: int = 0
    level: int = 0
    filled_at_us: int = 0
    grants: int = 0
    watermark_us: int = 0
    reached_us: int = 0  # the highest turn of which any visitor was released
    claims_until: int = 0  # the admitted total with which all released before the loss have come
    last_us: int = 0
    recovering_until_us: int = 0
    totals: Totals = field(default_factory=Totals)
    # Settings by an operator: the epoch of each.
    operator_set: dict[str, int] = field(default_factory=dict)
    visitor_states: dict[VisitorId, VisitorState] = field(default_factory=dict)
    # Minus the time of the first missed release, or from the second on the new turn.
    missed_us: dict[VisitorId, int] = field(default_factory=dict)
    # Admissions and grants that were given back, ever.
    returned: int = 0
    returned_grants: int = 0

    @property
    def now_us(self) -> int:
        return max(self.clock_us, self.filled_at_us)

    def line(self) -> list[tuple[int, VisitorId]]:
        """The queue in order: by turn, and visitors of one turn by name."""
        return sorted(
            (each.turn_us, name)
            for name, each in self.visitor_states.items()
            if isinstance(each, WaitingState)
        )

    def inside(self) -> list[VisitorId]:
        return [name for name, each in self.visitor_states.items() if isinstance(each, ActiveState)]

    def unconfirmed(self) -> list[VisitorId]:
        """Those in slots that are a guess, by their end."""
        slots = [
            (each.until_us, name)
            for name, each in self.visitor_states.items()
            if isinstance(each, UnconfirmedSlot)
        ]
        return [name for _, name in sorted(slots)]

    def has_room(self) -> bool:
        """Whether a newcomer goes straight through now."""
        if self.now_us < self.recovering_until_us or self.mode in {Mode.HOLD, Mode.ENDED}:
            return False
        if self.mode is Mode.OPEN:
            return True
        level, limit = self._level_now(), self.rules.max_active
        slots = len(self.inside()) + len(self.unconfirmed())
        is_rich = level >= UNIT and 2 * level > self.rules.burst * UNIT
        return is_rich and not self.line() and (not limit or slots < limit)

    # The seven operations

    def join(
        self, known: RoomState | None, *, version: int, starting: bool, window_us: int
    ) -> None:
        """`version` is the store's own, of which the model knows nothing else."""
        configured = round(self.rules.rate_per_minute)
        if not self.epoch:
            self.epoch = self.filled_at_us = self.clock_us
            self.rate = self.configured_rate = configured
            self.level = self.rules.burst * UNIT if configured else 0
        knowledge = (known.epoch, known.version) if known is not None else (0, 0)
        if knowledge > (self.epoch, version):
            self.epoch = max(self.now_us, knowledge[0] + 1 + self.now_us % 1_000_000)
        if known is not None and knowledge < (self.epoch, 0):
            self.watermark_us = max(self.watermark_us, known.watermark_us)
            self.last_us = max(self.last_us, known.last_arrival_us)
            totals = self.totals
            totals.arrived = max(totals.arrived, known.arrived_total)
            totals.released = max(totals.released, known.released_total)
            totals.admitted = max(totals.admitted, known.admitted_total)
            totals.abandoned = max(totals.abandoned, known.abandoned_total)
        if known is not None and self.origin < knowledge < (self.epoch, 0):
            self.origin = knowledge
            if not self._is_set_by_operator("mode"):
                self.mode = known.mode
            if not self._is_set_by_operator("rate"):
                self.rate = round(known.rate_per_minute)
            if not self._is_set_by_operator("message"):
                self.message = known.message
            granted = self.grants if self._is_set_by_operator("allow") else 0
            self.grants, self.level = max(known.pending_grants, granted), 0
            self.filled_at_us = self.now_us
            self.claims_until = known.admitted_total + known.expected
            self.recovering_until_us = max(self.recovering_until_us, self.now_us + window_us)
        if starting and self.configured_rate != configured:
            self._refill()
            self.rate = self.configured_rate = configured
            self.operator_set["rate"] = self.epoch

    def arrive(self, names: list[VisitorId | None]) -> list[SlotGrant | QueuePosition | bool]:
        """None is a request that creates no place."""
        self._refill()
        limit, waiting = self.rules.max_active, len(self.line())
        held = len(self.inside()) + len(self.unconfirmed())
        if limit and not waiting and held + len(names) > limit:
            self._end_slots()
            self.level = self._capped()
        known = (
            {n: each for n in names if n and (each := self._held_by(n))} if self.has_room() else {}
        )
        replies: list[SlotGrant | QueuePosition | bool] = []
        for name in names:
            if name is None:
                replies.append(self._is_admitted())
            elif isinstance(known.get(name), ActiveState | UnconfirmedSlot):
                replies.append(SlotGrant(self.last_us, confirmed=False))
            else:
                replies.append(self._arrival(name, waiting, may_enter=name not in known))
        return replies

    def _held_by(self, name: VisitorId) -> VisitorState | None:
        each = self.visitor_states.get(name)
        return each if isinstance(each, ActiveState | UnconfirmedSlot | WaitingState) else None

    def _is_admitted(self) -> bool:
        if not self.has_room():
            return False
        self._pay(1)
        return True

    def _arrival(
        self, name: VisitorId, waiting: int, *, may_enter: bool
    ) -> SlotGrant | QueuePosition:
        self.last_us = max(self.last_us + 1, self.now_us)
        self.totals.arrived += 1
        if not may_enter or not self._is_admitted():
            return QueuePosition(self.last_us, waiting, confirmed=False)
        self.totals.admitted += 1
        until_us = self.now_us + _us(self.rules.unconfirmed_slot_s)
        self.visitor_states[name] = UnconfirmedSlot(until_us)
        return SlotGrant(self.last_us, confirmed=False)

    def poll(self, batch: list[PollRequest], *, window_us: int) -> list[Standing]:
        return [self._poll(poll_request, window_us=window_us) for poll_request in batch]

    def _poll(self, poll_request: PollRequest, *, window_us: int) -> Standing:
        name, now_us = poll_request.visitor, self.now_us
        by_ticket = not (poll_request.has_pass or poll_request.by_proxy or poll_request.connected)
        until_us = now_us + _us(self.rules.pass_life_s)
        session_end_us = now_us + _us(self.rules.session_absolute_timeout_s)

        def was_released() -> bool:
            return (
                by_ticket
                and poll_request.turn_us <= self.watermark_us
                and now_us < self.recovering_until_us
                and self._free() > 0
                and (self._claims_left() > 0 or self._falls_due())
            )

        def is_due() -> bool:
            free = self._free() > 0 or self.mode is Mode.OPEN
            return by_ticket and self._ahead(name) == 0 and self._due() > 0 and free

        def enter(*, is_owed: bool = False) -> Standing:
            slot_end_us = min(until_us, session_end_us)
            self.visitor_states[name] = ActiveState(slot_end_us, ends_us=session_end_us)
            self._yield_unconfirmed()
            if not is_owed:
                self.totals.released += 1
                self._pay(1)
            self.totals.admitted += 1
            return SlotGrant(poll_request.turn_us, confirmed=True, ends_at_us=session_end_us)

        def stay(turn_us: int) -> Standing:
            waiting = self.visitor_states[name]
            assert isinstance(waiting, WaitingState)
            waiting.deadline_us = now_us + _us(self.rules.heartbeat_timeout_s)
            return QueuePosition(turn_us, self._ahead(name))

        match self.visitor_states.get(name):
            case WaitingState() if not poll_request.by_proxy and not poll_request.has_pass:
                if is_due():
                    return enter()
                if was_released():
                    return enter(is_owed=self._claims_left() > 0)
                return stay(poll_request.turn_us)
            case ActiveState() | UnconfirmedSlot() if (
                poll_request.connected or poll_request.by_proxy
            ):
                return SlotGrant(poll_request.turn_us, confirmed=True)
            case (ActiveState() | UnconfirmedSlot()) as slot if not (
                poll_request.has_pass and slot.until_us <= now_us
            ):
                ends_us = slot.ends_us if isinstance(slot, ActiveState) else None
                ends_us = session_end_us if ends_us is None else ends_us
                if ends_us <= now_us:
                    return VoidToken()
                self.totals.admitted += isinstance(slot, ActiveState) and slot.cost is not None
                self.visitor_states[name] = ActiveState(min(until_us, ends_us), ends_us=ends_us)
                return SlotGrant(poll_request.turn_us, confirmed=True, ends_at_us=ends_us)
            case SpentTicket(until_us=end_us) | Revocation(until_us=end_us) if end_us > now_us:
                return VoidToken()
        if poll_request.has_pass:
            return VoidToken()
        if was_released():
            return enter(is_owed=self._claims_left() > 0)
        born_until_us = self.epoch + window_us
        if poll_request.turn_us < self.epoch <= now_us < born_until_us:
            self.recovering_until_us = max(self.recovering_until_us, born_until_us)
        turn_us = max(poll_request.turn_us, self.missed_us.get(name, 0))
        self.last_us = max(self.last_us, turn_us)
        self.visitor_states[name] = WaitingState(turn_us, 0)
        return enter() if is_due() else stay(turn_us)

    def touch(self, batch: list[tuple[VisitorId, int, int]]) -> list[bool]:
        replies = []
        for name, until_us, ends_us in batch:
            visitor_state = self.visitor_states.get(name)
            if isinstance(visitor_state, Revocation) and visitor_state.until_us > self.now_us:
                replies.append(False)
                continue
            if isinstance(visitor_state, ActiveState):
                until_us = max(until_us, visitor_state.until_us)
                ends_us = ends_us if visitor_state.ends_us is None else visitor_state.ends_us
            self.visitor_states[name] = ActiveState(until_us, ends_us=ends_us)
            replies.append(True)
        self._yield_unconfirmed()
        return replies

    def leave(self, names: list[VisitorId], *, with_tickets: bool) -> list[Left]:
        replies: list[Left] = []
        for name in names:
            visitor_state = self.visitor_states.get(name)
            self.totals.abandoned += isinstance(visitor_state, WaitingState)
            match visitor_state:
                case ActiveState(cost=cost):
                    replies.append("slot")
                    self._give_back([cost] if cost else [])
                case UnconfirmedSlot():
                    replies.append("slot")
                case WaitingState():
                    replies.append("place")
                case _:
                    replies.append("nothing")
            if not with_tickets or isinstance(visitor_state, ActiveState | UnconfirmedSlot):
                self.totals.revocations += not isinstance(visitor_state, Revocation)
                self.visitor_states[name] = Revocation(self.now_us + _us(self.rules.revoked_for_s))
            elif not isinstance(visitor_state, Revocation) or visitor_state.until_us <= self.now_us:
                until_us = self.now_us + _us(self.rules.ticket_life_s)
                if isinstance(visitor_state, SpentTicket):
                    until_us = max(until_us, visitor_state.until_us)
                self.visitor_states[name] = SpentTicket(until_us)
        self.level = self._capped()
        return replies

    def advance(self) -> list[VisitorId]:
        """The released visitors, in order."""
        self._refill()
        remembered_us = _us(self.rules.ticket_life_s)
        for name, us in list(self.missed_us.items()):
            if abs(us) <= self.now_us - remembered_us:
                del self.missed_us[name]
        for name, each in list(self.visitor_states.items()):
            match each:
                case SpentTicket(until_us=end_us) | Revocation(until_us=end_us) if (
                    end_us <= self.now_us
                ):
                    del self.visitor_states[name]
                case WaitingState(deadline_us=end_us) if _tenth_after(end_us) <= self.now_us:
                    del self.visitor_states[name]
                    self.totals.abandoned += 1
        self._end_slots()
        line, due = self.line(), self._due()
        if self.mode is not Mode.OPEN:
            due = min(due, self._free())
        released, by_rate = line[:due], self.level // UNIT
        for number, (turn_us, name) in enumerate(released):
            until_us = self.now_us + _us(self.rules.claim_timeout_s)
            cost: Cost = "rate" if number < by_rate else "grant"
            if self.mode is Mode.OPEN:
                cost = "free"
            self.visitor_states[name] = ActiveState(until_us, cost)
            self.reached_us = max(self.reached_us, turn_us)
            is_tied = turn_us in {next_us for next_us, _ in line[due : due + 1]}
            self.watermark_us = max(self.watermark_us, turn_us - is_tied)
        self._pay(len(released))
        self.level = self._capped()
        self.totals.released += len(released)
        self._yield_unconfirmed()
        return [name for _, name in released]

    def allow(self, count: int) -> None:
        self._refill()
        self.grants += count
        self.operator_set["allow"] = self.epoch

    def set_rate(self, rate: int) -> None:
        self._refill()
        self.rate = rate
        self.operator_set["rate"] = self.epoch
        if not rate:
            self.level = 0

    def set_mode(self, mode: Mode) -> None:
        self._refill()
        self.mode = mode
        self.operator_set["mode"] = self.epoch

    def set_message(self, message: str) -> None:
        self._refill()
        self.message = message
        self.operator_set["message"] = self.epoch

    def expected(self) -> int:
        inside = (self.visitor_states[name] for name in self.inside())
        unclaimed = sum(isinstance(each, ActiveState) and each.cost is not None for each in inside)
        return unclaimed + self._claims_left()

    # Underneath

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
        self.level, self.filled_at_us = self._level_now(), self.now_us

    def _falls_due(self) -> bool:
        return self.mode is Mode.AUTO and self._level_now() >= UNIT

    def _due(self) -> int:
        if self.now_us < self.recovering_until_us or self.mode in {Mode.HOLD, Mode.ENDED}:
            return 0
        return 10**9 if self.mode is Mode.OPEN else self._level_now() // UNIT + self.grants

    def _pay(self, count: int) -> None:
        if self.mode is not Mode.AUTO:
            return
        self._refill()
        by_rate = min(count, self.level // UNIT)
        self.level -= by_rate * UNIT
        self.grants -= count - by_rate

    def _free(self) -> int:
        if not self.rules.max_active:
            return 10**9
        return max(self.rules.max_active - len(self.inside()), 0)

    def _yield_unconfirmed(self) -> None:
        """Confirmed visitors take the slots of guesses, the oldest first."""
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
                self.visitor_states[name] = SpentTicket(self.now_us + _us(self.rules.spent_for_s))
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


def _tenth_after(us: int) -> int:
    """Deadlines are kept in tenths of a second, never early."""
    return -(-us // 100_000) * 100_000


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
