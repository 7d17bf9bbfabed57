"""Near the limit of open files the connections close that are idle the longest."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from gatekeeper.proxy.fastpath.idle_connections import IdleConnections


@dataclass(eq=False)
class Connection:
    idle_since_s: float | None
    closed: bool = False
    looked_at: int = 0

    def close_if_idle(self) -> None:
        self.closed = True


async def test_oldest_idle_connections_close_first() -> None:
    connections = [Connection(float(100 - number)) for number in range(100)]
    busy = [Connection(None) for _ in range(100)]
    IdleConnections(lambda: [*busy, *connections], file_limit=640).make_room()
    assert [each for each in connections if each.closed] == connections[-10:]
    assert not any(each.closed for each in busy)


async def test_one_closes_at_least_and_equal_ages_do_not_matter() -> None:
    connections = [Connection(5.0), Connection(5.0)]
    IdleConnections(lambda: connections, file_limit=10).make_room()
    assert sum(each.closed for each in connections) == 1


async def test_busy_connections_are_not_looked_at_again_at_once() -> None:
    looks = 0

    def connections() -> list[Connection]:
        nonlocal looks
        looks += 1
        return [Connection(None)]

    idle = IdleConnections(connections, file_limit=640)
    for _ in range(1000):
        idle.make_room()
    assert looks < 20


def test_an_eighth_of_the_files_is_kept_for_the_origin() -> None:
    assert IdleConnections(list, file_limit=1024).highest == 896
    assert IdleConnections(list, file_limit=20).highest == 12


class Transport(asyncio.BaseTransport):
    """Of a new connection that is the file `number`."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.asked = 0

    def get_extra_info(self, name: str, _default: object = None) -> Transport:
        assert name == "socket"
        self.asked += 1
        return self

    def fileno(self) -> int:
        return self._number


@pytest.mark.parametrize(("file", "closes"), [(140, False), (141, True)])
async def test_high_file_number_closes_idle_connections(file: int, *, closes: bool) -> None:
    connections = [Connection(5.0), Connection(5.0), Connection(5.0)]
    IdleConnections(lambda: connections, file_limit=160).accept(Transport(file))
    assert sum(each.closed for each in connections) == (2 if closes else 0)


async def test_few_of_many_connections_are_asked_for_their_file() -> None:
    """More than one of as many as a look closes: the kept files outlast the wait for the next."""
    idle = IdleConnections(list, file_limit=64_000)  # a look closes 1,000
    transports = [Transport(5) for _ in range(10_000)]
    for transport in transports:
        idle.accept(transport)
    assert 10 < sum(each.asked for each in transports) < 100
