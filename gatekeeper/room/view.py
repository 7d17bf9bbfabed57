"""What this replica knows of one room: the newest state, whether the store is up, the revoked
visitors, and the store's clock.

Rules. States from the store and states from other replicas are kept apart. A state that another
replica published counts for decisions until the next reply of the store; one of another epoch is
ignored. If the store lost the state that it sent this replica, a later published state of the same
epoch is written back instead: it includes releases that this replica had not read from the store.
Both kinds only get newer, and the watermark only rises. Time is the store's: its last time plus
what a monotonic clock measured since, so that a replica whose own clock is wrong agrees with the
others. A replica that starts while the store is unreachable accepts the states of the others, and
their time; without any it has only the clock of this machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice, takewhile
from operator import itemgetter
from typing import Final

from gatekeeper.config.event_schema import Spelled
from gatekeeper.policy.decision import QueuePosition, RoomView
from gatekeeper.policy.ordering import ARRIVAL_ORDER
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.tokens import Ticket, VisitorId
from gatekeeper.room.line_memory import LineMemory
from gatekeeper.room.state import RoomState

_DRIFT = 0.001  # twice the rate at which NTP may slew a clock
_LATEST_S = 5.0  # no reply takes that long
_LATE_FOR_S = 5.0  # nor are all replies late for that long
MAX_REVOKED: Final = 1_100_000  # visitors; 275 MB
_MAX_FORGOTTEN: Final = 20_000  # per tick: after a loss of the store all expire at the same time

NO_STORE_YET = RoomView(
    phase=Phase.RUNNING, watermark_us=0, revoked=frozenset(), store_up=False, knows_clock=False
)


class ReplicaView:
    """What one replica knows of one room."""

    def __init__(
        self,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic_s = monotonic_s
        self._offset_s = wall_s() - monotonic_s()
        self._read_at_s = self._span_at_s = monotonic_s()
        self._best_offset_s = -math.inf  # of all replies since `_span_at_s`
        self._born_s = 0.0
        self._revoked: dict[VisitorId, float] = {}
        self.state: RoomState | None = None  # the newest state, from the store or a replica
        self.store_state: RoomState | None = None  # the newest state from the store itself
        self.store_up = False
        self.line = LineMemory(monotonic_s=monotonic_s)
        self._queued = 0  # visitors that are to be queued when the store recovers
        self.revocations_known = 0
        self.revoked_through_us = 0.0  # up to this score the store's list has been read
        self.decisive = replace(NO_STORE_YET, revoked=self._revoked)
        # Called at each change of `decisive` except for `has_room`; must return quickly.
        self.on_change: Callable[[], None] = lambda: None
        # At each state: the overrides, and the settings of the event that it is in.
        self.on_settings: Callable[[str, Mapping[str, Spelled]], None] = lambda _own, _event: None

    def now_s(self) -> float:
        """The best estimate of the store's clock, seconds since the Unix epoch."""
        return self._monotonic_s() + self._offset_s

    @property
    def is_recovering(self) -> bool:
        """Whether the store may not know every visitor in line yet."""
        return self.state is not None and self.state.is_recovering

    @property
    def newest_of_store(self) -> RoomState | None:
        """The newest state of the store that this replica calls: its own, or of another replica."""
        own, newest = self.store_state, self.state
        if own is None or newest is None or newest.epoch != own.epoch:
            return own
        return newest if newest.newer_than(own) else own

    def update_from_store(self, state: RoomState) -> None:
        """A state that the store has just returned."""
        self._set_clock(state.now_us / 1_000_000, is_first=self.store_state is None)
        if self.store_state is not None and state.watermark_us < self.store_state.watermark_us:
            # The store lost data: its watermark is ignored, the rest of its state counts.
            state = replace(state, watermark_us=self.store_state.watermark_us)
        if self.store_state is not None and state.epoch != self.store_state.epoch:
            # After a clock was set back, an epoch may be in the future.
            self._born_s = min(state.epoch / 1_000_000, self.now_s())
        if state.newer_than(self.store_state):
            self.store_state = state
        if state.newer_than(self.state):
            self.state = state
        self._decide_with(self.state)

    def _set_clock(self, store_s: float, *, is_first: bool) -> None:
        """Use the reply with the smallest delay: each is as old as its trip, none is early. The
        offset drifts at the rate at which clocks may drift apart. It follows a clock that was set
        back at once, and a clock that is slower, as the room's is after a fail-over, by the best
        reply of each span of time.
        """
        read_at_s = self._monotonic_s()
        offset_s = store_s - read_at_s
        kept_s = self._offset_s - (read_at_s - self._read_at_s) * _DRIFT
        self._best_offset_s = max(self._best_offset_s, offset_s)
        if read_at_s - self._span_at_s > _LATE_FOR_S:
            kept_s = min(kept_s, self._best_offset_s)
            self._span_at_s, self._best_offset_s = read_at_s, -math.inf
        if is_first or not offset_s < kept_s < offset_s + _LATEST_S:
            kept_s = offset_s
        self._offset_s, self._read_at_s = kept_s, read_at_s

    def note_poll_interval(
        self, ticket: Ticket, position: QueuePosition | None, interval_s: float
    ) -> None:
        """A response asks this waiting visitor to poll again after `interval_s` seconds.
        `position`: as the store has just returned it; None: the store did not respond."""
        state, ordering = self.state, self.decisive.ordering
        self.line.note_poll_interval(ticket, position, interval_s, state=state, ordering=ordering)

    def estimated(
        self, ticket: Ticket, position: QueuePosition | None
    ) -> tuple[QueuePosition | None, int | None]:
        """The position, including visitors who have not returned after a loss yet, and the
        estimated number ahead while the store returns none (None: unknown)."""
        if position is not None and not self.is_recovering:
            return position, None
        state, ordering = self.state, self.decisive.ordering
        ahead = self.line.ahead_of(ticket, position, state=state, ordering=ordering)
        if position is not None and ahead is not None:
            position = replace(position, ahead=max(position.ahead, ahead))
        return position, ahead

    def update_from_replica(self, state: RoomState, *, sent_at_s: float) -> bool:
        """Apply a state that another replica published. False: it is of another epoch; read the
        store."""
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
        """The store has replied since `held` was received: drop what the store did not confirm."""
        if self.state is held and self.state is not self.store_state:
            self.state = self.store_state
            self._decide_with(self.state)

    def pass_time(self) -> None:
        """Time has passed without a reply of the store: an event may have begun or ended."""
        state, now_us = self.state, round(self.now_s() * 1_000_000)
        if state is not None and now_us >= state.window.until_us:
            self.state = replace(state, now_us=now_us)
            self._decide_with(self.state)

    def note_queued(self) -> None:
        """One more visitor is in line that the store does not know yet."""
        self._queued += 1
        self._decide_with(self.state)

    def note_store_up(self) -> None:
        self._queued = 0
        self.store_up = True
        self._decide_with(self.state)

    def note_store_down(self) -> None:
        self.store_up = False
        self._decide_with(self.state)

    def _decide_with(self, state: RoomState | None) -> None:
        phase = state.phase if state else NO_STORE_YET.phase
        watermark_us = state.watermark_us if state else 0
        if state is not None:
            self.on_settings(state.overrides, state.window.settings)
        decisive = RoomView(
            phase,
            watermark_us,
            self._revoked,
            self.store_up,
            self._born_s,
            ordering=state.ordering if state else ARRIVAL_ORDER,
            has_room=state.has_room if state else False,
            queue_length=(state.queue_length if state else 0) + self._queued,
            knows_clock=state is not None,
            places_from_us=state.window.places_from_us if state else 0,
            again_through_us=state.again_through_us if state else 0,
            again_at=state.again_at if state else 0,
        )
        is_changed = decisive != self.decisive
        self.decisive = decisive
        if is_changed:
            self.on_change()

    # Revocations: the same set on all replicas, with a total so that a lost message is noticed.

    def revoke(self, visitors: Iterable[VisitorId], *, until_s: float, count: int) -> None:
        """`visitors` were revoked until `until_s`; `count` is the new total of revocations."""
        visitors = tuple(visitors)
        self._revoked.update(dict.fromkeys(visitors, until_s))
        self._forget_excess()
        if count - len(visitors) <= self.revocations_known:
            self.revocations_known = max(self.revocations_known, count)

    def revoke_as_listed(self, scores_us: Mapping[VisitorId, float], *, count: int) -> int:
        """Add the store's list, read when there were at least `count` revocations.
        Returns how many of them are later than those read before.
        """
        through_us = self.revoked_through_us
        for visitor, us in sorted(scores_us.items(), key=itemgetter(1)):
            self._revoked[visitor] = us / 1_000_000
            self.revoked_through_us = max(self.revoked_through_us, us)
        self._forget_excess()
        self.revocations_known = count
        return sum(us > through_us for us in scores_us.values())

    def revoked(self) -> Mapping[VisitorId, float]:
        """Revoked visitors, each with the second after which none of their tokens is valid."""
        return self._revoked

    def _forget_excess(self) -> None:
        """Forget the oldest beyond the limit. The store remembers them, and refuses their passes
        at the next renewal."""
        excess = max(len(self._revoked) - MAX_REVOKED, 0)
        self._forget(list(islice(self._revoked, excess)))

    def _forget(self, oldest: Sequence[VisitorId]) -> None:
        """Delete the first `oldest` entries in one pass: a search for each would step over all
        entries that were deleted before, which took ten seconds for 120,000."""
        for visitor in oldest:
            del self._revoked[visitor]

    def forget_expired(self) -> None:
        """Delete expired entries, oldest first, up to the first that is still valid: a full scan at
        every tick would cost more than the tick. A revocation out of order is deleted later."""
        now_s = self.now_s()
        oldest = islice(self._revoked.items(), _MAX_FORGOTTEN)
        self._forget([each for each, _ in takewhile(lambda each: each[1] <= now_s, oldest)])
