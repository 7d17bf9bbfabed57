"""The buckets of `newcomers_per_address`: which newcomers they refuse, and what they store."""

from __future__ import annotations

import random

import pytest

from gatekeeper.web.address_limit import AddressBuckets, Source, source_of
from tests.unit.clock import Clock

IPV4 = Source(1)


def of_network(block: int, low: int) -> Source:
    """A /64 in the /32 with the number `block`."""
    return Source(block << 32 | low, block)


def taken(buckets: AddressBuckets, source: Source, *, per_minute: float, asks: int) -> int:
    return sum(buckets.take(source, per_minute=per_minute) == 0.0 for _ in range(asks))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("192.0.2.1", "::FFFF:C000:201"),
        ("192.0.2.1", "64:ff9b::192.0.2.1"),
        ("192.0.2.1", "2002:c000:201::1"),  # 6to4, with 65,536 networks for one address
        ("192.0.2.1", "2002:c000:201:ffff::9"),
        ("192.0.2.1", "2001:0:4136:e378:8000:63bf:3fff:fdfe"),  # Teredo
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
        ("2001:db8:1:2::1", "2001:DB8:1:2::a"),
        ("fe80::1%eth0", "fe80::2"),
        ("unknown", ""),
    ],
)
def test_spellings_of_one_source_are_one(left: str, right: str) -> None:
    assert source_of(left) == source_of(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("192.0.2.1", "192.0.2.2"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2"),
        ("64:ff9b:1::192.0.2.1", "192.0.2.1"),  # another prefix is a network like any other
        ("2002:c000:201::1", "2002:c000:202::1"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdfe", "2001:0:4136:e378:8000:63bf:3fff:fdfd"),
        ("2001:db8:1:2::1", "2001:db8:1:3::1"),
        ("::1", "0.0.0.1"),
        ("0.0.0.0", "::"),
        ("unknown", "0.0.0.0"),
        ("unknown", "::"),
    ],
)
def test_different_sources_are_counted_apart(left: str, right: str) -> None:
    assert source_of(left) != source_of(right)
    buckets = AddressBuckets(monotonic_s=Clock())
    assert buckets.take(source_of(left), per_minute=1) == 0.0
    assert buckets.take(source_of(right), per_minute=1) == 0.0
    assert buckets.take(source_of(left), per_minute=1) > 0.0


@pytest.mark.parametrize(
    ("per_minute", "at_once", "wait_s"), [(60.0, 60, 1.0), (1.0, 1, 60.0), (0.5, 1, 120.0)]
)
def test_bucket_has_a_minute_and_says_when_the_next_is_free(
    per_minute: float, at_once: int, wait_s: float
) -> None:
    clock = Clock()
    buckets = AddressBuckets(monotonic_s=clock)
    assert taken(buckets, IPV4, per_minute=per_minute, asks=at_once + 5) == at_once
    left_s = buckets.take(IPV4, per_minute=per_minute)
    assert left_s == pytest.approx(wait_s)
    clock.now_s += left_s - 0.01 * wait_s
    assert buckets.take(IPV4, per_minute=per_minute) > 0.0
    clock.now_s += 0.02 * wait_s
    assert taken(buckets, IPV4, per_minute=per_minute, asks=3) == 1


def test_address_never_gets_more_than_rate_and_one_bucket() -> None:
    """For all times between its requests, also after full buckets were removed."""
    clock, chance = Clock(), random.Random(7)
    buckets = AddressBuckets(monotonic_s=clock)
    began_s, got = clock.now_s, 0
    for _ in range(20_000):
        clock.now_s += chance.expovariate(10.0) if chance.random() < 0.99 else 40.0
        got += buckets.take(IPV4, per_minute=30.0) == 0.0
        assert got <= 30 + (clock.now_s - began_s) * 0.5 + 1e-6


def test_higher_limit_holds_at_once() -> None:
    buckets = AddressBuckets(monotonic_s=Clock())
    assert taken(buckets, IPV4, per_minute=0.1, asks=5) == 1
    assert taken(buckets, IPV4, per_minute=60.0, asks=100) == 60


def test_bucket_in_use_is_never_forgotten_for_others() -> None:
    """Neither during a flood of addresses at its first use, nor during a later one."""
    clock = Clock()
    buckets = AddressBuckets(limit=100, monotonic_s=clock)
    assert taken(buckets, IPV4, per_minute=10, asks=20) == 10
    for number in range(2, 5000):
        assert buckets.take(Source(number), per_minute=10) == 0.0, "nobody is turned away for it"
    assert buckets.take(IPV4, per_minute=10) > 0.0
    assert buckets.not_kept == 4999 - 100

    clock.now_s += 59.0
    assert taken(buckets, IPV4, per_minute=10, asks=20) == 9
    clock.now_s += 2.0  # the buckets of the flood are full again, and are removed for others
    for number in range(10_000, 11_000):
        buckets.take(Source(number), per_minute=10)
    assert taken(buckets, IPV4, per_minute=10, asks=20) == 1, "of the 61 s, and no full bucket"


def test_table_stays_bounded_under_a_flood_of_addresses() -> None:
    clock = Clock()
    buckets = AddressBuckets(limit=100, limit_per_block=10, monotonic_s=clock)
    for number in range(20_000):
        clock.now_s += 0.1
        buckets.take(Source(number), per_minute=60)
        buckets.take(of_network(number % 50, number), per_minute=60)
        assert len(buckets) <= 2 * 100


def test_ipv6_network_of_a_provider_fills_only_its_share() -> None:
    """Other networks, of the same and of other providers, are counted or admitted, never
    refused."""
    buckets = AddressBuckets(limit=1000, limit_per_block=50, monotonic_s=Clock())
    for number in range(0, 100_000, 7):
        buckets.take(source_of(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1"), per_minute=5)
    assert len(buckets) == 50
    neighbour, other = source_of("2001:db8:ffff::1"), source_of("2001:db9::1")
    assert taken(buckets, neighbour, per_minute=5, asks=9) == 9, "let through, not counted"
    assert taken(buckets, other, per_minute=5, asks=9) == 5
    assert taken(buckets, IPV4, per_minute=5, asks=9) == 5


def test_full_ipv6_table_does_not_concern_ipv4() -> None:
    buckets = AddressBuckets(limit=10, limit_per_block=10, monotonic_s=Clock())
    for number in range(100):
        buckets.take(of_network(number, 1), per_minute=5)
    assert taken(buckets, IPV4, per_minute=5, asks=9) == 5


def test_idle_addresses_are_forgotten() -> None:
    clock = Clock()
    buckets = AddressBuckets(monotonic_s=clock)
    for number in range(100):
        buckets.take(Source(number), per_minute=60)
    clock.now_s += 61.0
    buckets.take(Source(101), per_minute=60)
    assert len(buckets) == 1


def test_full_buckets_make_space_for_others_and_only_they() -> None:
    """If the table contains only buckets that are full again, the next address is counted at
    once."""
    for source in (Source, lambda number: of_network(7, number)):
        clock = Clock()
        buckets = AddressBuckets(limit=100, limit_per_block=50, monotonic_s=clock)
        limit = 100 if source is Source else 50
        busy = [source(number) for number in range(10)]
        for each in busy:
            assert taken(buckets, each, per_minute=10, asks=20) == 10
        for number in range(10, limit):
            assert buckets.take(source(number), per_minute=10) == 0.0
        assert taken(buckets, source(500), per_minute=10, asks=20) == 20, "all are in use"
        assert buckets.not_kept == 20
        clock.now_s += 7.0  # buckets that were used once are full again
        for number in range(500, 500 + limit - 10):
            assert taken(buckets, source(number), per_minute=10, asks=20) == 10
        assert len(buckets) == limit
        assert [taken(buckets, each, per_minute=10, asks=20) for each in busy] == [1] * 10


def test_full_table_is_looked_through_once_a_second() -> None:
    """Not searched for each newcomer of a flood."""
    clock = Clock()
    buckets = AddressBuckets(limit=100, monotonic_s=clock)
    for number in range(100):
        buckets.take(Source(number), per_minute=600)  # full again after 0.1 s
    assert buckets.take(Source(1000), per_minute=600) == 0.0
    assert buckets.not_kept == 1
    clock.now_s += 0.5
    for number in range(2000, 2100):
        buckets.take(Source(number), per_minute=600)
    assert buckets.not_kept == 101
    clock.now_s += 0.5
    assert taken(buckets, Source(1000), per_minute=600, asks=700) == 600
    assert buckets.not_kept == 101
