"""Warnings of `gatekeeper check` about rates that autotune never changes or changes at once."""

from pathlib import Path

import pytest

from gatekeeper.policy.autotune_warnings import autotune_warnings
from tests.builders import parse_config

KEYS = 'autotune = true\nautotune_min = "60/min"\nautotune_max = "600/min"\n'


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("60/min", ""),
        ("600/min", ""),
        ("0", "never raises a rate of 0"),
        ("59/min", 'autotune begins with "60/min"'),
        ("601/min", 'autotune begins with "600/min"'),
    ],
)
def test_rate_outside_of_the_bounds_is_warned_of(rate: str, expected: str, tmp_path: Path) -> None:
    config = parse_config(f'[admission]\nrate = "{rate}"\n{KEYS}', folder=tmp_path)
    warnings = list(autotune_warnings(config))
    assert len(warnings) == bool(expected)
    assert expected in "".join(warnings)


def test_rate_of_an_event_is_warned_of(tmp_path: Path) -> None:
    event = '[[event]]\nname = "sale"\nstart = 2030-01-01T10:00:00Z\nrate = "900/min"\n'
    config = parse_config(f"[admission]\n{KEYS}{event}", folder=tmp_path)
    [warning] = autotune_warnings(config)
    assert "rate of event sale" in warning


def test_room_without_autotune_has_no_warning(tmp_path: Path) -> None:
    config = parse_config('[admission]\nrate = "60000/min"\n', folder=tmp_path)
    assert not list(autotune_warnings(config))
