"""Rates and quantiles of the readings of each second."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper import metrics
from gatekeeper.admin.history import (
    ALL,
    REPLICA_FIELDS,
    ROOM_FIELDS,
    Reading,
    quantile,
    sample,
)
from gatekeeper.config.types import RoomName
from gatekeeper.policy.phase import Mode
from gatekeeper.room.worker_figures import Figures, RequestCounts
from tests.builders import room_state

SALE = RoomName("sale")
STATE = replace(room_state(rate=60, active=0), queue_length=0, now_us=1)
WAITS = len(metrics.waits.bounds_s)
ORIGIN = len(metrics.origin_seconds.bounds_s)


def figures(replica: str, *, room: str = SALE, events_up: bool = True, **served: object) -> Figures:
    """What a replica counted in one room."""
    of_room = RequestCounts(**served)  # type: ignore[arg-type]
    return Figures(replica, 1.0, 0, {room: of_room}, store_up=True, events_up=events_up)


def readings(seconds: int, at: Callable[[int], Reading]) -> list[Reading]:
    return [at(second) for second in range(seconds)]


def room(shown: dict[str, object], name: str = SALE) -> dict[str, float | None]:
    return dict(zip(ROOM_FIELDS, shown["rooms"][name], strict=True))  # type: ignore[index]


def replica(shown: dict[str, object], name: str = ALL) -> dict[str, float | None]:
    return dict(zip(REPLICA_FIELDS, shown["replicas"][name], strict=True))  # type: ignore[index]


def test_totals_become_rates_per_minute() -> None:
    def at(second: int) -> Reading:
        arrived, released = 100 + 3 * second, 2 * max(second - 50, 0)
        state = replace(STATE, arrived_total=arrived, released_total=released, queue_length=7)
        return Reading(float(second), {SALE: state})

    shown = room(sample(readings(61, at), [SALE]))
    assert (shown["arrived"], shown["released"], shown["admitted"]) == (180, 120, 0)
    assert (shown["queue"], shown["limit"]) == (7, 60)


def test_fallen_total_or_missing_room_is_a_gap() -> None:
    def at(second: int) -> Reading:
        return Reading(
            float(second), {SALE: replace(STATE, arrived_total=100 if second < 5 else 3)}
        )

    assert room(sample(readings(8, at), [SALE]))["arrived"] is None
    away = sample([*readings(8, at), Reading(8.0)], [SALE])
    assert room(away)["queue"] is None


@pytest.mark.parametrize(
    ("mode", "limit"), [(Mode.AUTO, 60), (Mode.HOLD, 0), (Mode.ENDED, 0), (Mode.OPEN, None)]
)
def test_limit_follows_the_mode(mode: Mode, limit: float | None) -> None:
    shown = sample([Reading(1.0, {SALE: replace(STATE, mode=mode)})], [SALE])
    assert room(shown)["limit"] == limit


def test_replica_that_joins_or_leaves_causes_no_jump() -> None:
    def at(second: int) -> Reading:
        known = {"one": figures("one", forwarded=1000 + 10 * second)}
        if second >= 8:  # it was running before; its first heartbeat arrives now
            known["new"] = figures("new", forwarded=1_000_000 + 5 * (second - 8))
        if second < 9:
            known["gone"] = figures("gone", forwarded=500_000 + 100 * second)
        return Reading(float(second), {}, known)

    shown = sample(readings(11, at), [])
    assert replica(shown, "one")["forwarded"] == 10
    assert replica(shown)["forwarded"] == pytest.approx(10 + 10 / 10)
    assert "gone" not in shown["replicas"]  # type: ignore[operator]


def test_failures_are_no_response_or_status_500_up() -> None:
    def at(second: int) -> Reading:
        causes = {"unreachable": second, "timeout": 2 * second, "502": 3 * second}
        failing = figures("one", failures=causes)
        return Reading(float(second), {}, {"one": failing})

    assert replica(sample(readings(11, at), []))["failed"] == 6


def test_quantiles_cover_last_minute_and_all_replicas() -> None:
    def at(second: int) -> Reading:
        slow, fast = [0] * WAITS, [0] * WAITS
        slow[10] = 5 * min(second, 20)  # long ago
        fast[3] = second
        both = {"one": figures("one", waits=tuple(slow))}
        both["two"] = figures("two", waits=tuple(fast))
        return Reading(float(second), {SALE: STATE}, both)

    shown = room(sample(readings(100, at), [SALE]))
    low, high = metrics.waits.bounds_s[2:4]
    assert low < (shown["wait_p50"] or 0) < high
    assert low < (shown["wait_p99"] or 0) < high
    assert room(sample([at(5)], [SALE]))["wait_p50"] is None


def test_room_has_origin_figures_without_the_store() -> None:
    def at(second: int) -> Reading:
        slow = tuple(second if bucket == 10 else 0 for bucket in range(ORIGIN))
        one = figures("one", forwarded=10 * second, origin=slow, failures={"502": second})
        two = figures("two", forwarded=20 * second, waiting=second)
        other = figures("three", room="other", forwarded=1000 * second)
        return Reading(float(second), {}, {each.replica: each for each in (one, two, other)})

    shown = sample(readings(11, at), [SALE, RoomName("idle")])
    sale = room(shown)
    assert (sale["forwarded"], sale["waiting"], sale["failed"]) == (30, 1, 1)
    low, high = metrics.origin_seconds.bounds_s[9:11]
    assert low < (sale["origin_p50"] or 0) < (sale["origin_p99"] or 0) < high
    idle = room(shown, "idle")
    assert (idle["forwarded"], idle["origin_p50"], idle["queue"]) == (0, None, None)
    assert replica(shown)["forwarded"] == 1030


def test_quantile_of_no_counts_is_none() -> None:
    bounds = (1.0, 10.0, float("inf"))
    assert quantile(bounds, [0, 0, 0], 0.5) is None
    assert quantile(bounds, [0, 0, 4], 0.5) == 10
    assert quantile(bounds, [0, 4, 0], 0.5) == 5.5


@given(st.lists(st.integers(0, 50), min_size=ORIGIN, max_size=ORIGIN), st.floats(0.01, 0.99))
def test_quantile_grows_with_its_share(counts: list[int], share: float) -> None:
    bounds = metrics.origin_seconds.bounds_s
    at, most = quantile(bounds, counts, share), quantile(bounds, counts, 0.999)
    assert (at is None) == (sum(counts) == 0)
    assert at is None or most is None or 0 <= at <= most <= bounds[-2]
