"""The end of a period of autotune as `advance` returns it, and the rate that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatekeeper.errors import StoreError
from gatekeeper.policy.autotune import LATENCY_BOUNDS, Period
from gatekeeper.policy.autotune_period import NO_RESPONSES, GroupCounts
from gatekeeper.policy.schedule import Schedule
from gatekeeper.policy.visitor_groups import GROUPS
from gatekeeper.room.state import RoomState
from gatekeeper.room.write_back import rate_text


@dataclass(frozen=True, slots=True)
class PeriodEnd:
    """A period that ended with this replica's call. `begin_us` is the begin of the next period and
    identifies it."""

    begin_us: int
    period: Period
    steering: str  # the room's record
    memory: str  # the law's memory; "" where autotune or its targets are new

    @classmethod
    def parse(cls, reply: Sequence[bytes | int]) -> PeriodEnd | None:
        """Parse the end of `advance`'s reply; None: this call ended no period. Raises
        StoreError."""
        if not reply:
            return None
        try:
            texts = [each.decode() for each in reply if isinstance(each, bytes)]
            begin, length, sums, admitted, waiting, steering, memory = texts
            late, groups = _measured(sums)
            period = Period(
                seconds=int(length) / 1_000_000,
                groups=groups,
                admitted=int(admitted),
                waiting=waiting == "1",
                is_late=late > 0,
            )
            return cls(int(begin), period, steering, memory)
        except ValueError as error:
            raise StoreError("unexpected reply from the store") from error


def _measured(sums: str) -> tuple[int, Sequence[GroupCounts]]:
    """The sums of `OriginTally.take` over all replicas; raises ValueError."""
    if not sums:
        return 0, NO_RESPONSES
    late, *numbers = (int(number) for number in sums.split())
    if not numbers:
        return late, NO_RESPONSES
    width = len(numbers) // GROUPS
    if len(numbers) != GROUPS * (2 + len(LATENCY_BOUNDS) + 1):
        raise ValueError("expected the numbers of every group")
    return late, [
        GroupCounts(without_response=without_response, failed=failed, counts=counts)
        for start in range(0, len(numbers), width)
        for without_response, failed, *counts in [numbers[start : start + width]]
    ]


@dataclass(frozen=True, slots=True)
class SteerRequest:
    """The result of a period: the new rate (None: unchanged), the new record, and the memory of the
    law. `known` is the state that it was computed from. `events`: the rate is that of an event,
        and these replace them."""

    begin_us: int
    known: RoomState
    rate_per_minute: float | None
    steering: str
    memory: str
    events: Schedule | None = None

    def arguments(self) -> list[str]:
        """The arguments of the script `steer`."""
        events, rate = self.events, self.rate_per_minute
        return [
            str(self.begin_us),
            self.known.overrides,
            self.known.events,
            rate_text(self.known.current_rate_per_minute),
            "" if rate is None or events is not None else rate_text(rate),
            self.steering,
            self.memory,
            *([] if events is None else [events.text, events.windows_text]),
        ]
