"""From the monitor's readings to the files: no-shows, failing and hanging disks, restarts."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from gatekeeper.admin import report_files
from gatekeeper.admin.history import Reading
from gatekeeper.admin.report_files import FOLDER
from gatekeeper.admin.report_keeper import MinuteKeeper
from gatekeeper.errors import StoreError
from gatekeeper.policy.rules import Rules
from tests.unit.admin.report_samples import RULES, SALE, START_S, line


@dataclass
class CountingRoom:
    """A room whose store counts no-shows; None: it is unreachable."""

    no_shows: int | None = 0
    rules: Rules = RULES[SALE]

    async def count_no_shows(self) -> int:
        if self.no_shows is None:
            raise StoreError("the store does not respond")
        return self.no_shows


async def feed(keeper: MinuteKeeper, readings: Iterator[Reading], count: int) -> None:
    """Let the keeper take `count` readings, and write the minutes that they end."""
    for _ in range(count):
        keeper.add(next(readings))
    await written(keeper)


async def written(keeper: MinuteKeeper) -> None:
    task = keeper._keeping
    if task is not None:
        await task


async def test_no_shows_are_the_growth_of_each_minute(tmp_path: Path) -> None:
    room = CountingRoom(40)
    keeper = MinuteKeeper({SALE: room}, tmp_path)
    await keeper.start()
    await written(keeper)
    readings = line(400)
    await feed(keeper, readings, 1)
    for total in (42, 42, None, 45, 3):  # at the end a store that lost everything
        room.no_shows = total
        await feed(keeper, readings, 60)  # the last of them ends a minute
    room.no_shows = 4
    stored = await keeper.read(SALE, since_s=START_S, until_s=START_S + 600)
    assert [each.no_shows for each in stored.minutes] == [2, 0, None, 3, 3, 1]
    assert [each.arrived for each in stored.minutes][1:4] == [120, 120, 120]


async def test_restart_continues_the_figures(tmp_path: Path) -> None:
    readings = line(200)
    first = MinuteKeeper({SALE: CountingRoom()}, tmp_path)
    await feed(first, readings, 90)
    await first.close()
    second = MinuteKeeper({SALE: CountingRoom()}, tmp_path)
    second._files = report_files.MinuteFiles(tmp_path, wall_s=lambda: START_S + 95)
    await second.start()
    await feed(second, readings, 30)
    stored = await second.read(SALE, since_s=START_S, until_s=START_S + 600)
    assert sum(each.arrived or 0 for each in stored.minutes) == 240 - 2
    assert [each.at_s - START_S for each in stored.minutes] == [0, 60]


async def test_disk_that_fails_is_logged_once_and_is_a_gap(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("no folder")
    keeper, readings = MinuteKeeper({SALE: CountingRoom()}, tmp_path), line(400)
    with structlog.testing.capture_logs() as logs:
        for _ in range(4):
            await feed(keeper, readings, 60)
    assert [each["event"] for each in logs] == ["minutes_write_failed"]
    (tmp_path / FOLDER).unlink()
    await feed(keeper, readings, 60)
    stored = await keeper.read(SALE, since_s=START_S, until_s=START_S + 600)
    assert [each.at_s - START_S for each in stored.minutes] == [180, 240]


async def test_disk_that_hangs_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = asyncio.Event()

    async def hang(*_: object) -> None:
        await hanging.wait()

    keeper, readings = MinuteKeeper({SALE: CountingRoom()}, tmp_path), line(400)
    monkeypatch.setattr(keeper, "_keep", hang)
    with structlog.testing.capture_logs() as logs:
        for _ in range(200):
            keeper.add(next(readings))
    assert [each["event"] for each in logs] == ["minutes_write_slow"] * 2
    hanging.set()
    await written(keeper)


async def test_room_of_a_removed_configuration_is_no_error(tmp_path: Path) -> None:
    keeper, readings = MinuteKeeper({SALE: CountingRoom()}, tmp_path), line(200)
    await feed(keeper, readings, 61)
    keeper.configure({})
    await feed(keeper, readings, 61)
    assert (await keeper.read(SALE, since_s=START_S, until_s=START_S + 60)).minutes[0].arrived
