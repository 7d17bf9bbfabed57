"""What this replica knows of one room: the newest state, whether the store answers, who is
revoked, and the store's clock.

Rules. States only get newer and the watermark only rises, whatever order they arrive in. Time is
the store's: its last word plus what a monotonic clock measured since, so a replica whose own
clock is wrong agrees with all others; before the first word it is this machine's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from gatekeeper.policy.decision import Mode, RoomView
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.state import RoomState

NO_STORE_YET = RoomView(mode=Mode.AUTO, watermark_us=0, revoked=frozenset(), store_up=False)


class View:
    """The knowledge of one replica about one room."""

    def __init__(
        self,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic_s = monotonic_s
        self._offset_s = wall_s() - monotonic_s()
        self._revoked: dict[VisitorId, float] = {}
        self.state: RoomState | None = None
        self.store_up = False
        self.revocations_known = 0
        self.decisive = replace(NO_STORE_YET, revoked=self._revoked)

    def now_s(self) -> float:
        """The store's clock as best known, seconds since the epoch."""
        return self._monotonic_s() + self._offset_s

    def hear_store(self, state: RoomState) -> None:
        """A state from the store itself, just now."""
        self._offset_s = state.now_us / 1_000_000 - self._monotonic_s()
        self.store_up = True
        self._take(state)

    def hear_replica(self, state: RoomState) -> None:
        """A state that another replica published; says nothing about our way to the store."""
        self._take(state)

    def lose_store(self) -> None:
        self.store_up = False
        self._decide_with(self.state)

    def _take(self, state: RoomState) -> None:
        if self.state is not None and state.watermark_us < self.state.watermark_us:
            # A store that forgot: its other news counts, its watermark does not.
            state = replace(state, watermark_us=self.state.watermark_us)
        if state.newer_than(self.state):
            self.state = state
        self._decide_with(self.state)

    def _decide_with(self, state: RoomState | None) -> None:
        mode = state.mode if state else Mode.AUTO
        watermark_us = state.watermark_us if state else 0
        now = self.decisive
        if (now.mode, now.watermark_us, now.store_up) != (mode, watermark_us, self.store_up):
            self.decisive = RoomView(mode, watermark_us, self._revoked, self.store_up)

    # Revocations: a set that all replicas grow alike, counted so that a lost message is noticed.

    def revoke(self, visitors: Iterable[VisitorId], *, until_s: float, count: int) -> None:
        """`visitors` were revoked, which makes `count` revocations in all."""
        visitors = tuple(visitors)
        self._revoked.update(dict.fromkeys(visitors, until_s))
        if count - len(visitors) <= self.revocations_known:
            self.revocations_known = max(self.revocations_known, count)

    def revoke_all_of(self, scores_us: Mapping[VisitorId, float], *, count: int) -> None:
        """The store's whole list as it stood when `count` were counted; what we know stays."""
        self._revoked.update({visitor: us / 1_000_000 for visitor, us in scores_us.items()})
        self.revocations_known = count

    def missed_revocations(self) -> bool:
        return self.state is not None and self.state.revocations != self.revocations_known

    def revoked(self) -> Mapping[VisitorId, float]:
        """Visitor to the second after which no token of theirs can be valid."""
        return self._revoked

    def forget_expired(self) -> None:
        now_s = self.now_s()
        for visitor in [v for v, until_s in self._revoked.items() if until_s <= now_s]:
            del self._revoked[visitor]
