"""The range of an estimated wait, and the reload without script."""

from dataclasses import replace

import pytest

from gatekeeper.pages.samples import SAMPLE_VIEWS
from gatekeeper.pages.waiting_view import WaitRange, wait_range


@pytest.mark.parametrize(
    ("eta_seconds", "wait"),
    [
        (None, WaitRange("unknown")),
        (0, WaitRange("soon")),
        (48, WaitRange("soon")),
        (49, WaitRange("minute", 1, 2)),
        (154, WaitRange("minute", 2, 4)),
        (720, WaitRange("minute", 9, 15)),
        (721, WaitRange("minute", 5, 20)),
        (1800, WaitRange("minute", 20, 40)),
        (4320, WaitRange("minute", 55, 90)),
        (4321, WaitRange("hour", 0.5, 2)),
        (3 * 3600, WaitRange("hour", 2, 4)),
        (10 * 3600, WaitRange("hour", 8, 13)),
        (20 * 3600, WaitRange("long")),
    ],
)
def test_wait_range_widens_with_the_wait(eta_seconds: int | None, wait: WaitRange) -> None:
    assert wait_range(eta_seconds) == wait


def test_wait_range_contains_the_estimate() -> None:
    for eta_seconds in range(49, 19 * 3600, 7):
        wait = wait_range(eta_seconds)
        unit_s = {"minute": 60, "hour": 3600}[wait.unit]
        assert wait.low * unit_s <= max(eta_seconds, unit_s)
        assert eta_seconds <= wait.high * unit_s
        assert wait.low < wait.high


@pytest.mark.parametrize(("refresh_s", "newcomer_s", "later_s"), [(1, 3, 10), (36, 36, 36)])
def test_newcomer_without_script_confirms_soon(
    refresh_s: int, newcomer_s: int, later_s: int
) -> None:
    view = replace(SAMPLE_VIEWS["waiting"], refresh_seconds=refresh_s)
    assert view.reload_seconds == later_s
    assert replace(view, is_new=True).reload_seconds == newcomer_s
