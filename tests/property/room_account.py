"""The state machine's own account: what visitors hold, how many were admitted, and what a call may
spend."""

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
    has_left: bool = False  # and the store or every replica knows it
    is_revoked: bool = False  # left with a slot or a pass, which replicas remember
    has_claimed: bool = False
    is_counted: bool = False  # the store knows the slot and has not lost it since
    session_ends_s: float | None = None  # as first returned by this store
    is_over: bool = False  # the counted pass expired, and the pacer has called since


@dataclass(slots=True)
class Admissions:
    """Admissions by the rate over time, with the total that had fallen due at each time."""

    fell_due: int = 0
    was_given_back: bool = False
    log: list[tuple[int, int]] | None = None  # (total fallen due, admitted at this time)

    def let_in(self, count: int, *, given_back: int, burst: int) -> None:
        """Admissions that no-shows gave back, also in this call, count as due again. They may leave
        a fraction above the bucket."""
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
    """What a call may spend or give back, as it was before the call."""

    admitted: int
    released: int
    grants: int
    returned: int
    returned_grants: int
    has_provisional: bool


def is_shut(schedule: Schedule, now_us: int) -> bool:
    """Whether events forbid admissions at that time, judged only by their times."""
    planned = [each for each in schedule.events if not each.cancelled]
    begun = [each for each in planned if each.first_us <= now_us]
    coming = [each for each in planned if each.first_us > now_us]
    if begun and now_us < begun[-1].last_us:
        return now_us < begun[-1].start_us
    has_ended = bool(begun) and begun[-1].after == "ended"
    return has_ended or bool(coming and coming[0].before == "closed")
