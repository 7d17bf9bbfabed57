"""What autotune measured and did, as operators read it."""

import json
from pathlib import Path

import pytest

from gatekeeper.admin.autotune_status import autotune_json, reason_words
from gatekeeper.admin.exposition import SteeredRoom, exposition
from gatekeeper.config.types import RoomName
from gatekeeper.policy.autotune import Reason, Targets
from gatekeeper.room.steering_record import NO_STEERING, SteeringStep

TARGETS = Targets(rate_min=60, rate_max=600, latency_s=0.8, errors=0.02)
FALL = SteeringStep(
    at_us=1_900_000_000_000_000,
    before=300.0,
    after=210.0,
    reason="too_slow",
    latency_s=1.23456,
    responses=400,
    failed=3,
    admitted=25,
)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_words(reason: Reason) -> None:
    assert "_" not in reason_words(reason.value).replace("autotune_m", "")
    assert len(reason_words(reason.value)) > len(reason.value)


def test_reason_of_another_release_is_shown_as_it_is() -> None:
    assert reason_words("moon_phase") == "moon phase"


def test_status_has_targets_the_last_period_and_the_last_change() -> None:
    steady = FALL._replace(before=210.0, reason="settling", latency_s=None, responses=0)
    record = NO_STEERING.after(FALL).after(steady)
    found = json.loads(json.dumps(autotune_json(TARGETS, record)))
    assert (found["rate_min"], found["latency_target_s"]) == (60, 0.8)
    assert (found["last"]["p95_s"], found["last"]["failed_share"]) == (None, None)
    change = found["change"]
    assert (change["before"], change["after"], change["p95_s"]) == (300, 210, 1.2346)
    assert change["at"] == "2030-03-17T17:46:40Z"
    assert change["why"] == reason_words("too_slow")


def test_status_before_the_first_period_has_neither() -> None:
    found = autotune_json(TARGETS, NO_STEERING)
    assert (found["last"], found["change"]) == (None, None)


def test_gauges_are_of_the_last_period(tmp_path: Path) -> None:
    steered = {RoomName("sale"): SteeredRoom(TARGETS, NO_STEERING.after(FALL))}
    text = exposition(tmp_path, [], [], steered=steered).decode()
    assert 'gatekeeper_autotune_latency_seconds{room="sale"} 1.23456' in text
    assert 'gatekeeper_autotune_failed_ratio{room="sale"} 0.0075' in text


def test_period_without_responses_has_no_gauge(tmp_path: Path) -> None:
    silent = FALL._replace(latency_s=None, responses=0, failed=0)
    steered = {RoomName("sale"): SteeredRoom(TARGETS, NO_STEERING.after(silent))}
    text = exposition(tmp_path, [], [], steered=steered).decode()
    assert "gatekeeper_autotune_latency_seconds{" not in text
    assert "gatekeeper_autotune_failed_ratio{" not in text


def test_targets_are_gauges_before_the_first_period(tmp_path: Path) -> None:
    steered = {RoomName("sale"): SteeredRoom(TARGETS, NO_STEERING)}
    lines = exposition(tmp_path, [], [], steered=steered).decode().splitlines()
    assert [line for line in lines if line.startswith("gatekeeper_autotune")] == [
        'gatekeeper_autotune_latency_target_seconds{room="sale"} 0.8',
        'gatekeeper_autotune_failed_target_ratio{room="sale"} 0.02',
        'gatekeeper_autotune_min_per_minute{room="sale"} 60.0',
        'gatekeeper_autotune_max_per_minute{room="sale"} 600.0',
    ]
