"""Commitments and draws in the audit log: once, also after a restart, and the secret only after the
draw."""

from dataclasses import replace
from pathlib import Path

import pytest

from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.draw_entries import DrawEntries
from gatekeeper.admin.history import Reading
from gatekeeper.config.types import RoomName
from gatekeeper.policy.planned_events import SigningKeys
from gatekeeper.policy.schedule import Drawn, Event, Schedule
from tests.builders import SECRET, room_state

SALE = RoomName("sale")
KEYS = SigningKeys([SECRET])
START_US = 1_800_000_000_000_000
EVENT = KEYS.committed(
    Event(name="autumn", start_us=START_US, announced_us=START_US, prequeue_us=START_US - 10**9),
    room=SALE,
)
SECRET_HEX = (KEYS.secret_of(EVENT, room=SALE) or b"").hex()
DRAWN = replace(EVENT, drawn=Drawn(SECRET_HEX, 7, "ab" * 32))


def reading(*events: Event) -> Reading:
    state = replace(room_state(), events=Schedule.of(events).text)
    return Reading(1.0, {SALE: state}, {})


async def logged(audit: AuditLog, *readings: Reading) -> list[tuple[str, str]]:
    entries = DrawEntries(audit)
    for each in readings:
        entries.add(each)
        await entries.close()
    return [(each.what, each.note) for each in reversed(audit.newest(room=SALE))]


async def test_commitment_and_draw_are_logged_once_each(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path)
    seen = (reading(), reading(EVENT), reading(EVENT), reading(DRAWN), reading(DRAWN))
    expected = [
        ("event commitment", f"commitment {EVENT.commitment}"),
        (
            "event drawn",
            f"secret {SECRET_HEX}; round 7 of the beacon, randomness {'ab' * 32}",
        ),
    ]
    assert await logged(audit, *seen) == expected
    assert await logged(AuditLog(tmp_path), reading(DRAWN)) == expected, "after a restart"


async def test_secret_is_not_logged_before_the_draw(tmp_path: Path) -> None:
    await logged(AuditLog(tmp_path), reading(EVENT))
    assert SECRET_HEX not in (tmp_path / "audit.jsonl").read_text()


async def test_another_commitment_of_the_same_name_leaves_a_trace(tmp_path: Path) -> None:
    other = replace(EVENT, commitment="00" * 32)
    entries = await logged(AuditLog(tmp_path), reading(EVENT), reading(other))
    assert len(entries) == 2


@pytest.mark.parametrize(
    "event", [replace(EVENT, order="arrival", commitment=""), replace(EVENT, cancelled=True)]
)
async def test_event_without_a_draw_is_not_logged(tmp_path: Path, event: Event) -> None:
    assert await logged(AuditLog(tmp_path), reading(event)) == []


async def test_commitment_of_an_event_made_live_is_not_logged_twice(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path)
    note = f"commitment {EVENT.commitment}"
    await audit.add("maria", "event add", address="", room=SALE, note=note)
    assert await logged(audit, reading(EVENT)) == [("event add", note)]
