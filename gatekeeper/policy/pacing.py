"""How long people wait, how often they ask, how often the pacer looks. Pure arithmetic."""

from __future__ import annotations

import math

from gatekeeper.policy.rules import Rules

_SHARE_OF_WAIT = 0.4
_FOR_EACH_AHEAD_S = 0.5
_UNKNOWN_S = 10.0
_SPREAD, _SPREAD_STEPS = 0.1, 997
_BEAT_FLOOR_S = 0.02
_BEAT_CEILING_S = 0.25
IDLE_TICK_S = 1.0  # with nobody waiting: newcomers take their own admissions


def eta_s(ahead: int, *, rate_per_minute: float) -> int | None:
    """Seconds until the visitor with `ahead` people before them is released; None if unknown."""
    if rate_per_minute <= 0:
        return None
    return math.ceil((ahead + 1) * 60 / rate_per_minute)


def refresh_s(
    ahead: int | None,
    *,
    rate_per_minute: float,
    rules: Rules,
    newcomer: bool = False,
    arrival_us: int = 0,
) -> int:
    """When to ask again, whole seconds: soon near the front, rarely far back.

    The smaller of two. Two fifths of the expected wait: whatever the rate, one who is due is asked
    for in time, also when the line turns out twice as fast. And half a second for each person
    ahead: at a low rate a few who leave can be the whole wait. So the first four, and all who are
    within five seconds of their turn, are told 1 and never learn of it later than that.

    Farther back up to a tenth less, by the microsecond of arrival, so that those who were told
    together do not ask together. A newcomer is told to come back well within `confirm_timeout`, which
    sweeps those who do not. `ahead` is None when nobody knows it. The rate of a line that is held
    is that at which it will move.
    """
    ceiling_s = min(
        rules.longest_poll_interval_s, rules.confirm_timeout_s / 2 if newcomer else math.inf
    )
    if ahead is None:
        wanted_s = _UNKNOWN_S
    else:
        wanted_s = ahead * _FOR_EACH_AHEAD_S
        if rate_per_minute > 0:
            wanted_s = min(wanted_s, (ahead + 1) * 60 / rate_per_minute * _SHARE_OF_WAIT)
    told_s = int(min(wanted_s, ceiling_s))
    return max(1, told_s - int(told_s * _SPREAD * (arrival_us % _SPREAD_STEPS) / _SPREAD_STEPS))


def tick_interval_s(*, rate_per_minute: float, burst: int, waiting: int) -> float:
    """How long the pacer sleeps between two calls, seconds.

    Half the time in which the bucket fills, so that no admission is lost to a full bucket while
    people wait, within bounds that neither burden the store nor keep anyone from their turn.
    """
    if waiting == 0:
        return IDLE_TICK_S
    if rate_per_minute <= 0:
        return _BEAT_CEILING_S
    return min(_BEAT_CEILING_S, max(_BEAT_FLOOR_S, burst / (rate_per_minute / 60) / 2))


def recovery_s(waiting: int, *, rate_per_minute: float, rules: Rules) -> float:
    """How long an emptied store releases nobody, so that all who wait can return, seconds.

    At least `confirm_timeout`, and longer than the longest interval that was told to anyone.
    """
    longest_told_s = refresh_s(max(waiting - 1, 0), rate_per_minute=rate_per_minute, rules=rules)
    return max(rules.confirm_timeout_s, longest_told_s * 1.25)


class LocalBucket:
    """A token bucket of one replica's own, for `store_failure_mode = "open"`.

    Its rate and burst are the room's divided by the replicas last counted, so that all of them
    together stay within what the room allows. It starts empty: the shared bucket may have been
    spent the moment before.
    """

    def __init__(self, rules: Rules) -> None:
        self._burst = rules.burst
        self._level = 0.0
        self._filled_at_s: float | None = None

    def take(self, *, now_s: float, rate_per_minute: float, replicas: int) -> bool:
        """Take one admission if one is there."""
        share = max(replicas, 1)
        if self._filled_at_s is None:
            self._filled_at_s = now_s
        elapsed_s = max(now_s - self._filled_at_s, 0.0)
        self._filled_at_s = now_s
        most = max(self._burst / share, 1.0)
        self._level = min(self._level + elapsed_s * rate_per_minute / 60 / share, most)
        if self._level < 1:
            return False
        self._level -= 1
        return True
