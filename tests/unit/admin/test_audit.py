"""The audit log: one line per entry, bounded on disk and in memory; entries that it cannot store
are counted."""

import json
from pathlib import Path

import pytest

from gatekeeper.admin.audit import MAX_ENTRIES, AuditLog, Entry, parse_entry

HERE = "192.0.2.7"


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


def sizes_of(folder: Path, of: str = "audit.jsonl") -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.glob(f"{of}*")}


async def test_entry_is_one_json_line(tmp_path: Path) -> None:
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


async def test_log_continues_after_a_restart(tmp_path: Path) -> None:
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


async def test_files_are_bounded_and_keep_the_newest(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, max_file_bytes=2_000)
    for number in range(150):
        await audit.add("maria", "allow", address=HERE, room="sale", after=number)
    sizes = sizes_of(tmp_path)
    assert sizes.keys() >= {f"audit.jsonl.{number}" for number in (1, 2, 3, 4)}
    assert len(sizes) <= 5
    assert max(sizes.values()) < 2_300
    shown = AuditLog(tmp_path).newest(3)
    assert [entry.after for entry in shown] == [149, 148, 147]


async def test_entries_in_memory_are_bounded(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path)
    for number in range(MAX_ENTRIES + 20):
        await audit.add("maria", "allow", address=HERE, after=number)
    assert len(audit.newest(10_000)) == MAX_ENTRIES
    assert audit.mark.endswith(f"+{MAX_ENTRIES + 20}")


async def test_refused_attempts_are_rate_limited_and_counted(tmp_path: Path) -> None:
    now_s = 1_000.0
    audit = AuditLog(tmp_path, wall_s=lambda: now_s)
    for _ in range(5_000):
        await audit.refused("anonymous", "mode", address=HERE, note="unknown token")
    assert len(audit.newest()) == 10
    now_s += 6.5
    await audit.refused("anonymous", "mode", address=HERE, note="unknown token")
    assert audit.newest(1)[0].note == "unknown token; 4990 more before this"
    assert audit.newest(1)[0].outcome == "refused"


async def test_disk_error_is_counted_and_does_not_raise(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path)
    (tmp_path / "audit.jsonl").mkdir()
    await audit.add("maria", "mode", address=HERE, after="hold")
    assert audit.unwritten == 1
    assert audit.newest(1)[0].after == "hold"


@pytest.mark.parametrize("line", [
        "", "null", "[]", "{}", '{"at": 1}', "\ud800", '{"at":1,"who":"a","what":"b"}',
        '{"at":"a","who":"a","what":"b","to":[]}', '{"at":"a","who":"a","what":"b","after":"c"}',
        '{"at":"a","who":"a","what":"b","to":NaN}', '{"at":"a","who":"a","what":"b","from":1e999}',
    ],
)  # fmt: skip
def test_invalid_line_raises_value_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_entry(line)


def test_entry_round_trips_through_its_line() -> None:
    entry = Entry("now", "maria", "rate", HERE, room="sale", before=1.5, after="", note="so")
    assert parse_entry(json.dumps(entry.as_json())) == entry


async def test_entry_without_an_address_is_read_back(tmp_path: Path) -> None:
    """A reload by SIGHUP has no address."""
    await AuditLog(tmp_path).add("SIGHUP", "reload", address="")
    assert [entry.who for entry in AuditLog(tmp_path).newest()] == ["SIGHUP"]


# Refused attempts, apart from changes


async def test_refused_attempts_push_out_no_change(tmp_path: Path) -> None:
    """Neither in memory, nor in the files, nor in a list."""
    now_s = 1_000.0
    audit = AuditLog(tmp_path, wall_s=lambda: now_s, max_file_bytes=2_000)
    for number in range(40):
        await audit.add("maria", "allow", address=HERE, after=number)
        now_s += 1
    kept = sizes_of(tmp_path)
    for _ in range(MAX_ENTRIES + 100):
        now_s += 7
        await audit.refused("anonymous", "mode", address=HERE, note="unknown token")
    assert sizes_of(tmp_path) == kept
    for log in (audit, AuditLog(tmp_path)):
        newest = log.newest(8)
        assert [entry.outcome for entry in newest] == ["refused"] * 2 + ["done"] * 6
        assert [entry.after for entry in newest[2:]] == [39, 38, 37, 36, 35, 34]
        assert [entry.after for entry in log.newest(1)] == [39]
    assert len(AuditLog(tmp_path).between(0, 2e9, room="", limit=99)) >= 30
    refused = sizes_of(tmp_path, of="audit-refused.jsonl")
    assert refused.keys() == {"audit-refused.jsonl", "audit-refused.jsonl.1"}
    assert sum(refused.values()) < 4_600


