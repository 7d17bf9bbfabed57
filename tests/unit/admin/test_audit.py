"""The audit log: one line an entry, bounded on the disk and in memory, honest when it is full."""

import json
from pathlib import Path

import pytest

from gatekeeper.admin.audit import MOST_SHOWN, AuditLog, Entry, entry_of

HERE = "192.0.2.7"


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


def sizes_of(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.glob("audit.jsonl*")}


async def test_an_entry_is_a_line_that_says_who_what_when_from_to_and_where(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, wall_s=lambda: 1_800_000_000.25)
    await audit.add("maria", "rate", address=HERE, room="sale", before=500.0, after=60.0)
    await audit.add("maria", "message", address=HERE, room="sale", before="Wait…", after="")
    assert lines(tmp_path) == [
        {
            "at": "2027-01-15T08:00:00.250Z",
            "who": "maria",
            "what": "rate",
            "room": "sale",
            "from": 500.0,
            "to": 60.0,
            "address": HERE,
            "outcome": "done",
        },
        {
            "at": "2027-01-15T08:00:00.250Z",
            "who": "maria",
            "what": "message",
            "room": "sale",
            "from": "Wait…",
            "to": "",
            "address": HERE,
            "outcome": "done",
        },
    ]
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


async def test_after_a_restart_it_goes_on_where_it_was(tmp_path: Path) -> None:
    await AuditLog(tmp_path).add("maria", "mode", address=HERE, room="sale", after="hold")
    with (tmp_path / "audit.jsonl").open("a") as file:
        file.write('{"cut off\n[]\n{"strange": 1}\n')
    audit = AuditLog(tmp_path)
    await audit.add("otto", "allow", address=HERE, room="other", after=3)
    assert [(entry.who, entry.after) for entry in audit.newest()] == [
        ("otto", 3),
        ("maria", "hold"),
    ]
    assert [entry.who for entry in audit.newest(room="sale")] == ["maria"]
    assert [entry.who for entry in audit.newest(1)] == ["otto"]


async def test_the_files_are_bounded_and_the_newest_entries_stay(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, most_bytes=2_000)
    for number in range(150):
        await audit.add("maria", "allow", address=HERE, room="sale", after=number)
    sizes = sizes_of(tmp_path)
    assert sizes.keys() >= {f"audit.jsonl.{number}" for number in (1, 2, 3, 4)}
    assert len(sizes) <= 5
    assert max(sizes.values()) < 2_300
    shown = AuditLog(tmp_path).newest(3)
    assert [entry.after for entry in shown] == [149, 148, 147]


async def test_in_memory_it_is_bounded_too(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path)
    for number in range(MOST_SHOWN + 20):
        await audit.add("maria", "allow", address=HERE, after=number)
    assert len(audit.newest(10_000)) == MOST_SHOWN
    assert audit.mark.endswith(f"+{MOST_SHOWN + 20}")


async def test_refused_attempts_are_a_few_a_minute_and_the_rest_is_counted(tmp_path: Path) -> None:
    now_s = 1_000.0
    audit = AuditLog(tmp_path, wall_s=lambda: now_s)
    for _ in range(5_000):
        await audit.refused("nobody", "mode", address=HERE, note="no such token")
    assert len(audit.newest()) == 10
    now_s += 6.5
    await audit.refused("nobody", "mode", address=HERE, note="no such token")
    assert audit.newest(1)[0].note == "no such token; 4990 more before this"
    assert audit.newest(1)[0].outcome == "refused"


async def test_a_disk_that_takes_nothing_stops_nobody_and_is_told(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path)
    (tmp_path / "audit.jsonl").mkdir()
    await audit.add("maria", "mode", address=HERE, after="hold")
    assert audit.unwritten == 1
    assert audit.newest(1)[0].after == "hold"


@pytest.mark.parametrize("line", ["", "null", "[]", "{}", '{"at": 1}', "\ud800"])
def test_a_line_that_is_no_entry_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        entry_of(line)


def test_an_entry_comes_back_from_its_line() -> None:
    entry = Entry("now", "maria", "rate", HERE, room="sale", before=1.5, after="", note="so")
    assert entry_of(json.dumps(entry.as_json())) == entry
