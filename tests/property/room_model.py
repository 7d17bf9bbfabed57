"""A room in plain Python: the specification of the scripts, implemented independently.

Rules: see `room_ledger.py` for what it holds, `room_polls.py` for polls. Limits of size are not
modelled, since the machine's rooms stay below all of them.
"""

from gatekeeper.policy.decision import QueuePosition, SlotGrant
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Mode, Phase
from gatekeeper.policy.schedule import Schedule, Window
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.outstanding_polls import ReturnReport
from gatekeeper.room.standings import LeaveResult
from gatekeeper.room.state import RoomState
from gatekeeper.room.visitor_calls import ArrivalRequest
from gatekeeper.room.write_back import replicas_to_report
from tests.property.room_ledger import (
    NO_SLOTS_BEFORE,
    UNIT,
    ActiveState,
    Cost,
    Revocation,
    SpentTicket,
    UnconfirmedSlot,
    VisitorState,
    WaitingState,
    in_us,
    tenth_after,
)
from tests.property.room_polls import PollModel


class RoomModel(PollModel):
    """The operations on a room."""

    # The seven operations

    def join(
        self, known: RoomState | None, *, version: int, starting: bool, window_us: int
    ) -> None:
        """`version` is that of the store; the model does not compute it."""
        configured = round(self.rules.rate_per_minute)
        is_new = not self.epoch or (version == 1 and self.origin == (0, 0))
        if not self.epoch:
            self.epoch = self.filled_at_us = self.clock_us
            self.rate = self.configured_rate = configured
        if starting and known is None and is_new and configured:
            self._set_level(self.rules.burst * UNIT)
        knowledge = (known.epoch, known.version) if known is not None else (0, 0)
        if knowledge > (self.epoch, version):
            self.epoch = max(self.now_us, knowledge[0] + 1 + self.now_us % 1_000_000)
            self.to_report, self.reports = 0, {}
        if known is not None and knowledge < (self.epoch, 0):
            self.watermark_us = max(self.watermark_us, known.watermark_us)
            self.last_us = max(self.last_us, known.last_arrival_us)
            totals = self.totals
            totals.arrived = max(totals.arrived, known.arrived_total)
            totals.released = max(totals.released, known.released_total)
            totals.admitted = max(totals.admitted, known.admitted_total)
            totals.abandoned = max(totals.abandoned, known.abandoned_total)
        if known is not None and self.origin < knowledge < (self.epoch, 0):
            if self.origin[0] != known.epoch and self.to_report > 0:
                self.to_report, self.reports = 0, {}
            self.origin = knowledge
            if not self._is_set_by_operator("mode"):
                self.mode = known.mode
            if not self._is_set_by_operator("rate"):
                self.rate = round(known.rate_per_minute)
            if not self._is_set_by_operator("message"):
                self.message = known.message
            if not self._is_set_by_operator("events"):
                self._take_events(known.schedule)
            granted = self.grants if self._is_set_by_operator("allow") else 0
            self.grants = max(known.pending_grants, granted)
            self._set_level(0)
            self.claims_until, self.releases = 0, []
            self.owed_from_us, self.again_through_us, self.again_at = self.watermark_us, 0, 0
            if known.expected:
                self.claims_until = known.admitted_total + known.expected
                self.owed_from_us = known.owed_from_us
                self.again_through_us, self.again_at = known.again_through_us, known.again_at
            self.slots_before = known.active - self.totals.released
            self.recovering_until_us = max(self.recovering_until_us, self.now_us + window_us)
        if known is not None and known.epoch == self.origin[0] and known.epoch < self.epoch:
            self._count_replicas(known)
        if starting and self.configured_rate != configured:
            self._refill()
            self.rate = self.configured_rate = configured
            self.operator_set["rate"] = self.epoch

    def _count_replicas(self, known: RoomState) -> None:
        if self.now_us < self.recovering_until_us and self.to_report != -1:
            count = replicas_to_report(known, rules=self.rules)
            self.to_report = max(self.to_report, count) if count else -1

    def _take_events(self, schedule: Schedule) -> None:
        """Visitors who arrived while the store did not know the prequeue take part in its draw."""
        known, self.schedule = self.schedule.windows, schedule
        spans = {(each.from_us, each.until_us) for each in known if _is_of_draw(each)}
        for window in filter(_is_of_draw, schedule.windows):
            for each in self.visitor_states.values():
                is_new = (window.from_us, window.until_us) not in spans
                if isinstance(each, WaitingState) and is_new:
                    is_within = window.from_us <= each.turn_us < window.until_us
                    each.turn_us += PROVISIONAL_US if is_within else 0
        self.end_draws()

    def arrive(
        self, requests: list[ArrivalRequest | None]
    ) -> list[SlotGrant | QueuePosition | bool]:
        """None: a request that creates no place."""
        names = [request and request.visitor for request in requests]
        bucket = (self.level, self.filled_at_us, self.clock_ahead_us)
        self._refill()
        limit, waiting = self.rules.max_active, len(self.line())
        held = len(self.inside()) + len(self.unconfirmed())
        if limit and not waiting and held + len(names) > limit:
            self._end_slots()
            self.level = self._capped()
        known = (
            {n: each for n in names if n and (each := self._held_by(n))} if self.has_room() else {}
        )
        has_changed = held != len(self.inside()) + len(self.unconfirmed())
        replies: list[SlotGrant | QueuePosition | bool] = []
        for request in requests:
            if request is None:
                replies.append(self._is_admitted(is_guess=False))
                has_changed |= replies[-1] is True
            elif request.may_enter and isinstance(
                known.get(request.visitor), ActiveState | UnconfirmedSlot
            ):
                replies.append(SlotGrant(self.last_us, confirmed=False))
            else:
                may_enter = request.may_enter and request.visitor not in known
                replies.append(self._arrival(request, waiting, may_enter=may_enter))
                has_changed = True
        if not has_changed:  # nothing is stored
            self.level, self.filled_at_us, self.clock_ahead_us = bucket
        return replies

    def _held_by(self, name: VisitorId) -> VisitorState | None:
        each = self.visitor_states.get(name)
        return each if isinstance(each, ActiveState | UnconfirmedSlot | WaitingState) else None

    def _is_admitted(self, *, is_guess: bool) -> bool:
        if not self.has_room() or (is_guess and self._is_flooded()):
            return False
        self._pay(1)
        return True

    def _is_flooded(self) -> bool:
        """Whether more slots are unconfirmed than after a crowd, and the bucket is not full."""
        if self.mode is Mode.OPEN:
            return False
        burst, most = self.rules.burst, self.rate / 60 * self.rules.unconfirmed_slot_s
        is_crowd = len(self.unconfirmed()) <= burst / 2 + most / 8 + 0.5
        return not is_crowd and self._level_now() < burst * UNIT

    def _arrival(
        self, request: ArrivalRequest, waiting: int, *, may_enter: bool
    ) -> SlotGrant | QueuePosition:
        enters = may_enter and self._is_admitted(is_guess=True)
        self.last_us = arrival_us = max(self.last_us + 1, self.now_us)
        self.totals.arrived += 1
        if not enters:
            turn_us = self._turn_ahead_us(arrival_us, request.head_start_us)
            arrived_us = None if turn_us == arrival_us else arrival_us
            return QueuePosition(turn_us, waiting, confirmed=False, arrival_us=arrived_us)
        self.totals.admitted += 1
        until_us = self.now_us + in_us(self.rules.unconfirmed_slot_s)
        self.visitor_states[request.visitor] = UnconfirmedSlot(until_us)
        return SlotGrant(arrival_us, confirmed=False)

    def _turn_ahead_us(self, arrival_us: int, head_start_us: int) -> int:
        """The turn with a head start: after every released turn, and not before the prequeue of a
        past draw."""
        draws = [window for window in self.schedule.windows if _is_of_draw(window)]
        if any(window.from_us <= arrival_us < window.until_us for window in draws):
            return arrival_us
        over = [window.from_us for window in draws if window.until_us <= arrival_us]
        return min(arrival_us, max([arrival_us - head_start_us, self._first_free_us(), *over]))

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

    def leave(self, names: list[VisitorId], *, with_tickets: bool) -> list[LeaveResult]:
        replies: list[LeaveResult] = []
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
                self.visitor_states[name] = Revocation(
                    self.now_us + in_us(self.rules.revoked_for_s)
                )
            elif not isinstance(visitor_state, Revocation) or visitor_state.until_us <= self.now_us:
                until_us = self.now_us + in_us(self.rules.ticket_life_s)
                if isinstance(visitor_state, SpentTicket):
                    until_us = max(until_us, visitor_state.until_us)
                self.visitor_states[name] = SpentTicket(until_us)
        self.level = self._capped()
        return replies

    def advance(self, replica: str, report: ReturnReport, *, replicas: int) -> list[VisitorId]:
        """The released visitors, in order. `replicas`: how many the store counts."""
        self.replicas = replicas
        self._refill()
        is_recovering = self.now_us < self.recovering_until_us
        if not is_recovering:
            self.to_report, self.reports, self.slots_before = 0, {}, NO_SLOTS_BEFORE
        elif self.to_report > 0:
            self.reports.pop(replica, None)
            if report.epoch == self.epoch:
                was_counted = report.lost_epoch == self.origin[0]
                self.reports[replica] = (self.now_us, report.through_us, was_counted)
        remembered_us = in_us(self.rules.ticket_life_s)
        for name, us in list(self.missed_us.items()):
            if abs(us) <= self.now_us - remembered_us:
                del self.missed_us[name]
        for name, each in list(self.visitor_states.items()):
            match each:
                case SpentTicket(until_us=end_us) | Revocation(until_us=end_us) if (
                    end_us <= self.now_us
                ):
                    del self.visitor_states[name]
                case WaitingState(deadline_us=end_us) if tenth_after(end_us) <= self.now_us:
                    del self.visitor_states[name]
                    self.totals.abandoned += 1
        self._end_slots()
        line, due = self.line(), self._early_due() if is_recovering else self._due()
        if self.mode is not Mode.OPEN:
            due = min(due, self._unheld())
        if is_recovering:
            through_us = self._early_through_us()
            due = min(due, sum(turn_us <= through_us for turn_us, _ in line)) if through_us else 0
        before_us = self.watermark_us
        released, by_rate = line[:due], max(self.level // UNIT, 0)
        for number, (_, name) in enumerate(released):
            until_us = self.now_us + in_us(self.rules.claim_timeout_s)
            cost: Cost = "rate" if number < by_rate else "grant"
            if self.mode is Mode.OPEN:
                cost = "free"
            self.visitor_states[name] = ActiveState(until_us, cost)
        if released and (turn_us := released[-1][0]) < PROVISIONAL_US:
            self.reached_us = max(self.reached_us, turn_us)
            is_tied = turn_us in {next_us for next_us, _ in line[due : due + 1]}
            self.watermark_us = max(self.watermark_us, turn_us - is_tied)
        self._pay(len(released))
        if not is_recovering or released:
            self.claims_until = 0
        self.level = self._capped()
        self.totals.released += len(released)
        self._note_releases([turn_us for turn_us, _ in released], before_us=before_us)
        self._yield_unconfirmed()
        return [name for _, name in released]

    def _note_releases(self, turns_us: list[int], *, before_us: int) -> None:
        if self.now_us < self.recovering_until_us and self.claims_until:
            return
        claim_us = in_us(self.rules.claim_timeout_s)
        self.releases = [
            each for each in self.releases if self.now_us - each[0] <= claim_us * 9 / 8
        ]
        if turns_us:
            again_us = min(turns_us[-1], before_us) if turns_us[0] <= before_us else 0
            if not self.releases or self.now_us - self.releases[-1][0] > claim_us / 8:
                self.releases.append((self.now_us, before_us, 0, 0))
            at_us, first_us, highest_us, total = self.releases.pop()
            total = self.totals.released if again_us else total
            self.releases.append((at_us, first_us, max(highest_us, again_us), total))
        self.again_through_us = max([0, *(each[2] for each in self.releases)])
        self.again_at = max([0, *(each[3] for each in self.releases)])
        self.owed_from_us = self.releases[0][1] if self.releases else self.watermark_us

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

    def change_events(self, schedule: Schedule, *, by_draw: bool = False) -> None:
        self._refill()
        self.schedule = schedule
        self.end_draws()
        if not by_draw:
            self.operator_set["events"] = self.epoch

    def place_drawn(self, turns_us: dict[VisitorId, int]) -> None:
        """Move visitors to the turns that they drew, or to their arrivals if the event was
        cancelled."""
        moved = self.provisional().keys() & turns_us.keys()
        for name in moved:
            waiting = self.visitor_states[name]
            assert isinstance(waiting, WaitingState)
            waiting.turn_us = turns_us[name]
        if moved and not self.provisional():
            self.lanes.clear()

    def expected(self) -> int:
        inside = (self.visitor_states[name] for name in self.inside())
        unclaimed = sum(isinstance(each, ActiveState) and each.cost is not None for each in inside)
        return unclaimed + self._claims_left()


def _is_of_draw(window: Window) -> bool:
    return window.phase is Phase.PREQUEUE and window.event is not None and window.event.has_draw
