"""The report on lanes: how many of each were admitted, and how long they waited."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatekeeper.admin.history import Reading
from gatekeeper.admin.report_minutes import Minute, merged, parse_minute
from gatekeeper.admin.report_page import page_of
from gatekeeper.admin.report_tables import json_of
from gatekeeper.room.worker_figures import RequestCounts
from tests.unit.admin.report_samples import START_S, figures, line, minutes_of, report_on

# Two members waited for less than a second, and two up to two seconds.
MEMBERS, FRIENDS = (0, 2, 2), (0, 0, 1)


def with_lanes(seconds: int) -> Iterator[Reading]:
    """One wait of each pair above in each of the first two seconds."""
    for at, reading in enumerate(line(seconds)):
        rows = {"members": tuple(each * min(at, 2) // 2 for each in MEMBERS), "friends": FRIENDS}
        counts = RequestCounts(lanes={lane: row for lane, row in rows.items() if any(row)})
        yield replace(reading, replicas={"one": figures("one", counts)})


def test_minutes_count_the_waits_of_lanes() -> None:
    first, second = minutes_of(with_lanes(90))
    assert first.lanes == {"members": MEMBERS}  # the friends were counted before the first reading
    assert second.lanes == {}


def test_minute_with_lanes_reads_back() -> None:
    first, _ = minutes_of(with_lanes(90))
    assert parse_minute(first.encode()) == first


@pytest.mark.parametrize(
    "lanes",
    ["[]", '{"m":3}', '{"m":[-1]}', '{"m":["1"]}', json.dumps({str(n): [] for n in range(21)})],
)
def test_strange_lanes_are_no_minute(lanes: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_minute(f'{{"at":{START_S},"lanes":{lanes}}}'.encode())


def test_two_parts_of_a_minute_are_added() -> None:
    one = Minute(START_S, first_s=0, last_s=20, lanes={"members": (1, 2)})
    other = Minute(START_S, first_s=30, last_s=59, lanes={"members": (0, 1, 1), "friends": (1,)})
    assert merged([one, other])[0].lanes == {"members": (1, 3, 1), "friends": (1,)}


def test_report_has_admissions_and_waits_of_each_lane() -> None:
    report = report_on(minutes_of(with_lanes(90)))
    lanes = report.figures.lanes
    assert lanes.keys() == {"members"}
    assert lanes["members"].observations == 4
    assert json.loads(json_of(report))["lanes"]["members"]["observations"] == 4
    page = page_of(report).decode()
    assert "Wait of members, p50" in page
    assert "of 4 admitted" in page


def test_report_without_lanes_names_none() -> None:
    report = report_on(minutes_of(line(90)))
    assert report.figures.lanes == {}
    assert ", p50" not in page_of(report).decode()


def test_lane_of_markup_is_escaped() -> None:
    minute = Minute(START_S, totals=(0, 0, 0, 0), lanes={"<i>": (1,)})
    assert b"<i>" not in page_of(report_on([minute]))
