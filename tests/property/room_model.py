"""A room in plain Python: what the scripts should do, written a second time and another way.

Rules: every visitor is in one of five states, and time never steps back behind the last look at
the bucket. No limits of size are modelled, for the machine's rooms stay below all of them. The
bucket counts billionths in whole numbers: exact for rates that divide a microsecond evenly.
"""

from dataclasses import dataclass, field

from gatekeeper.policy.decision import QueuePosition, SlotGrant, Standing, VoidToken
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.queue import Left, PollRequest
from gatekeeper.room.state import RoomState

UNIT = 10**9


@dataclass(slots=True)
class WaitingState:
    turn_us: int
    deadline_us: int


@dataclass(slots=True)
class ActiveState:
    until_us: int
    claimed: bool


@dataclass(slots=True)
class SpentTicket:
    until_us: int


@dataclass(slots=True)
class Revocation:
    until_us: int


# Without an entry a visitor is unknown.
VisitorState = WaitingState | ActiveState | SpentTicket | Revocation


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

    def arrive(self, names: list[VisitorId]) -> list[SlotGrant | QueuePosition]:
        self._refill()
        due = self._due() if not self.line() else 0
        if due and self._free() < len(names):
            self._end_slots()
        free = self._free() if self.mode is not Mode.OPEN else len(names)
        replies: list[SlotGrant | QueuePosition] = []
        for name in names:
            match self.visitor_states.get(name):
                case WaitingState(turn_us=turn_us):
                    replies.append(QueuePosition(turn_us, self._ahead(name)))
                    continue
                case ActiveState():
                    replies.append(SlotGrant(self.last_us, confirmed=False))
                    continue
            self.last_us = max(self.last_us + 1, self.now_us)
            self.totals.arrived += 1
            if due > 0 and free > 0 and not self.line():
                due, free = due - 1, free - 1
                self._pay(1)
                self.totals.admitted += 1
                until_us = self.now_us + _us(self.rules.unconfirmed_slot_s)
                self.visitor_states[name] = ActiveState(until_us, claimed=False)
                replies.append(SlotGrant(self.last_us, confirmed=False))
            else:
                deadline_us = self.now_us + _us(self.rules.confirm_timeout_s)
                self.visitor_states[name] = WaitingState(self.last_us, deadline_us)
                replies.append(QueuePosition(self.last_us, self._ahead(name)))
        return replies

    def poll(self, batch: list[PollRequest], *, window_us: int) -> list[Standing]:
        return [self._poll(poll_request, window_us=window_us) for poll_request in batch]

    def _poll(self, poll_request: PollRequest, *, window_us: int) -> Standing:
        name, now_us = poll_request.visitor, self.now_us
        deadline_us = now_us + _us(self.rules.heartbeat_timeout_s)

        def was_released() -> bool:
            return (
                not poll_request.has_pass
                and not poll_request.by_proxy
                and not poll_request.connected
                and poll_request.turn_us <= self.watermark_us
                and now_us < self.recovering_until_us
                and self._free() > 0
                and (self._claims_left() > 0 or self._falls_due())
            )

        match self.visitor_states.get(name):
            case WaitingState() as waiting if not poll_request.by_proxy and not was_released():
                waiting.deadline_us = deadline_us
                return QueuePosition(poll_request.turn_us, self._ahead(name))
            case ActiveState() if poll_request.connected or poll_request.by_proxy:
                return SlotGrant(poll_request.turn_us, confirmed=True)
            case ActiveState() as inside:
                highest_us = max(self.watermark_us, self.reached_us)
                was_reached = not poll_request.has_pass and poll_request.turn_us <= highest_us
                self.totals.admitted += not inside.claimed and was_reached
                inside.claimed = True
                inside.until_us = now_us + _us(self.rules.pass_life_s)
                return SlotGrant(poll_request.turn_us, confirmed=True)

            case SpentTicket(until_us=until_us) | Revocation(until_us=until_us) if (
                until_us > now_us
            ):
                return VoidToken()
        if was_released():
            self.visitor_states[name] = ActiveState(
                now_us + _us(self.rules.pass_life_s), claimed=True
            )
            if self._claims_left() == 0:
                self.totals.released += 1
                self._pay(1)
            self.totals.admitted += 1
            return SlotGrant(poll_request.turn_us, confirmed=True)
        born_until_us = self.epoch + window_us
        if poll_request.turn_us < self.epoch <= now_us < born_until_us:
            self.recovering_until_us = max(self.recovering_until_us, born_until_us)
        self.last_us = max(self.last_us, poll_request.turn_us)
        self.visitor_states[name] = WaitingState(poll_request.turn_us, deadline_us)
        return QueuePosition(poll_request.turn_us, self._ahead(name))

    def touch(self, batch: list[tuple[VisitorId, int]]) -> list[bool]:
        replies = []
        for name, until_us in batch:
            visitor_state = self.visitor_states.get(name)
            if isinstance(visitor_state, Revocation) and visitor_state.until_us > self.now_us:
                replies.append(False)
                continue
            if isinstance(visitor_state, ActiveState):
                until_us = max(until_us, visitor_state.until_us)
            self.visitor_states[name] = ActiveState(until_us, claimed=True)
            replies.append(True)
        return replies

    def leave(self, names: list[VisitorId], *, with_tickets: bool) -> list[Left]:
        replies: list[Left] = []
        for name in names:
            visitor_state = self.visitor_states.get(name)
            self.totals.abandoned += isinstance(visitor_state, WaitingState)
            match visitor_state:
                case ActiveState():
                    replies.append("slot")
                case WaitingState():
                    replies.append("place")
                case _:
                    replies.append("nothing")
            if not with_tickets or isinstance(visitor_state, ActiveState):
                self.totals.revocations += not isinstance(visitor_state, Revocation)
                self.visitor_states[name] = Revocation(self.now_us + _us(self.rules.revoked_for_s))
            elif not isinstance(visitor_state, Revocation) or visitor_state.until_us <= self.now_us:
                until_us = self.now_us + _us(self.rules.ticket_life_s)
                if isinstance(visitor_state, SpentTicket):
                    until_us = max(until_us, visitor_state.until_us)
                self.visitor_states[name] = SpentTicket(until_us)
        return replies

    def advance(self) -> list[VisitorId]:
        """The released visitors, in order."""
        self._refill()
        self._end_slots()
        for name, each in list(self.visitor_states.items()):
            match each:
                case SpentTicket(until_us=end_us) | Revocation(until_us=end_us) if (
                    end_us <= self.now_us
                ):
                    del self.visitor_states[name]
                case WaitingState(deadline_us=end_us) if _tenth_after(end_us) <= self.now_us:
                    del self.visitor_states[name]
                    self.totals.abandoned += 1
        line, due = self.line(), self._due()
        if self.mode is not Mode.OPEN:
            due = min(due, self._free())
        released = line[:due]
        for turn_us, name in released:
            until_us = self.now_us + _us(self.rules.claim_timeout_s)
            self.visitor_states[name] = ActiveState(until_us, claimed=False)
            self.reached_us = max(self.reached_us, turn_us)
            is_tied = turn_us in {next_us for next_us, _ in line[due : due + 1]}
            self.watermark_us = max(self.watermark_us, turn_us - is_tied)
        self._pay(len(released))
        self.totals.released += len(released)
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
        unproven = sum(isinstance(each, ActiveState) and not each.claimed for each in inside)
        return unproven + self._claims_left()

    # Underneath

    def _claims_left(self) -> int:
        if self.now_us >= self.recovering_until_us:
            return 0
        return max(self.claims_until - self.totals.admitted, 0)

    def _is_set_by_operator(self, word: str) -> bool:
        return self.operator_set.get(word) == self.epoch

    def _ahead(self, name: VisitorId) -> int:
        return [each for _, each in self.line()].index(name)

    def _refill(self) -> None:
        elapsed_us = self.now_us - self.filled_at_us
        self.filled_at_us = self.now_us
        self.level = min(self.level + elapsed_us * self.rate * 1000 // 60, self.rules.burst * UNIT)
        if not self.rate:
            self.level = 0

    def _falls_due(self) -> bool:
        if self.mode is not Mode.AUTO:
            return False
        self._refill()
        return self.level >= UNIT

    def _due(self) -> int:
        if self.now_us < self.recovering_until_us or self.mode in {Mode.HOLD, Mode.ENDED}:
            return 0
        return 10**9 if self.mode is Mode.OPEN else self.level // UNIT + self.grants

    def _pay(self, count: int) -> None:
        if self.mode is not Mode.AUTO:
            return
        by_rate = min(count, self.level // UNIT)
        self.level -= by_rate * UNIT
        self.grants -= count - by_rate

    def _free(self) -> int:
        if not self.rules.max_active:
            return 10**9
        return max(self.rules.max_active - len(self.inside()), 0)

    def _end_slots(self) -> None:
        for name in self.inside():
            inside = self.visitor_states[name]
            assert isinstance(inside, ActiveState)
            if inside.until_us > self.now_us:
                continue
            del self.visitor_states[name]
            if not inside.claimed:
                self.totals.abandoned += 1
            elif self.rules.spent_for_s:
                self.visitor_states[name] = SpentTicket(self.now_us + _us(self.rules.spent_for_s))


def _tenth_after(us: int) -> int:
    """Deadlines are kept in tenths of a second, never early."""
    return -(-us // 100_000) * 100_000


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
