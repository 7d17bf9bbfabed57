"""The record of the steering: bounded, and readable for any text of another release."""

import json

import pytest

from gatekeeper.room.steering_record import (
    MAX_CHANGES,
    NO_STEERING,
    SteeringRecord,
    SteeringStep,
    parse_record,
    parse_steering,
)

FALL = SteeringStep(
    at_us=1_700_000_000_000_000,
    before=600.0,
    after=420.0,
    reason="too_slow",
    latency_s=1.25,
    responses=400,
    failed=3,
    admitted=50,
)


def test_record_is_read_back() -> None:
    record = NO_STEERING.after(FALL).after(FALL._replace(latency_s=None, responses=0, failed=0))
    assert parse_record(record.encode()) == record


def test_unchanged_rate_is_the_last_period_and_no_change() -> None:
    steady = FALL._replace(before=420.0, reason="steady")
    record = NO_STEERING.after(FALL).after(steady)
    assert (record.last, record.changes) == (steady, (FALL,))


@pytest.mark.parametrize(("age_us", "last"), [(-1, FALL), (20_000_000, FALL), (20_000_001, None)])
def test_period_that_ended_long_ago_is_not_the_last(age_us: int, last: SteeringStep | None) -> None:
    record = NO_STEERING.after(FALL).as_of(FALL.at_us + age_us)
    assert record == SteeringRecord(last, (FALL,))
    assert NO_STEERING.as_of(FALL.at_us) is NO_STEERING


def test_newest_changes_are_kept() -> None:
    record = NO_STEERING
    for at_us in range(3 * MAX_CHANGES):
        record = record.after(FALL._replace(at_us=at_us, reason="m" * 200))
    assert [each.at_us for each in record.changes] == list(range(2 * MAX_CHANGES, 3 * MAX_CHANGES))
    assert parse_record(record.encode()) == record


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"last":null}',
        '{"last":[1],"changes":[]}',
        '{"last":null,"changes":{}}',
        json.dumps({"last": None, "changes": [[1] * 8] * (MAX_CHANGES + 1)}),
        json.dumps({"last": None, "changes": [], "more": "x" * 5000}),
        "[" * 3000,
    ],
)
def test_other_texts_are_an_empty_record(text: str) -> None:
    assert parse_record(text) == SteeringRecord()


@pytest.mark.parametrize(
    ("field", "value"),
    [(0, -1), (0, 1.5), (1, "x"), (1, float("nan")), (3, "a\nb"), (4, -1.0), (5, True)],
)
def test_field_out_of_range_is_refused(field: int, value: object) -> None:
    fields: list[object] = [1, 600.0, 420.0, "too_slow", 1.25, 4, 3, 5]
    assert parse_steering(list(fields)).after == 420
    fields[field] = value
    with pytest.raises(ValueError, match="expected"):
        parse_steering(fields)


def test_failed_share_of_no_responses_is_unknown() -> None:
    assert FALL.failed_share == 3 / 400
    assert FALL._replace(responses=0).failed_share is None
