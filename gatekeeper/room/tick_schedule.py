"""When a replica's pacer calls the store: often while visitors wait, and only one replica per tick.

Rules. A replica that receives the event of another's call leaves the next call to that replica, for
one second at most, so that a tick costs one call and one message for any number of replicas. A
wake-up ends the pause, except for a minimum that prevents a busy loop. While the store recovers
from a loss each replica calls at every tick, to report which visitors have returned. A bucket of
one is full as soon as an admission is due, and loses what falls due until the call: so there the
replica that called last calls again at that moment.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

from gatekeeper.policy.pacing import IDLE_TICK_S, tick_interval_s
from gatekeeper.policy.rules import Rules
from gatekeeper.room.view import ReplicaView

_TICK_JITTER = 0.1
_TAKE_OVER_JITTER = 0.5  # a replica takes over 1.5 to 2 ticks after another's last call
_AFTER_CHANGE_S = 0.005  # the store's clock is only estimated
_AFTER_DUE_S = 0.001  # the clock of a store may move in milliseconds
_MAX_LATER = 1.25  # of a tick, to call when an admission is due; before another replica takes over
_MIN_PAUSE_S = 0.02  # between two calls, however often the pacer is woken


class TickSchedule:
    """The pauses of one replica's pacer."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()
        self._others_at_s = 0.0  # the last call of another replica, on the loop's clock

    def wake(self) -> None:
        self._wake.set()

    def begin(self) -> None:
        """A call begins: a wake-up from now on counts for the next pause."""
        self._wake.clear()

    def note_call_of_another(self, *, ago_s: float) -> None:
        now_s = asyncio.get_running_loop().time()
        self._others_at_s = max(self._others_at_s, now_s - ago_s)

    async def pause(self, view: ReplicaView, rules: Rules, *, next_due_s: float = 0.0) -> None:
        """Wait until this replica's next call: one tick after its last, somewhat more after a call
        of another replica, so that one call per tick serves all; or until woken. `next_due_s`: when
        the next admission is due by the last call, on the loop's clock."""
        loop = asyncio.get_running_loop()
        own_at_s, ease = loop.time(), random.random()  # noqa: S311
        await asyncio.sleep(_MIN_PAUSE_S)
        while not self._wake.is_set():
            pause_s, others_at_s = _tick_interval_s(view, rules), self._others_at_s
            due_s = own_at_s + pause_s * (1 - _TICK_JITTER * ease)
            if rules.burst < 2 and own_at_s < next_due_s < own_at_s + pause_s * _MAX_LATER:
                due_s = next_due_s + _AFTER_DUE_S
            if others_at_s > own_at_s and view.store_up and not view.is_recovering:
                at_latest_s = own_at_s + IDLE_TICK_S * (1 - _TICK_JITTER * ease)
                due_s = min(others_at_s + pause_s * (2 - _TAKE_OVER_JITTER * ease), at_latest_s)
            left_s = due_s - loop.time()
            if left_s <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._wake.wait()


def _tick_interval_s(view: ReplicaView, rules: Rules) -> float:
    state = view.state
    unknown_waiting = 0 if state and view.store_up and not view.is_recovering else 1
    pause_s = tick_interval_s(
        rate_per_minute=state.effective_rate_per_minute if state else 0,
        burst=rules.burst,
        waiting=(state.queue_length + state.pending_grants if state else 0) + unknown_waiting,
    )
    if state is None:
        return pause_s
    # An event begins or ends. A call just before that instant returned the old state, so the next
    # one is due as well, for one tick at most.
    change_s = state.window.until_us / 1_000_000 - view.now_s()
    return min(pause_s, max(change_s, 0) + _AFTER_CHANGE_S) if change_s > -IDLE_TICK_S else pause_s