async def test_changes_and_attempts_are_listed_by_time(tmp_path: Path) -> None:
    now_s = 1_000.0
    audit = AuditLog(tmp_path, wall_s=lambda: now_s)
    for number in range(3):
        await audit.add("maria", "allow", address=HERE, after=number)
        now_s += 1
        await audit.refused("otto", "mode", address=HERE, note="the token has role read")
        now_s += 1
    for log in (audit, AuditLog(tmp_path)):
        assert [entry.who for entry in log.newest()] == ["otto", "maria"] * 3
        assert [entry.who for entry in log.newest(room="sale")] == []


async def test_attempts_of_an_older_release_are_kept_apart(tmp_path: Path) -> None:
    """An older release wrote them among the changes."""
    old = Entry("2026-01-01T00:00:00Z", "anonymous", "mode", HERE, outcome="refused")
    lines_of_old = (json.dumps(old.as_json()) + "\n") * 20
    await AuditLog(tmp_path).add("maria", "allow", address=HERE, after=1)
    with (tmp_path / "audit.jsonl").open("a") as file:
        file.write(lines_of_old)
    newest = AuditLog(tmp_path).newest(8)
    assert sum(entry.outcome == "refused" for entry in newest) == 7
    assert sum(entry.outcome == "done" for entry in newest) == 1


# Lines that a crash cut off


@pytest.mark.parametrize(
    "torn",
    [
        b'{"at":"2026-12-01T10:00:00Z","wh',
        b'{"at',
        b"\0" * 4096,
        b"\xff\xfe",
        b"{}",
        b"\r",
        b"[" * 9999,
    ],
)
async def test_torn_line_costs_no_other_entry(tmp_path: Path, torn: bytes) -> None:
    await AuditLog(tmp_path).add("maria", "allow", address=HERE, after=1)
    with (tmp_path / "audit.jsonl").open("ab") as file:
        file.write(torn)
    audit = AuditLog(tmp_path, wall_s=lambda: 1_000.0)
    await audit.add("maria", "allow", address=HERE, after=2)
    await audit.add("maria", "allow", address=HERE, after=3)
    assert [entry.after for entry in audit.newest()] == [3, 2, 1]
    assert [entry.after for entry in AuditLog(tmp_path).newest()] == [3, 2, 1]
    assert [entry.after for entry in audit.between(0, 4e9, room="", limit=9)] == [1, 2, 3]


@pytest.mark.parametrize("who", ["\x1b[2J", "\x9b", "\u2028", "\udcff", "a\nb"])
async def test_control_characters_are_escaped_in_the_file(tmp_path: Path, who: str) -> None:
    await AuditLog(tmp_path).refused(who, "mode", address=HERE, note=who)
    text = (tmp_path / "audit-refused.jsonl").read_text()
    assert text.count("\n") == 1
    assert who not in text
    [entry] = AuditLog(tmp_path).newest()
    assert (entry.who, entry.note) == (who, who)


# Periods, for the report


async def test_changes_of_a_period_come_from_all_files(tmp_path: Path) -> None:
    """More changes than in memory, also from rotated files, the oldest first."""
    now_s = 1_796_119_200.0
    log = AuditLog(tmp_path, wall_s=lambda: now_s, max_file_bytes=1000)
    for index in range(30):
        now_s += 60
        await log.add("maria", "rate", address="", room="sale", after=index)
    assert (tmp_path / "audit.jsonl.2").stat().st_size > 0
    since_s = 1_796_119_200.0 + 60 * 11
    found = log.between(since_s, since_s + 300, room="sale", limit=100)
    assert [entry.after for entry in found] == [10, 11, 12, 13, 14]
    assert [entry.after for entry in log.between(0, 2e9, room="sale", limit=3)] == [27, 28, 29]


async def test_changes_of_a_period_are_of_the_room_and_the_gate(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, wall_s=lambda: 1_796_119_200.0)
    await log.add("maria", "rate", address="", room="sale")
    await log.add("maria", "rate", address="", room="other")
    await log.add("maria", "reload", address="", outcome="failed")
    await log.refused("anonymous", "rate", address="", note="unknown token")
    found = log.between(1_796_119_200, 1_796_119_201, room="sale", limit=9)
    assert [(entry.what, entry.room) for entry in found] == [("rate", "sale"), ("reload", "")]


@pytest.mark.parametrize(
    "line",
    [
        '{"at":"yesterday"',
        '{"at":"soon","who":"a","what":"b"}',
        '{"at":7,"who":"a","what":"b"}',
        '{"at":"2026-12-01T10:00:00","who":"a","what":"b"}',
        "[" * 5000,
        "\0",
        "{}",
    ],
)
async def test_damaged_entry_is_in_no_period(tmp_path: Path, line: str) -> None:
    log = AuditLog(tmp_path, wall_s=lambda: 1_796_119_200.0)
    await log.add("maria", "rate", address="", room="sale")
    with (tmp_path / "audit.jsonl").open("a") as file:
        file.write(line + "\n")
    assert len(log.between(0, 2e9, room="sale", limit=9)) == 1
