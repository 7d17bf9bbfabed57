"""The round for a draw from a beacon that is correct, late, unreachable or wrong.

The clocks of gate and beacon are the same counter, and a sleep advances it.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from gatekeeper.policy.beacon import BeaconRound
from gatekeeper.room.beacon_client import MAX_WAIT_S, BeaconFailure, fetch_randomness
from tests.beacon_server import FakeBeacon, Fault, randomness_of
from tests.web_app import serving

GENESIS_S, PERIOD_S = 1_000_000, 30
START_US = (GENESIS_S + 100 * PERIOD_S + 10) * 1_000_000  # 20 s before round 102
ROUND = 102


class Clock:
    """Advances only by sleeps."""

    def __init__(self) -> None:
        self.now_us = START_US

    def __call__(self) -> int:
        return self.now_us

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_us += round(seconds * 1e6)
        await asyncio.sleep(0)

    @property
    def waited_s(self) -> float:
        return (self.now_us - START_US) / 1e6


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def beacon(clock: Clock) -> AsyncIterator[FakeBeacon]:
    fake = FakeBeacon(genesis_s=GENESIS_S, period_s=PERIOD_S, clock=lambda: clock.now_us / 1e6)
    async with fake:
        yield fake


async def fetch(url: str, clock: Clock) -> BeaconRound | BeaconFailure:
    async with asyncio.timeout(20):
        return await fetch_randomness(url, START_US, clock=clock, sleep=clock.sleep)


def setting(**fields: Any) -> Fault:
    def change(_: FakeBeacon, body: dict[str, Any]) -> None:
        body.update(fields)

    return change


def replacing(**arguments: Any) -> Fault:
    return lambda _, __: web.Response(**arguments)


async def test_round_is_the_first_after_the_start(beacon: FakeBeacon, clock: Clock) -> None:
    assert await fetch(beacon.url, clock) == BeaconRound(ROUND, randomness_of(ROUND))
    assert beacon.first_after(START_US) == ROUND
    assert clock.waited_s == 20


async def test_no_round_is_asked_for_before_it_is_due(beacon: FakeBeacon, clock: Clock) -> None:
    await fetch(beacon.url, clock)
    assert beacon.requests["early"] == 0
    assert (beacon.requests["info"], beacon.requests["round"]) == (1, 1)


async def test_replica_that_asks_later_gets_the_same_round(
    beacon: FakeBeacon, clock: Clock
) -> None:
    clock.now_us += 55_000_000
    assert await fetch(beacon.url, clock) == BeaconRound(ROUND, randomness_of(ROUND))


@pytest.mark.parametrize(("version", "path"), [(1, "/" + "ab" * 32), (2, "/v2/beacons/quicknet")])
async def test_round_comes_from_the_chain_that_is_named(
    clock: Clock, version: int, path: str
) -> None:
    fake = FakeBeacon(
        genesis_s=GENESIS_S,
        period_s=PERIOD_S,
        clock=lambda: clock.now_us / 1e6,
        version=version,
        path=path,
    )
    async with fake:
        assert await fetch(fake.url, clock) == BeaconRound(ROUND, randomness_of(ROUND))


@pytest.mark.parametrize("late_s", [0.1, 5, 39])
async def test_late_round_is_waited_for(beacon: FakeBeacon, clock: Clock, late_s: float) -> None:
    beacon.late_s = late_s
    assert await fetch(beacon.url, clock) == BeaconRound(ROUND, randomness_of(ROUND))
    assert clock.waited_s <= 20 + late_s + 1


async def test_round_later_than_the_longest_wait_is_given_up(
    beacon: FakeBeacon, clock: Clock
) -> None:
    beacon.late_s = 3600
    failure = await fetch(beacon.url, clock)
    assert isinstance(failure, BeaconFailure)
    assert f"it has no {beacon.url}/public/{ROUND} (HTTP status 425)" in failure.note
    assert clock.waited_s == MAX_WAIT_S


async def test_slow_chain_is_given_up_at_once(beacon: FakeBeacon, clock: Clock) -> None:
    beacon.period_s = 3600
    failure = await fetch(beacon.url, clock)
    assert isinstance(failure, BeaconFailure)
    assert "published too late" in failure.note
    assert clock.waited_s <= 1


async def test_unreachable_beacon_is_asked_until_the_longest_wait(
    beacon: FakeBeacon, clock: Clock
) -> None:
    await beacon.close()
    failure = await fetch(beacon.url, clock)
    assert isinstance(failure, BeaconFailure)
    assert failure.note.startswith(f"The beacon {beacon.url} was not used: it is unreachable")
    assert clock.waited_s == MAX_WAIT_S


async def test_gate_that_was_down_at_the_start_asks_all_the_same(
    beacon: FakeBeacon, clock: Clock
) -> None:
    """The round was published long ago, so it does not depend on the time of the request."""
    clock.now_us += 3600_000_000
    assert await fetch(beacon.url, clock) == BeaconRound(ROUND, randomness_of(ROUND))
    await beacon.close()
    asked_us = clock.now_us
    assert isinstance(await fetch(beacon.url, clock), BeaconFailure)
    assert clock.now_us - asked_us <= 5_000_000


async def test_deadline_in_the_past_asks_nothing(beacon: FakeBeacon, clock: Clock) -> None:
    failure = await fetch_randomness(
        beacon.url, START_US, clock=clock, sleep=clock.sleep, deadline_us=START_US
    )
    assert isinstance(failure, BeaconFailure)
    assert beacon.requests.total() == 0


async def test_beacon_that_recovers_in_time_is_used(beacon: FakeBeacon, clock: Clock) -> None:
    failures = [replacing(status=503)] * 5 + [replacing(status=404)] * 5

    def recover(_: FakeBeacon, body: dict[str, Any]) -> web.Response | None:
        return failures.pop()(beacon, body) if failures else None

    beacon.faults["info"] = recover
    assert await fetch(beacon.url, clock) == BeaconRound(ROUND, randomness_of(ROUND))


@pytest.mark.parametrize(
    ("kind", "fault", "words"),
    [
        ("round", setting(round=ROUND - 1), "round 101 came instead of round 102"),
        ("round", setting(round=ROUND + 1), "round 103 came instead of round 102"),
        ("round", setting(randomness="00" * 32), "not SHA-256 of its signature"),
        ("round", setting(randomness="z" * 64), "not 64 hex digits"),
        ("round", setting(signature="no hex"), "not hexadecimal"),
        ("round", setting(more="x" * 20_000), "more than 16384 bytes"),
        ("round", replacing(body=b"<html>"), "not JSON"),
        ("round", replacing(status=302, headers={"Location": "/info"}), "redirects"),
        ("info", setting(period=0), "the period is 0"),
        ("info", setting(genesis_time="now"), "the genesis time is 'now'"),
        ("info", setting(genesis_time=2**34), "the genesis time is"),
        ("info", setting(more="x" * 20_000), "more than 16384 bytes"),
        ("info", replacing(body=b"[]"), "not a JSON object"),
        ("info", replacing(status=301, headers={"Location": "http://127.0.0.1:1/"}), "redirects"),
        ("info", replacing(status=307, headers={"Location": "/public/1"}), "redirects"),
        # Compressed although not accepted: a decompression bomb is never unpacked.
        ("info", replacing(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), "not JSON"),
    ],
)
async def test_wrong_beacon_is_given_up_soon(
    beacon: FakeBeacon, clock: Clock, kind: str, fault: Fault, words: str
) -> None:
    beacon.faults[kind] = fault
    failure = await fetch(beacon.url, clock)
    assert isinstance(failure, BeaconFailure)
    assert words in failure.note
    assert failure.note.isprintable()
    assert len(failure.note) < 300
    assert beacon.requests[kind] == 3
    assert clock.waited_s <= 20 + 3


async def test_one_wrong_server_of_several_is_outlived(beacon: FakeBeacon, clock: Clock) -> None:
    faults = [setting(round=1), setting(randomness="00" * 32)]

    def broken_twice(_: FakeBeacon, body: dict[str, Any]) -> web.Response | None:
        return faults.pop()(beacon, body) if faults else None

    beacon.faults["round"] = broken_twice
    assert await fetch(beacon.url, clock) == BeaconRound(ROUND, randomness_of(ROUND))


async def test_endless_response_ends_at_its_bound(clock: Clock) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 8192)
            sent += 8192

    async with serving(web.get("/info", endless)) as url:
        failure = await fetch(url, clock)
    assert isinstance(failure, BeaconFailure)
    assert "more than 16384 bytes" in failure.note


async def test_server_that_never_responds_ends_with_the_loops_clock() -> None:
    """Also while the store's clock does not advance."""

    async def hold(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(30):
        failure = await fetch_randomness(
            f"http://127.0.0.1:{port}",
            START_US,
            clock=lambda: START_US,
            deadline_us=START_US + 300_000,
        )
    server.close()
    assert isinstance(failure, BeaconFailure)
