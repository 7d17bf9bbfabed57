"""The requests of passes in a room with `concurrent`, on one worker: in flight, and in total.

Rules. A pass means all tokens of one visitor's session. At most `limit` of its requests are in
flight at the same time; a request counts from its head to the end of its response, and a WebSocket
or a stream as long as it lasts. A client that closed its half may have disconnected, so its request
no longer counts; but both kinds together are at most twice `limit`, so that closing the half does
not bypass it. The table is bounded: requests in flight by the open files; of all other passes,
those with few requests are evicted in batches. So the passes with the most requests stay, and the
cost of a request does not depend on the table's size. No address is kept, only a short hash of
each, to count them.
"""

from __future__ import annotations

import zlib
from collections.abc import Container
from typing import Final

from gatekeeper import metrics
from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.pass_figures import MAX_ADDRESSES, MAX_LISTED, PassFigures
from gatekeeper.web.address_limit import source_of

_MAX_PASSES: Final = 4096  # 400 bytes each
_SWEEPS_UNTIL_FORGOTTEN: Final = 900  # half an hour without a request


class _Use:
    """The counts of one pass."""

    __slots__ = (
        "addresses",
        "half_closed",
        "idle_sweeps",
        "in_flight",
        "most",
        "requests",
        "seen",
        "turned_away",
    )

    def __init__(self) -> None:
        self.requests = self.in_flight = self.half_closed = self.most = self.turned_away = 0
        self.addresses: set[int] = set()
        self.seen = self.idle_sweeps = 0  # at the last sweep

    @property
    def is_busy(self) -> bool:
        """Whether requests are in flight, so that this must be kept."""
        return self.in_flight > 0 or self.half_closed > 0


class PassUses:
    """The table of one room. It survives a change of the configuration, which sets `limit`."""

    def __init__(self, room: RoomName, *, limit: int = 0, most: int = _MAX_PASSES) -> None:
        self.room = room
        self.limit = limit
        self._most = most
        self._uses: dict[VisitorId, _Use] = {}
        self._forget_at = most

    def __len__(self) -> int:
        return len(self._uses)

    def counted(self, visitor: VisitorId, address: str) -> CountedPass:
        """The counter for requests of this visitor from this address."""
        return CountedPass(self, visitor, zlib.crc32(repr(source_of(address)).encode()))

    def use_of(self, visitor: VisitorId) -> _Use:
        use = self._uses.get(visitor)
        if use is None:
            if len(self._uses) >= self._forget_at:
                self._forget_some()
            use = self._uses[visitor] = _Use()
        return use

    def is_free(self, visitor: VisitorId) -> bool:
        """Whether one more request of this visitor may be in flight."""
        use = self._uses.get(visitor)
        if use is None:
            return self.limit > 0
        return use.in_flight < self.limit and use.in_flight + use.half_closed < 2 * self.limit

    def end(self, visitor: VisitorId) -> None:
        self._uses[visitor].in_flight -= 1  # kept while a request is in flight

    def close_half(self, visitor: VisitorId) -> None:
        use = self._uses[visitor]
        use.in_flight -= 1
        use.half_closed += 1

    def end_half_closed(self, visitor: VisitorId) -> None:
        self._uses[visitor].half_closed -= 1

    def sweep(self, revoked: Container[VisitorId]) -> list[PassFigures]:
        """The passes with the most requests and those with the most addresses; called every two
        seconds. Passes that ended, or were not used for a while, are forgotten."""
        for visitor, use in list(self._uses.items()):
            is_idle = use.requests == use.seen and not use.is_busy
            use.seen, use.idle_sweeps = use.requests, use.idle_sweeps + 1 if is_idle else 0
            is_over = visitor in revoked or use.idle_sweeps > _SWEEPS_UNTIL_FORGOTTEN
            if is_over and not use.is_busy:
                del self._uses[visitor]
        by_requests = sorted(self._uses.items(), key=lambda each: -each[1].requests)
        by_addresses = sorted(by_requests, key=lambda each: -len(each[1].addresses))
        listed = dict(by_requests[: MAX_LISTED // 2])
        for visitor, use in by_addresses:
            if len(listed) >= MAX_LISTED:
                break
            listed[visitor] = use
        return [
            PassFigures(
                room=self.room,
                visitor=visitor,
                requests=use.requests,
                most=use.most,
                turned_away=use.turned_away,
                addresses=tuple(sorted(use.addresses)),
            )
            for visitor, use in listed.items()
            if visitor not in revoked
        ]

    def _forget_some(self) -> None:
        """Evict idle passes except for the busiest. The next eviction is after as many more passes,
        so that the amortised cost of a new pass is constant."""
        idle = [each for each in self._uses.items() if not each[1].is_busy]
        idle.sort(key=lambda each: -each[1].requests)
        for visitor, _ in idle[self._most // 2 :]:
            del self._uses[visitor]
        self._forget_at = max(self._most, 2 * len(self._uses))


class CountedPass:
    """The requests of one visitor from one address (`interface.RequestCount`)."""

    __slots__ = ("_address", "_uses", "_visitor")

    def __init__(self, uses: PassUses, visitor: VisitorId, address: int) -> None:
        self._uses, self._visitor, self._address = uses, visitor, address

    def is_free(self) -> bool:
        """Whether one more request may be in flight."""
        return self._uses.is_free(self._visitor)

    def begin(self) -> CountedPass:
        """A request begins; call `end` once when it is over."""
        use = self._uses.use_of(self._visitor)
        use.requests += 1
        use.in_flight += 1
        if use.in_flight > use.most:
            use.most = use.in_flight
        if self._address not in use.addresses and len(use.addresses) < MAX_ADDRESSES:
            use.addresses.add(self._address)
        return self

    def end(self) -> None:
        self._uses.end(self._visitor)

    def close_half(self) -> HalfClosedUse:
        """The client of one request closed its half: call `end` of this one instead."""
        self._uses.close_half(self._visitor)
        return HalfClosedUse(self._uses, self._visitor)

    def turn_away(self) -> None:
        """Count a request beyond the limit."""
        self._uses.use_of(self._visitor).turned_away += 1
        metrics.concurrent_refused.labels(self._uses.room).inc()


class HalfClosedUse:
    """A request whose client closed its half (`interface.RequestCount`)."""

    __slots__ = ("_uses", "_visitor")

    def __init__(self, uses: PassUses, visitor: VisitorId) -> None:
        self._uses, self._visitor = uses, visitor

    def close_half(self) -> HalfClosedUse:
        return self

    def end(self) -> None:
        self._uses.end_half_closed(self._visitor)


class RequestUse:
    """One request from its beginning to its end."""

    def __init__(self, counted: CountedPass) -> None:
        self._count: CountedPass | HalfClosedUse = counted.begin()

    def close_half(self) -> None:
        self._count = self._count.close_half()

    def end(self) -> None:
        self._count.end()
