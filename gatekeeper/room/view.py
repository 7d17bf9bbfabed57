"""What this replica knows of one room: the newest state, whether the store answers, who is
revoked, and the store's clock.

Rules. The store's own word is kept apart from hearsay: what another replica published counts for
decisions until the store is next asked, is never written back to a store, and of another epoch it
is not believed at all. Both only get newer, and the watermark only rises. Time is the store's: its
word plus what a monotonic clock measured since, so a replica whose own clock is wrong agrees with
all others. One that starts while the store is away believes the others, their time too; with
nobody to hear it has only this machine's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from operator import itemgetter

from gatekeeper.policy.decision import RoomView
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.state import RoomState

_DRIFT = 0.001  # NTP turns a clock by half of that at most
_LATEST_S = 5.0  # no answer is that late

NO_STORE_YET = RoomView(phase=Phase.RUNNING, watermark_us=0, revoked=frozenset(), store_up=False)


class ReplicaView:
    """The knowledge of one replica about one room."""

    def __init__(
        self,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic_s = monotonic_s
        self._offset_s = wall_s() - monotonic_s()
        self._heard_at_s = monotonic_s()
        self._born_s = 0.0
        self._revoked: dict[VisitorId, float] = {}
        self.state: RoomState | None = None  # the newest, whoever said it
        self.store_state: RoomState | None = None  # the newest that the store itself said
        self.store_up = False
        self.revocations_known = 0
        self.revoked_through_us = 0.0  # up to this score the store's list has been read
        self.decisive = replace(NO_STORE_YET, revoked=self._revoked)
        self.on_change: Callable[[], None] = lambda: (
            None
        )  # of what decides; it does little, at once

    def now_s(self) -> float:
        """The store's clock as best known, seconds since the epoch."""
        return self._monotonic_s() + self._offset_s

    def update_from_store(self, state: RoomState) -> None:
        """A state from the store itself, just now."""
        self._set_clock(state.now_us / 1_000_000, is_first=self.store_state is None)
        if self.store_state is not None and state.watermark_us < self.store_state.watermark_us:
            # A store that forgot: its other news counts, its watermark does not.
            state = replace(state, watermark_us=self.store_state.watermark_us)
        if self.store_state is not None and state.epoch != self.store_state.epoch:
            # Not in the future, where the epoch of a clock that was set back may be.
            self._born_s = min(state.epoch / 1_000_000, self.now_s())
        if state.newer_than(self.store_state):
            self.store_state = state
        if state.newer_than(self.state):
            self.state = state
        self._decide_with(self.state)

    def _set_clock(self, store_s: float, *, is_first: bool) -> None:
        """Believe the answer that was least late: each is as old as its way here, none is early.

        What is believed gives way at the rate at which clocks may drift apart, and at once to a
        clock that was set back.
        """
        heard_at_s = self._monotonic_s()
        offset_s = store_s - heard_at_s
        kept_s = self._offset_s - (heard_at_s - self._heard_at_s) * _DRIFT
        if is_first or not offset_s < kept_s < offset_s + _LATEST_S:
            kept_s = offset_s
        self._offset_s, self._heard_at_s = kept_s, heard_at_s

    def update_from_replica(self, state: RoomState, *, sent_at_s: float) -> bool:
        """A state that another replica published. False: not believed, the store must be asked."""
        if self.store_state is None:
            self._set_clock(sent_at_s, is_first=self.state is None)
        elif state.epoch != self.store_state.epoch:
            return False
        held_us = self.state.watermark_us if self.state else 0
        if state.newer_than(self.state) and state.watermark_us >= held_us:
            self.state = state
            self._decide_with(state)
        return True

    def settle(self, held: RoomState | None) -> None:
        """The store has answered since `held` was heard: what it did not confirm was never so."""
        if self.state is held and self.state is not self.store_state:
            self.state = self.store_state
            self._decide_with(self.state)

    def regain_store(self) -> None:
        self.store_up = True
        self._decide_with(self.state)

    def lose_store(self) -> None:
        self.store_up = False
        self._decide_with(self.state)

    def _decide_with(self, state: RoomState | None) -> None:
        phase = state.phase if state else NO_STORE_YET.phase
        watermark_us = state.watermark_us if state else 0
        decisive = RoomView(phase, watermark_us, self._revoked, self.store_up, self._born_s)
        if decisive != self.decisive:
            self.decisive = decisive
            self.on_change()

    # Revocations: a set that all replicas grow alike, counted so that a lost message is noticed.

    def revoke(self, visitors: Iterable[VisitorId], *, until_s: float, count: int) -> None:
        """`visitors` were revoked, which makes `count` revocations in all."""
        visitors = tuple(visitors)
        self._revoked.update(dict.fromkeys(visitors, until_s))
        if count - len(visitors) <= self.revocations_known:
            self.revocations_known = max(self.revocations_known, count)

    def revoke_as_listed(self, scores_us: Mapping[VisitorId, float], *, count: int) -> int:
        """What the store lists, as it stood when `count` were counted or later; what we know stays.

        Returns how many of them are later than what was read before.
        """
        through_us = self.revoked_through_us
        for visitor, us in sorted(scores_us.items(), key=itemgetter(1)):
            self._revoked[visitor] = us / 1_000_000
            self.revoked_through_us = max(self.revoked_through_us, us)
        self.revocations_known = count
        return sum(us > through_us for us in scores_us.values())

    def revoked(self) -> Mapping[VisitorId, float]:
        """Visitor to the second after which no token of theirs can be valid."""
        return self._revoked

    def forget_expired(self) -> None:
        """Oldest first, up to the first that still counts, since a look at all of them at every
        beat would cost more than the beat. Who was revoked out of order is forgotten later."""
        now_s = self.now_s()
        while self._revoked:
            visitor, until_s = next(iter(self._revoked.items()))
            if until_s > now_s:
                return
            del self._revoked[visitor]
