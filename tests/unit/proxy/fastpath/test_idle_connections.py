"""Near the limit of open files, the connections that are idle the longest are closed."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field

import pytest

from gatekeeper.proxy.fastpath.idle_connections import IdleConnections, count_open_files
from tests.servers import eventually

pytestmark = pytest.mark.simulated_time


@dataclass(eq=False)
class Connection:
    idle_since_s: float | None
    closed: bool = False

    def evict(self) -> None:
        self.closed = True


@dataclass
class Process:
    """A process with these connections and other files."""

    connections: list[Connection]
    other_files: int = 0
    looks: int = field(default=0, init=False)

    def listed(self) -> list[Connection]:
        self.looks += 1
        return [each for each in self.connections if not each.closed]

    def count(self) -> int:
        return self.other_files + sum(not each.closed for each in self.connections)

    def idle(self, file_limit: int) -> IdleConnections:
        return IdleConnections(self.listed, file_limit=file_limit, count_files=self.count)


async def test_oldest_idle_connections_close_first() -> None:
    connections = [Connection(float(100 - number)) for number in range(100)]
    busy = [Connection(None) for _ in range(100)]
    idle = Process([*busy, *connections], other_files=370).idle(640)
    idle.check()  # 570 of 560
    idle.close()
    assert [each for each in connections if each.closed] == connections[-30:]  # to 540
    assert not any(each.closed for each in busy)


@pytest.mark.parametrize(("files", "closes"), [(140, False), (141, True)])
async def test_an_eighth_of_the_files_is_kept(files: int, *, closes: bool) -> None:
    process = Process([Connection(5.0) for _ in range(20)], other_files=files - 20)
    idle = process.idle(160)
    idle.check()
    idle.close()
    assert any(each.closed for each in process.connections) is closes


async def test_burst_beyond_the_limit_leaves_the_newest_served() -> None:
    """Even if it uses the last file, so that the event loop cannot accept more."""
    busy = [Connection(None) for _ in range(20)]
    process = Process(list(busy), other_files=20)
    idle = process.idle(300)
    for number in range(500):
        if process.count() < 300:
            process.connections.append(Connection(float(number)))
            idle.accept()
    assert process.count() == 300
    await asyncio.sleep(0)  # no connection arrives in this turn of the loop
    idle.close()
    burst = process.connections[20:]
    closed = sum(each.closed for each in burst)
    assert process.count() <= 300 - 300 // 8
    assert all(each.closed for each in burst[:closed])
    assert not any(each.closed for each in burst[closed:])
    assert not any(each.closed for each in busy)


async def test_files_of_others_are_noticed_without_new_connections() -> None:
    process = Process([Connection(5.0) for _ in range(100)], other_files=100)
    idle = process.idle(300)
    idle.check()
    process.other_files = 190
    await eventually(lambda: process.count() <= 263)
    idle.close()


async def test_equal_ages_do_not_matter_and_a_newest_stays() -> None:
    process = Process([Connection(5.0), Connection(5.0)], other_files=8)
    idle = process.idle(10)
    idle.check()
    idle.check()
    idle.close()
    assert sum(each.closed for each in process.connections) == 1


async def test_no_file_left_to_count_them_is_the_limit() -> None:
    connections = [Connection(5.0) for _ in range(100)]
    idle = IdleConnections(lambda: connections, file_limit=160, count_files=lambda: None)
    idle.check()
    idle.close()
    assert sum(each.closed for each in connections) == 25


async def test_busy_connections_are_not_looked_at_again_at_once() -> None:
    process = Process([Connection(None)], other_files=639)
    idle = process.idle(640)
    for _ in range(1000):
        idle.check()
    idle.close()
    assert process.looks == 1


async def test_few_new_connections_count_the_files() -> None:
    process = Process([])
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 5

    idle = IdleConnections(process.listed, file_limit=64_000, count_files=count)
    for _ in range(100):
        for _ in range(100):
            idle.accept()
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert counted == 5
    assert process.looks == 0


def test_open_files_are_counted() -> None:
    before = count_open_files()
    pipe = os.pipe()
    after = count_open_files()
    for each in pipe:
        os.close(each)
    assert before is not None
    assert after == before + 2
