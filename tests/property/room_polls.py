"""The polls of the room in plain Python: confirmation, heartbeat, return and claim.

Rules: those of `room_model.py`.
"""

from dataclasses import replace

from gatekeeper.policy.decision import QueuePosition, SlotGrant, Standing, VoidToken
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Mode
from gatekeeper.room.visitor_calls import PollRequest
from tests.property.room_ledger import (
    UNIT,
    ActiveState,
    Revocation,
    RoomLedger,
    SpentTicket,
    UnconfirmedSlot,
    WaitingState,
    in_us,
)


class PollModel(RoomLedger):
    """The changes by one poll, and its reply."""

    def poll(self, batch: list[PollRequest], *, window_us: int) -> list[Standing]:
        standings = [self._poll(poll_request, window_us=window_us) for poll_request in batch]
        return [self._with_return(*each) for each in zip(batch, standings, strict=True)]

    def _with_return(self, request: PollRequest, standing: Standing) -> Standing:
        """Record the return of a visitor who waits at a released turn without an open claim."""
        if not isinstance(standing, QueuePosition) or standing.is_moved:
            return standing
        is_owed = self._is_owed(request)
        is_known = not is_owed and request.returned_at is not None
        is_unclear = is_owed and self.now_us < self.recovering_until_us
        if request.turn_us > self.watermark_us or is_known or is_unclear:
            return standing
        return replace(standing, returned_at=self.totals.released)

    def _is_owed(self, request: PollRequest) -> bool:
        """Whether a claim of this visitor may be open."""
        if request.turn_us > self.watermark_us:
            return False
        if request.returned_at is not None:
            is_before = request.returned_at < self.again_at
            return is_before and request.turn_us <= self.again_through_us
        return request.turn_us > self.owed_from_us

    def _poll(self, poll_request: PollRequest, *, window_us: int) -> Standing:
        name, now_us = poll_request.visitor, self.now_us
        by_ticket = not (poll_request.has_pass or poll_request.by_proxy or poll_request.connected)
        until_us = now_us + in_us(self.rules.pass_life_s)
        session_end_us = now_us + in_us(self.rules.session_absolute_timeout_s)

        def was_released() -> bool:
            has_credit = self.rate > 0 and self._level_now() // UNIT > -self.rules.burst
            return (
                by_ticket
                and (poll_request.confirmed or not poll_request.lane)
                and now_us < self.recovering_until_us
                and self.claims_until > 0
                and self._is_owed(poll_request)
                and (self._claims_left() > 0 or has_credit)
                and self._free() > count_earlier()
            )

        def count_earlier() -> int:
            lowest_us = self.owed_from_us if poll_request.returned_at is None else -1
            return sum(lowest_us < turn_us < poll_request.turn_us for turn_us, _ in self.line())

        def claim() -> Standing:
            if not self._claims_left():
                self._refill()
                self.level -= UNIT
            return enter(is_owed=True)

        def is_due() -> bool:
            free = self._free() > 0 or self.mode is Mode.OPEN
            return by_ticket and self._ahead(name) == 0 and self._due() > 0 and free

        def enter(*, is_owed: bool = False) -> Standing:
            waiting = self.visitor_states.get(name)
            is_drawn = isinstance(waiting, WaitingState) and waiting.turn_us < PROVISIONAL_US
            if not is_owed and isinstance(waiting, WaitingState) and is_drawn:
                self.reached_us = max(self.reached_us, waiting.turn_us)
            slot_end_us = min(until_us, session_end_us)
            self.visitor_states[name] = ActiveState(slot_end_us, ends_us=session_end_us)
            self._yield_unconfirmed()
            if not is_owed:
                self.totals.released += 1
                self._pay(1)
            self.totals.admitted += 1
            return SlotGrant(poll_request.turn_us, confirmed=True, ends_at_us=session_end_us)

        def stay(turn_us: int, *, is_moved: bool = False) -> Standing:
            waiting = self.visitor_states[name]
            assert isinstance(waiting, WaitingState)
            waiting.deadline_us = now_us + in_us(self.rules.heartbeat_timeout_s)
            return QueuePosition(turn_us, self._ahead(name), is_moved=is_moved)

        match self.visitor_states.get(name):
            case WaitingState() if not poll_request.by_proxy and not poll_request.has_pass:
                if is_due():
                    return enter()
                if was_released():
                    return claim()
                turn_us, is_moved = self._standing(poll_request)
                return stay(turn_us, is_moved=is_moved)
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
            return claim()
        moved_us = self._place(poll_request, window_us=window_us)
        if is_due():
            return enter()
        turn_us = poll_request.turn_us if moved_us is None else moved_us
        return stay(turn_us, is_moved=moved_us is not None)

    def _standing(self, poll_request: PollRequest) -> tuple[int, bool]:
        """The turn of a waiting visitor, and whether it differs from the ticket's, which is
        reported only for visitors of lanes."""
        name, asked_us = poll_request.visitor, poll_request.turn_us
        waiting = self.visitor_states[name]
        assert isinstance(waiting, WaitingState)
        if poll_request.lane and waiting.turn_us >= PROVISIONAL_US:
            self.lanes[name] = poll_request.lane
        is_drawn = waiting.turn_us < PROVISIONAL_US <= asked_us
        if not poll_request.lane or asked_us == waiting.turn_us or is_drawn:
            return asked_us, False
        return waiting.turn_us, True

    def _place(self, poll_request: PollRequest, *, window_us: int) -> int | None:
        """Put an unknown visitor into the queue; returns the turn if it differs from the ticket's
        because of missed or later releases."""
        name, turn_us, lane = poll_request.visitor, poll_request.turn_us, poll_request.lane
        arrival_us = turn_us - PROVISIONAL_US if turn_us >= PROVISIONAL_US else turn_us
        if lane:
            arrival_us = poll_request.arrival_us
        is_early = arrival_us > max(self.last_us, self.now_us + 60_000_000)
        if is_early:
            self.last_us = arrival_us = max(self.last_us + 1, self.now_us)
            turn_us = min(turn_us, arrival_us)
        if self.is_gathering(arrival_us):
            turn_us = PROVISIONAL_US + arrival_us
        born_until_us = self.epoch + window_us
        if arrival_us < self.epoch <= self.now_us < born_until_us:
            self.recovering_until_us = max(self.recovering_until_us, born_until_us)
        is_moved = self.missed_us.get(name, 0) > arrival_us
        if is_moved:
            turn_us = arrival_us = self.missed_us[name]
        is_moved = is_moved or is_early
        self.last_us = max(self.last_us, arrival_us)
        is_new = self.now_us >= self.recovering_until_us or not poll_request.confirmed
        if lane and is_new and turn_us < self._first_free_us():
            turn_us, is_moved = self._first_free_us(), True
        if lane and turn_us >= PROVISIONAL_US:
            self.lanes[name] = lane
        self.visitor_states[name] = WaitingState(turn_us, 0)
        return turn_us if is_moved else None

    def _first_free_us(self) -> int:
        return max(self.watermark_us, self.reached_us) + 1
