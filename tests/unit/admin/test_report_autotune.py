"""The report on autotune: every change of the rate, once."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatekeeper.admin.history import Reading
from gatekeeper.admin.report_minutes import MAX_STEERING_STEPS, Minute, merged, parse_minute
from gatekeeper.admin.report_page import page_of
from gatekeeper.admin.report_tables import json_of
from gatekeeper.room.steering_record import NO_STEERING, SteeringRecord, SteeringStep
from tests.unit.admin.report_samples import SALE, START_S, line, minutes_of, report_on

PERIOD_S = 5


def step(second: int, before: float, after: float, reason: str = "rise") -> SteeringStep:
    return SteeringStep((START_S + second) * 1_000_000, before, after, reason, 0.5, 400, 2, 20)


def steered(seconds: int, *, from_s: int = 0) -> Iterator[Reading]:
    """A rise by 10 in every period, and a fall in the last of each minute; read each second."""
    record, rate = NO_STEERING, 60.0
    records: list[SteeringRecord] = []
    for at in range(seconds):
        if at % PERIOD_S == PERIOD_S - 1:
            is_fall = at % 60 == 59
            after = 60.0 if is_fall else rate + 10
            reason = "too_slow" if is_fall else "rise"
            record, rate = record.after(step(at, rate, after, reason)), after
        records.append(record)
    for at, reading in enumerate(line(seconds)):
        if at >= from_s:
            yield replace(reading, steering={SALE: records[at]})


def test_each_change_is_in_one_minute() -> None:
    first, second = minutes_of(steered(120))
    assert [len(each.steered) for each in (first, second)] == [12, 12]
    changes = [change.at_us for each in (first, second) for change in each.steered]
    assert changes == sorted(set(changes))
    assert second.steered[-1].reason == "too_slow"


def test_gate_that_starts_later_has_the_changes_of_its_minute() -> None:
    """The record covers a minute of changes: changes of the minute before are in an earlier
    report."""
    [minute] = minutes_of(steered(100, from_s=90))
    assert [each.at_us // 1_000_000 - START_S for each in minute.steered] == list(range(64, 100, 5))


def test_minute_with_changes_reads_back() -> None:
    first, _ = minutes_of(steered(61))
    assert parse_minute(first.encode()) == first


@pytest.mark.parametrize(
    "steered", ["{}", "[3]", "[[1,2]]", '[[1,1,1,"x",null,1,1,-1]]', json.dumps([[]] * 30)]
)
def test_strange_changes_are_no_minute(steered: str) -> None:
    with pytest.raises(ValueError, match=r"expected|unpack"):
        parse_minute(f'{{"at":{START_S},"steered":{steered}}}'.encode())


def test_two_parts_of_a_minute_have_each_change_once() -> None:
    changes = [step(at, 60, 70) for at in (4, 9, 34)]
    one = Minute(START_S, first_s=0, last_s=20, steered=tuple(changes[:2]))
    other = Minute(START_S, first_s=30, last_s=59, steered=tuple(changes[1:]))
    assert merged([one, other])[0].steered == tuple(changes)


def test_changes_of_a_minute_are_bounded() -> None:
    readings = list(line(60))
    for at, reading in enumerate(readings):
        changes = tuple(step(at, 60, 70) for _ in range(3))
        record = SteeringRecord(changes[-1], changes)
        readings[at] = replace(reading, steering={SALE: record})
    [minute] = minutes_of(iter(readings))
    assert len(minute.steered) <= MAX_STEERING_STEPS


def test_report_has_every_change_and_the_page_joins_a_rise() -> None:
    report = report_on(minutes_of(steered(120)))
    found = json.loads(json_of(report))["autotune"]
    assert len(found) == 24
    assert found[0]["why"] == "visitors wait, and the origin keeps up"
    assert (found[0]["before"], found[0]["after"], found[0]["p95_s"]) == (60, 70, 0.5)
    page = page_of(report).decode()
    rows = page.partition("Changes of the rate by autotune")[2].partition("</table>")[0]
    assert rows.count("<tr>") == 1 + 4
    assert "60 to 170/min" in rows
    assert "170 to 60/min" in rows


def test_report_of_a_room_without_autotune_has_no_such_table() -> None:
    report = report_on(minutes_of(line(60)))
    assert json.loads(json_of(report))["autotune"] == []
    assert "Changes of the rate by autotune" not in page_of(report).decode()
