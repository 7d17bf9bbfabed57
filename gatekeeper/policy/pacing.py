"""Estimated waits, poll intervals, the pacer's tick and the local share of the rate. Pure."""

from __future__ import annotations

import math

from gatekeeper.policy.rules import Rules

_SHARE_OF_WAIT = 0.4
_PER_VISITOR_AHEAD_S = 0.5
_UNKNOWN_S = 10.0
_SPREAD, _SPREAD_STEPS = 0.1, 997
_TICK_FLOOR_S = 0.02
_TICK_CEILING_S = 0.25
RETURN_MARGIN = 1.25  # pages poll up to 15 % later than the interval
OPENING_SPREAD = 2.0
IDLE_TICK_S = 1.0  # with an empty queue: newcomers take their own admissions


def eta_s(ahead: int, *, rate_per_minute: float) -> int | None:
    """Seconds until the visitor with `ahead` visitors before them is released; None if unknown."""
    if rate_per_minute <= 0:
        return None
    return math.ceil((ahead + 1) * 60 / rate_per_minute)


def poll_interval_s(
    ahead: int | None,
    *,
    rate_per_minute: float,
    rules: Rules,
    newcomer: bool = False,
    arrival_us: int = 0,
) -> int:
    """The poll interval, whole seconds: short near the front, long far back.

    The smaller of two values. Two fifths of the expected wait: the visitor learns of the release in
    time, even if the queue moves twice as fast as expected. Half a second for each visitor ahead:
    at a low rate a few departures can make up the whole wait. So the first four visitors, and all
    within five seconds of their turn, poll every second.

    Farther back a jitter of up to a tenth is subtracted, by the microsecond of arrival, so that
    visitors who polled together do not poll together again. A newcomer polls after a second: the
    first poll confirms them, and only confirmed visitors are in the queue. `ahead` is None when it
    is unknown. The rate of a held queue is the one at which it will move.
    """
    if newcomer:
        return 1
    # Without `min` and `max`, since each takes as long as all the rest, on every poll.
    wanted_s, ceiling_s = _UNKNOWN_S, rules.longest_poll_interval_s
    if ahead is not None:
        wanted_s = ahead * _PER_VISITOR_AHEAD_S
        if rate_per_minute > 0:
            share_s = (ahead + 1) * 60 / rate_per_minute * _SHARE_OF_WAIT
            if share_s < wanted_s:
                wanted_s = share_s
    if wanted_s > ceiling_s:
        wanted_s = ceiling_s
    interval_s = int(wanted_s)
    sooner_s = int(interval_s * _SPREAD * (arrival_us % _SPREAD_STEPS) / _SPREAD_STEPS)
    return interval_s - sooner_s or 1


def poll_interval_before_draw_s(
    *, until_start_s: float, waiting: int, rate_per_minute: float, rules: Rules, arrival_us: int
) -> int:
    """The poll interval in the prequeue of a draw, whole seconds: the same for all of `waiting`,
    since no visitor has a place yet.

    The first poll after the start is spread over one interval, by the microsecond of arrival, so
    that the opening causes no more requests per second than the line after it.
    """
    interval_s = poll_interval_s(waiting, rate_per_minute=rate_per_minute, rules=rules)
    share = arrival_us % _SPREAD_STEPS / _SPREAD_STEPS
    if until_start_s > interval_s:
        return max(1, interval_s - int(interval_s * _SPREAD * share))
    if until_start_s <= 0:  # for a late draw: no page polls every second until it is made
        again = arrival_us // _SPREAD_STEPS % _SPREAD_STEPS / _SPREAD_STEPS
        return max(1, int(interval_s * again))
    return max(1, math.ceil(until_start_s) + int(interval_s * share))


def tick_interval_s(*, rate_per_minute: float, burst: int, waiting: int) -> float:
    """How long the pacer sleeps between two calls, seconds.

    Half the time in which the bucket fills, so that no admission is lost to a full bucket while
    visitors wait, within bounds that neither burden the store nor delay a release.
    """
    if waiting == 0:
        return IDLE_TICK_S
    if rate_per_minute <= 0:
        return _TICK_CEILING_S
    return min(_TICK_CEILING_S, max(_TICK_FLOOR_S, burst / (rate_per_minute / 60) / 2))


def return_s(
    waiting: int, *, rate_per_minute: float, rules: Rules, is_opening: bool = False
) -> float:
    """Within how many seconds every visitor in a line of that length polls again.

    A quarter longer than the longest poll interval of any of them. That may be two intervals when
    they learned before a draw when to poll after it (`is_opening`).
    """
    longest_s = poll_interval_s(max(waiting - 1, 0), rate_per_minute=rate_per_minute, rules=rules)
    return longest_s * RETURN_MARGIN * (OPENING_SPREAD if is_opening else 1)


def recovery_s(
    waiting: int, *, rate_per_minute: float, rules: Rules, is_opening: bool = False
) -> float:
    """How long an emptied store releases no visitor, so that all waiting ones can return, seconds.

    At least `confirm_timeout`.
    """
    line_s = return_s(waiting, rate_per_minute=rate_per_minute, rules=rules, is_opening=is_opening)
    return max(rules.confirm_timeout_s, line_s)


class LocalBucket:
    """The local token bucket of one replica, for `store_failure_mode = "open"`.

    Its rate and burst are the room's divided by the replicas last counted, so that all of them
    together stay within what the room allows. It starts empty, since the shared bucket may just
    have been spent.
    """

    def __init__(self, rules: Rules) -> None:
        self._burst = rules.burst
        self._level = 0.0
        self._filled_at_s: float | None = None

    def take(self, *, now_s: float, rate_per_minute: float, replicas: int) -> bool:
        """Take one admission; False: none is left."""
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
