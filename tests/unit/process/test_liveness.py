"""The time since the last heartbeat of each worker."""

import os
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from gatekeeper.admin.metric_files import read_heartbeat
from gatekeeper.process.liveness import (
    KILL_AFTER_S,
    UNREADY_AFTER_S,
    Silence,
    cpu_time,
    progress_of,
)
from tests.unit.clock import Clock


@pytest.fixture
def silence(clock: Clock) -> Silence:
    return Silence(monotonic_s=clock)


def test_stopped_worker_is_silent_and_others_are_not(silence: Silence, clock: Clock) -> None:
    unready_s = killed_s = 0.0
    for step in range(40):
        found = silence.update({1: 7.0, 2: float(step // 2)})
        passed_s = step * 0.5
        unready_s = unready_s or (passed_s if found[1] >= UNREADY_AFTER_S else 0.0)
        killed_s = killed_s or (passed_s if found[1] >= KILL_AFTER_S else 0.0)
        assert found[2] < UNREADY_AFTER_S
        clock.now_s += 0.5
    # Its last heartbeat may be a second older than the first check that reads it.
    assert 0 < unready_s <= 4
    assert unready_s < killed_s <= 9


@pytest.mark.parametrize("pause_s", [60.0, 86_400.0])
def test_pause_of_the_machine_is_no_silence(silence: Silence, clock: Clock, pause_s: float) -> None:
    silence.update({1: 1.0})
    clock.now_s += pause_s
    assert silence.update({1: 1.0})[1] < UNREADY_AFTER_S
    clock.now_s += 0.5
    assert silence.update({1: 2.0}) == {1: 0.0}


def test_clock_that_steps_back_is_no_silence(silence: Silence, clock: Clock) -> None:
    for heartbeat in (1000.0, 400.0, 401.0, -5.0):
        assert silence.update({1: heartbeat}) == {1: 0.0}
        clock.now_s += 1


def test_next_process_of_a_worker_begins_at_0(silence: Silence, clock: Clock) -> None:
    """Also one that has written no heartbeat yet; processes that ended are forgotten."""
    for _ in range(20):
        silence.update({1: 5.0})
        clock.now_s += 1
    assert silence.update({2: 0.0}) == {2: 0.0}
    assert silence.update({}) == {}
    assert silence.update({1: 5.0}) == {1: 0.0}


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 100])
def test_missing_or_damaged_heartbeat_is_0(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "gauge_liveall_7.db").write_bytes(content)
    assert read_heartbeat(tmp_path, 7) == 0


def test_process_that_ended_has_no_cpu_time() -> None:
    assert cpu_time(0) is None


def test_start_that_computes_after_a_heartbeat_is_no_silence(tmp_path: Path) -> None:
    """It creates the site of many rooms on a busy machine. One that serves must respond."""
    pid = os.getpid()
    write_gauges(tmp_path, pid, heartbeat=123.5)
    begin, began = cpu_time(pid), progress_of(pid, tmp_path, serving=False)
    assert begin is not None
    assert began is not None
    while cpu_time(pid) == begin:
        pass
    later = progress_of(pid, tmp_path, serving=False)
    assert later is not None
    assert later > began
    assert progress_of(pid, tmp_path, serving=True) == 123.5


def test_heartbeat_is_read_among_other_gauges(tmp_path: Path) -> None:
    write_gauges(tmp_path, 7, heartbeat=123.5)
    assert read_heartbeat(tmp_path, 7) == 123.5


def write_gauges(folder: Path, pid: int, *, heartbeat: float) -> None:
    file = MmapedDict(str(folder / f"gauge_liveall_{pid}.db"))  # type: ignore[no-untyped-call]
    for name, value in (
        ("gatekeeper_tunnels", 9e9),
        ("gatekeeper_worker_heartbeat_timestamp_seconds", heartbeat),
    ):
        file.write_value(mmap_key(name, name, [], [], "Help."), value, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]
