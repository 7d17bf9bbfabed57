"""Wrong tokens by address: after five in a minute, tokens of that address are refused unchecked.

Rules. An address is an IPv4 address or the /64 network of an IPv6 address. An address that sent a
valid token since the start is not locked out: its valid tokens are still accepted. So an old token
in a script locks out no operator at the same address, and an attacker at another address learns
nothing from the sixth attempt on. Both tables are bounded; the address with the oldest attempt or
token is evicted first.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from gatekeeper.web.address_limit import Source, source_of

MAX_WRONG = 5
PERIOD_S = 60.0
_MAX_ADDRESSES = 10_000


class WrongTokens:
    """The attempts of the last minute, by address."""

    def __init__(
        self, *, limit: int = _MAX_ADDRESSES, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._monotonic_s = monotonic_s
        self._attempts: OrderedDict[Source, tuple[float, ...]] = OrderedDict()
        self._valid: OrderedDict[Source, None] = OrderedDict()

    def __len__(self) -> int:
        return max(len(self._attempts), len(self._valid))

    def wait_s(self, address: str) -> float:
        """Seconds until the address may try a token again; 0: now."""
        attempts = self._attempts.get(source_of(address), ())
        if len(attempts) < MAX_WRONG:
            return 0.0
        return max(attempts[0] + PERIOD_S - self._monotonic_s(), 0.0)

    def add(self, address: str) -> None:
        """Count a wrong token."""
        source = source_of(address)
        newest = (*self._attempts.pop(source, ()), self._monotonic_s())[-MAX_WRONG:]
        self._attempts[source] = newest
        if len(self._attempts) > self._limit:
            self._attempts.popitem(last=False)

    def was_valid(self, address: str) -> bool:
        """Whether the address sent a valid token since the start."""
        return source_of(address) in self._valid

    def note_valid(self, address: str) -> None:
        """The address sent a valid token."""
        source = source_of(address)
        self._valid[source] = None
        self._valid.move_to_end(source)
        if len(self._valid) > self._limit:
            self._valid.popitem(last=False)
