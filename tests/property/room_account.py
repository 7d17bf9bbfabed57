"""The machine's own account: what visitors hold, what was let in, and what a call may spend."""

from dataclasses import dataclass
from typing import NamedTuple

from gatekeeper.policy.schedule import Schedule
from gatekeeper.policy.tokens import Ticket, Token, VisitorId
from tests.property.room_ledger import UNIT


@dataclass(slots=True)
class Visitor:
    """One browser, with its present token and its last ticket."""

    name: VisitorId
    token: Token | None
    ticket: Ticket | None = None
    ever_left: bool = False
    has_left: bool = False  # and the store, or every replica, knows
    is_revoked: bool = False  # left and held a slot, or came with a pass: replicas remember that
    has_claimed: bool = False
    is_counted: bool = False  # this store knows of the slot: it has not forgotten since
    session_ends_s: float | None = None  # as this store gave it first
    is_over: bool = False  # the counted pass expired, and the pacer has looked since


@dataclass(slots=True)
class Admissions:
    """What was let in by the rate, moment by moment, beside what had fallen due until then."""

    fell_due: int = 0
    was_given_back: bool = False
    log: list[tuple[int, int]] | None = None  # (fallen due in all, let in just now)

    def let_in(self, count: int, *, given_back: int, burst: int) -> None:
        """What no-shows gave back, also in this call, fell due again, and may leave a fraction
        above the bucket."""
        self.log = [*(self.log or []), (self.fell_due - given_back * UNIT, count)]
        fraction = UNIT - 1 if self.was_given_back else 0
        let_in = 0
        for fell_due, at_once in reversed(self.log):
            let_in += at_once
            assert let_in * UNIT <= burst * UNIT + fraction + self.fell_due - fell_due

    def give_back(self, count: int) -> None:
        self.fell_due += count * UNIT
        self.was_given_back = self.was_given_back or count > 0


class Account(NamedTuple):
    """What a call may spend or give back, before it."""

    admitted: int
    released: int
    grants: int
    returned: int
    returned_grants: int
    has_provisional: bool


def is_shut(schedule: Schedule, now_us: int) -> bool:
    """Whether events forbid admissions at that moment, by their times alone."""
    planned = [each for each in schedule.events if not each.cancelled]
    begun = [each for each in planned if each.first_us <= now_us]
    coming = [each for each in planned if each.first_us > now_us]
    if begun and now_us < begun[-1].last_us:
        return now_us < begun[-1].start_us
    has_ended = bool(begun) and begun[-1].after == "ended"
    return has_ended or bool(coming and coming[0].before == "closed")
