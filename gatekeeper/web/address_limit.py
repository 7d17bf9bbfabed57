"""`newcomers_per_address`: a rate limit of newcomers by address, per room and replica.

Rules. An address is an IPv4 address, also where it is mapped, translated or tunnelled into IPv6, or
the /64 network of an IPv6 address, the smallest that a connection gets. Each has a token bucket of
one minute, which begins full. A full bucket needs no memory.

Memory is bounded: 32,768 buckets of each family, and 2,048 of one IPv6 /32. If there is no space
for a bucket, full ones are evicted, and never one in use. A client with a large IPv6 network has as
many buckets as it wants, so that this limit does not restrict it: it fills its share of the table,
and its further buckets are not stored. While all are in use, a newcomer without a bucket is not
limited. So no number of addresses can refuse a newcomer of another address, or refill a used
bucket.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Final, NamedTuple

from gatekeeper import metrics
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.routing import Router

_MINUTE_S: Final = 60.0
_MAX_ADDRESSES: Final = 32_768  # of each family, 100 bytes each
_MAX_PER_BLOCK: Final = 2_048  # of one IPv6 /32, the usual network of a provider
_BLOCK_SHIFT: Final = 32  # from a /64 to its /32
_SWEEP_AT_MOST_S: Final = 1.0  # a scan of all buckets takes a few milliseconds
_SWEEP_AT_LEAST_S: Final = 60.0  # no address is stored longer than needed
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address behind a NAT64
_UNKNOWN: Final = -1  # a peer without an address, as on a socket of this machine


class Source(NamedTuple):
    """The key of a bucket. `block`: for IPv6, the /32 of the network."""

    network: int
    block: int | None = None


def source_of(address: str) -> Source:
    """The source of a request, from its client's address (`client_of`)."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return Source(_UNKNOWN)
    if isinstance(parsed, IPv4Address):
        return Source(int(parsed))
    mapped = parsed.ipv4_mapped
    if mapped is not None:
        return Source(int(mapped))
    tunnelled = parsed.sixtofour or (parsed.teredo and parsed.teredo[1])
    if tunnelled:
        return Source(int(tunnelled))
    number = int(parsed)
    if parsed in _TRANSLATED:
        return Source(number & 0xFFFF_FFFF)
    return Source(number >> 64, number >> 96)


class _Buckets:
    """When each bucket of one family is full again. A full bucket equals one that was never used:
    full ones are evicted periodically, and when there is no space. Others are never evicted."""

    def __init__(self, limit: int, *, limit_per_block: int) -> None:
        self._limit, self._limit_per_block = limit, limit_per_block
        self._full_at_s: dict[int, float] = {}
        self._of_block: Counter[int] = Counter()
        self._swept_at_s = -math.inf

    def __len__(self) -> int:
        return len(self._full_at_s)

    def full_at_s(self, source: Source) -> float:
        """When the bucket is full; 0: it is full, or not stored."""
        return self._full_at_s.get(source.network, 0.0)

    def keep(self, source: Source, full_at_s: float, *, now_s: float) -> bool:
        """Store a bucket; False: there is no space."""
        if source.network not in self._full_at_s:
            every_s = _SWEEP_AT_LEAST_S if self._has_space(source) else _SWEEP_AT_MOST_S
            if now_s >= self._swept_at_s + every_s:
                self._forget_full(now_s)
            if not self._has_space(source):
                return False
            if source.block is not None:
                self._of_block[source.block] += 1
        self._full_at_s[source.network] = full_at_s
        return True

    def _has_space(self, source: Source) -> bool:
        is_free = len(self._full_at_s) < self._limit
        return is_free and (
            source.block is None or self._of_block[source.block] < self._limit_per_block
        )

    def _forget_full(self, now_s: float) -> None:
        self._swept_at_s = now_s
        self._full_at_s = {of: at_s for of, at_s in self._full_at_s.items() if at_s > now_s}
        if self._of_block:
            self._of_block = Counter(network >> _BLOCK_SHIFT for network in self._full_at_s)


class AddressBuckets:
    """The buckets of all addresses of one room. They outlive a change of the configuration."""

    def __init__(
        self,
        *,
        limit: int = _MAX_ADDRESSES,
        limit_per_block: int = _MAX_PER_BLOCK,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit, self._limit_per_block = limit, limit_per_block
        self._monotonic_s = monotonic_s
        self._per_minute = 0.0
        self._forget()

    def __len__(self) -> int:
        return len(self._ipv4) + len(self._ipv6)

    def _forget(self) -> None:
        self._ipv4 = _Buckets(self._limit, limit_per_block=self._limit)
        self._ipv6 = _Buckets(self._limit, limit_per_block=self._limit_per_block)
        self.not_kept = 0

    def take(self, source: Source, *, per_minute: float) -> float:
        """Take one token from a bucket. Returns 0 on success, else the seconds until the next
        token. The capacity of a bucket is `per_minute`, and at least one."""
        if per_minute != self._per_minute:  # a wait under another limit does not apply to this one
            self._per_minute = per_minute
            self._forget()
        now_s = self._monotonic_s()
        # The generic cell rate algorithm: a bucket is the time at which it is full again.
        each_s = _MINUTE_S / per_minute
        size_s = max(int(per_minute), 1) * each_s
        buckets = self._ipv4 if source.block is None else self._ipv6
        full_at_s = max(buckets.full_at_s(source), now_s) + each_s
        if full_at_s > now_s + size_s + each_s / 1000:
            return full_at_s - now_s - size_s
        if not buckets.keep(source, full_at_s, now_s=now_s):
            self.not_kept += 1
        return 0.0


class NewcomerLimit:
    """The limit of one room under one configuration. `is_exempt`: the request is from an address
    that the operator has declared as shared."""

    def __init__(
        self,
        buckets: AddressBuckets,
        *,
        room: RoomName,
        per_minute: float,
        is_exempt: Callable[[RequestFacts], bool],
    ) -> None:
        self._buckets = buckets
        self._room = room
        self._per_minute = per_minute
        self._is_exempt = is_exempt

    @classmethod
    def of(
        cls, config: RoomConfig, buckets: AddressBuckets, *, router: Router
    ) -> NewcomerLimit | None:
        """The limit of a room's configuration; None: there is none."""
        room, per_minute = config.name, config.newcomers_per_address
        if not per_minute:
            return None
        is_exempt = partial(router.is_from_shared_address, room=room)
        return cls(buckets, room=room, per_minute=per_minute, is_exempt=is_exempt)

    def wait_s(self, facts: RequestFacts) -> float:
        """Count a newcomer. Returns 0, or the seconds until a newcomer of this address is
        accepted."""
        if self._is_exempt(facts):
            return 0.0
        before = self._buckets.not_kept
        source = source_of(facts.client.address)
        left_s = self._buckets.take(source, per_minute=self._per_minute)
        if self._buckets.not_kept > before:
            metrics.addresses_not_counted.labels(self._room).inc()
        if left_s:
            metrics.address_limit.labels(self._room).inc()
        return left_s
