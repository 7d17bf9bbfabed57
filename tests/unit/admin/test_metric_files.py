"""The files of ended workers are deleted, and their counts are kept."""

from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.samples import Sample

from gatekeeper.admin.exposition import exposition
from gatekeeper.admin.metric_files import merge_ended, read_metrics, values
from gatekeeper.config.types import RoomName
from tests.builders import room_state

ROOMS = ("sale", "checkout")


def write_worker(folder: Path, pid: int, *, count: float) -> None:
    """The files of a worker that counted `count` requests and one duration for each room."""
    for kind, name, sample, labels in (
        ("counter", "gatekeeper_requests", "gatekeeper_requests_total", {"outcome": "waiting"}),
        ("histogram", "gatekeeper_store_seconds", "gatekeeper_store_seconds_bucket", {"le": "1.0"}),
        ("gauge_livesum", "gatekeeper_tunnels", "gatekeeper_tunnels", {}),
    ):
        file = MmapedDict(str(folder / f"{kind}_{pid}.db"))  # type: ignore[no-untyped-call]
        for room in ROOMS:
            every = labels | {"room": room}
            key = mmap_key(name, sample, list(every), list(every.values()), "Help.")
            file.write_value(key, count, 0.0)  # type: ignore[no-untyped-call]
        file.close()  # type: ignore[no-untyped-call]


def counts(folder: Path, pid: int | None = None) -> dict[str, float]:
    """The counts of the room `sale` by metric."""
    found: dict[str, float] = {}
    for metric in read_metrics(folder, pid=pid):
        sample: Sample
        for sample in values(metric):
            if sample.labels["room"] == "sale" and not sample.name.endswith("_sum"):
                found[metric.name] = sample.value
    return found


def test_visitors_in_line_are_shown_by_lane(tmp_path: Path) -> None:
    state, name = room_state(), RoomName("sale")
    text = exposition(
        tmp_path, [state], [name], lanes={name: {"members": 4, "friends": 0}}
    ).decode()
    assert 'gatekeeper_lane_queue_length{lane="members",room="sale"} 4.0' in text
    assert 'gatekeeper_lane_queue_length{lane="friends",room="sale"} 0.0' in text
    assert (
        "gatekeeper_lane_queue_length{"
        not in exposition(tmp_path, [state], [name], lanes={name: {}}).decode()
    )


def test_counts_outlive_workers_and_their_files_do_not(tmp_path: Path) -> None:
    alive = 100_000
    write_worker(tmp_path, alive, count=3)
    for pid in range(1, 51):
        write_worker(tmp_path, pid, count=2)
        before = counts(tmp_path)
        merge_ended(tmp_path, pid)
        assert counts(tmp_path) == before | {"gatekeeper_tunnels": 3}
    assert counts(tmp_path)["gatekeeper_requests"] == 103
    assert counts(tmp_path)["gatekeeper_store_seconds"] == 103
    assert b'gatekeeper_requests_total{outcome="waiting",room="sale"} 103.0' in exposition(
        tmp_path, [], []
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "counter_100000.db",
        "counter_ended.db",
        "gauge_livesum_100000.db",
        "histogram_100000.db",
        "histogram_ended.db",
    ]
    assert counts(tmp_path, alive)["gatekeeper_requests"] == 3


def test_files_of_other_workers_are_not_merged(tmp_path: Path) -> None:
    """Neither 11 nor 111 is worker 1."""
    for pid in (1, 11, 111):
        write_worker(tmp_path, pid, count=1)
    merge_ended(tmp_path, 1)
    assert counts(tmp_path, 11) == counts(tmp_path, 111) != {}
    assert counts(tmp_path, 1) == {}


@pytest.mark.parametrize(
    "damage", [b"", b"\xff", b"\x7f\xff\xff\xff", b"\0\1\0\0\0\0\0\0\xff\xff\0\0", b"\xff" * 70_000]
)
def test_damaged_file_costs_only_its_own_counts(tmp_path: Path, damage: bytes) -> None:
    write_worker(tmp_path, 1, count=4)
    write_worker(tmp_path, 2, count=5)
    (tmp_path / "counter_2.db").write_bytes(damage)
    merge_ended(tmp_path, 1)
    merge_ended(tmp_path, 2)
    assert counts(tmp_path) == {"gatekeeper_requests": 4, "gatekeeper_store_seconds": 9}


def test_worker_that_counted_nothing_leaves_no_file(tmp_path: Path) -> None:
    merge_ended(tmp_path, 7)
    assert not [*tmp_path.iterdir()]
