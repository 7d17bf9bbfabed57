"""The end of a period of autotune as `advance` replies it, and the rate that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatekeeper.errors import StoreError
from gatekeeper.policy.autotune import Period
from gatekeeper.policy.schedule import Schedule
from gatekeeper.room.state import RoomState
from gatekeeper.room.write_back import rate_text


@dataclass(frozen=True, slots=True)
class PeriodEnd:
    """A period that ended by this replica's call. `begin_us` is that of the next one, and names
    it."""

    begin_us: int
    period: Period
    steering: str  # the room's record
    memory: str  # of the law; "" where autotune or its targets are new

    @classmethod
    def parse(cls, reply: Sequence[bytes | int]) -> PeriodEnd | None:
        """None: no period has ended by this call. Raises StoreError."""
        if not reply:
            return None
        try:
            texts = [each.decode() for each in reply if isinstance(each, bytes)]
            begin, length, sums, admitted, waiting, steering, memory = texts
            unanswered, failed, *counts = map(int, (sums or "0 0").split())
            period = Period(
                seconds=int(length) / 1_000_000,
                counts=counts,
                responses=sum(counts) + unanswered,
                failed=failed + unanswered,
                admitted=int(admitted),
                waiting=waiting == "1",
            )
            return cls(int(begin), period, steering, memory)
        except ValueError as error:
            raise StoreError("unexpected reply from the store") from error


@dataclass(frozen=True, slots=True)
class SteerRequest:
    """What follows from a period: the rate, None where it stays, the new record, and the memory of
    the law. `known` is the state that it was computed from. `events`: the rate is that of an event,
    and these replace them."""

    begin_us: int
    known: RoomState
    rate_per_minute: float | None
    steering: str
    memory: str
    events: Schedule | None = None

    def arguments(self) -> list[str]:
        """As the script reads them."""
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
