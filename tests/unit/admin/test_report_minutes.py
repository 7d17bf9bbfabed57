"""Minutes as lines of JSON, and their files: incomplete, damaged, full, old, shared."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.admin.report_files import FOLDER, KEPT_DAYS, MAX_FILE_BYTES, MinuteFiles
from gatekeeper.admin.report_minutes import (
    MAX_LINE_BYTES,
    Minute,
    MinutePoint,
    merged,
    parse_minute,
)
from tests.unit.admin.report_samples import SALE, START_S, line, minutes_of

DAY_S = 86_400
counts = st.integers(0, 2**53 - 1)
some = st.none() | counts
rates = st.floats(0, 60_000_000) | st.just(0.0)
points = st.builds(MinutePoint, counts, counts, counts, some, counts, rates)
buckets = st.lists(counts, max_size=30).map(tuple)
minutes = st.builds(
    Minute,
    st.integers(0, 100_000_000).map(lambda minute: minute * 60),
    first_s=st.integers(0, 59),
    phase=st.sampled_from(["", "running", "prequeue"]),
    queue=some,
    arrived=some,
    no_shows=some,
    rate=st.none() | rates,
    totals=st.lists(counts, max_size=4).map(tuple),
    points=st.lists(points, max_size=4).map(tuple),
    failures=st.dictionaries(st.text(max_size=40), counts, max_size=5),
    origin=buckets,
    waits=buckets,
)


def files_of(folder: Path, **more: Any) -> MinuteFiles:
    return MinuteFiles(folder, **more)


def path_of(folder: Path) -> Path:
    [path] = (folder / FOLDER).iterdir()
    return path


def kept(folder: Path) -> list[Minute]:
    return files_of(folder).read(SALE, since_s=START_S, until_s=START_S + DAY_S).minutes


def minute(index: int = 0, **values: Any) -> Minute:
    return Minute(START_S + 60 * index, arrived=index, totals=(1, 1, 1, 1), **values)


@given(minutes)
def test_every_minute_is_read_back(each: Minute) -> None:
    assert parse_minute(each.encode()) == each


@given(st.binary(max_size=200))
def test_any_other_line_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  whatever is wrong with it
        parse_minute(b"[" + data)


@pytest.mark.parametrize(
    "change",
    [
        {"at": START_S + 1},
        {"at": -60},
        {"at": "now"},
        {"at": True},
        {"arrived": -1},
        {"arrived": 1.5},
        {"arrived": True},
        {"arrived": None},
        {"arrived": 2**53},
        {"rate": "60"},
        {"phase": 3},
        {"phase": "x" * 41},
        {"points": [[1, 2, 3]]},
        {"points": [[1, 2, 3, 4, 5, 6]] * 9},
        {"points": {}},
        {"waits": [1] * 101},
        {"waits": ["1"]},
        {"failures": [500]},
        {"failures": {"500": -1}},
        {"failures": {str(cause): 1 for cause in range(111)}},
    ],
    ids=str,
)
def test_line_with_a_wrong_value_is_refused(change: dict[str, object]) -> None:
    line_ = json.dumps(json.loads(minute(1).encode()) | change).encode()
    with pytest.raises(ValueError, match="expected"):
        parse_minute(line_)


def test_fields_of_a_newer_release_are_ignored() -> None:
    line_ = json.dumps(json.loads(minute(1).encode()) | {"moons": {"members": 3}}).encode()
    assert parse_minute(line_) == minute(1)


def test_nested_and_endless_lines_are_refused(tmp_path: Path) -> None:
    for line_ in (b"[" * 10_000, b'{"at":' + b"1" * MAX_LINE_BYTES, b'{"a":' * 3000):
        with pytest.raises(ValueError, match=r"expected|Expecting|Exceeds"):
            parse_minute(line_)


# Parts of a minute


def test_two_parts_of_a_minute_are_added() -> None:
    """The gate started again within it."""
    parts = [
        replace(minute(3), first_s=0, last_s=20, queue=9, queue_most=9, failures={"500": 1}),
        replace(minute(3), first_s=25, last_s=59, queue=4, queue_most=7, waits=(0, 2)),
    ]
    [joined] = merged(parts)
    assert (joined.arrived, joined.queue, joined.queue_most) == (6, 4, 9)
    assert (joined.first_s, joined.last_s) == (0, 59)
    assert (joined.failures, joined.waits) == ({"500": 1}, (0, 2))
    assert merged(reversed(parts)) == [joined]


def test_same_seconds_read_by_two_gates_count_once() -> None:
    shorter = replace(minute(3), arrived=2, first_s=10, last_s=59)
    assert merged([minute(3), shorter]) == [minute(3)]
    assert merged([shorter, minute(3)]) == [minute(3)]


def test_part_without_the_store_hides_no_figures() -> None:
    blind = Minute(START_S, first_s=40, last_s=59, forwarded=7)
    [joined] = merged([replace(minute(0), arrived=5, last_s=30, forwarded=1), blind])
    assert (joined.arrived, joined.forwarded) == (5, 8)
    assert joined.totals == (1, 1, 1, 1)


# Files


def test_minutes_are_read_back_by_another_process(tmp_path: Path) -> None:
    written = minutes_of(line(300))
    for each in written:
        files_of(tmp_path).append({SALE: each})
    assert kept(tmp_path) == written
    found = files_of(tmp_path).read(SALE, since_s=START_S + 60, until_s=START_S + 180)
    assert [each.at_s - START_S for each in found.minutes] == [60, 120]
    assert (tmp_path / FOLDER).stat().st_mode & 0o777 == 0o700
    assert path_of(tmp_path).stat().st_mode & 0o777 == 0o600


def test_newest_minute_is_found_behind_a_torn_line(tmp_path: Path) -> None:
    files = files_of(tmp_path, wall_s=lambda: START_S)
    assert files.newest(SALE) is None
    for index in range(500):
        files.append({SALE: minute(index)})
    assert files.newest(SALE) == minute(499)
    with path_of(tmp_path).open("ab") as file:
        file.write(b'{"at":1' + b"0" * 100)
    assert files.newest(SALE) == minute(499)


def test_torn_last_line_costs_only_itself(tmp_path: Path) -> None:
    files = files_of(tmp_path)
    for index in range(3):
        files.append({SALE: minute(index)})
    path = path_of(tmp_path)
    whole = path.read_bytes()
    for cut in range(1, len(minute(2).encode())):
        path.write_bytes(whole[:-cut])
        files_of(tmp_path).append({SALE: minute(3)})
        stored = files_of(tmp_path).read(SALE, since_s=START_S, until_s=START_S + DAY_S)
        # A line without its line break only is complete.
        expected = [0, 1, 2, 3] if cut == 1 else [0, 1, 3]
        assert [each.arrived for each in stored.minutes] == expected, cut
        assert len(stored.problems) == (
            0 if len(expected) == 4 or cut == len(minute(2).encode()) else 1
        )


def test_damaged_lines_are_skipped_with_one_warning(tmp_path: Path) -> None:
    files = files_of(tmp_path)
    files.append({SALE: minute(0)})
    path = path_of(tmp_path)
    with path.open("ab") as file:
        file.write(b"\0" * 4096 + b"\n{}\n\xff\xfe\n" + b"x" * (3 * MAX_LINE_BYTES) + b"\n")
    files.append({SALE: minute(1)})
    stored = files.read(SALE, since_s=START_S, until_s=START_S + DAY_S)
    assert [each.arrived for each in stored.minutes] == [0, 1]
    [problem] = stored.problems
    assert problem.startswith(f"{FOLDER}/{path.name}: ")
    assert problem.endswith("lines are damaged and left out")


def test_folder_in_place_of_a_file_is_a_warning(tmp_path: Path) -> None:
    files = files_of(tmp_path)
    files.append({SALE: minute(0)})
    path = path_of(tmp_path)
    path.unlink()
    path.mkdir()
    [problem] = files.read(SALE, since_s=START_S, until_s=START_S + 60).problems
    assert problem == f"{FOLDER}/{path.name} cannot be read: Is a directory"
    with pytest.raises(OSError, match="directory"):
        files.append({SALE: minute(1)})


def test_full_disk_of_one_room_spares_the_others(tmp_path: Path) -> None:
    files = files_of(tmp_path, max_file_bytes=400)
    refused = 0
    for index in range(30):
        try:
            files.append({SALE: minute(index)})
        except OSError:
            refused += 1
    assert refused > 20
    assert path_of(tmp_path).stat().st_size <= 400
    other = type(SALE)("other")
    with pytest.raises(OSError, match="full"):
        files.append({SALE: minute(9), other: minute(9)})
    assert len(files.read(other, since_s=START_S, until_s=START_S + DAY_S).minutes) == 1


def test_old_files_are_deleted_and_no_others(tmp_path: Path) -> None:
    wall_s = START_S
    folder = tmp_path / FOLDER
    folder.mkdir()
    old, young, foreign = (
        folder / name for name in ("sale.2026-11-01.jsonl", "sale.2026-11-29.jsonl", "notes.txt")
    )
    for path, age_days in ((old, KEPT_DAYS + 1), (young, KEPT_DAYS - 1), (foreign, 400)):
        path.write_text("")
        os.utime(path, (wall_s - age_days * DAY_S,) * 2)
    MinuteFiles(tmp_path, wall_s=lambda: wall_s).append({SALE: minute(0)})
    assert (old.exists(), young.exists(), foreign.exists()) == (False, True, True)


def test_a_week_of_busy_minutes_fits(tmp_path: Path) -> None:
    busy = replace(
        minutes_of(line(60))[0],
        failures={str(status): 123_456 for status in range(500, 520)},
        origin=(123_456,) * 16,
        waits=(123_456,) * 27,
    )
    assert len(busy.encode()) * 1440 < MAX_FILE_BYTES
    assert len(busy.encode()) < MAX_LINE_BYTES


def test_missing_folder_is_an_empty_report(tmp_path: Path) -> None:
    stored = files_of(tmp_path).read(SALE, since_s=0, until_s=START_S)
    assert (stored.minutes, stored.problems) == ([], [])
