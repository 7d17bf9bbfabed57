"""Many deadlines of equal length, with one timer."""

import asyncio

from gatekeeper.proxy.fastpath.equal_deadlines import EqualDeadlines
from tests.servers import eventually

_AFTER_S = 0.05


class Timers:
    """The deadlines of numbers, and those that expired."""

    def __init__(self) -> None:
        self.expired: list[int] = []
        self.deadlines = EqualDeadlines(_AFTER_S, self.expired.append)

    def add(self, *items: int, ago_s: float = 0.0) -> None:
        for item in items:
            self.deadlines.add(item, now_s=asyncio.get_running_loop().time() - ago_s)


async def test_items_expire_in_order_and_once() -> None:
    timers = Timers()
    timers.add(3, 1, 2)
    await eventually(lambda: not timers.deadlines)
    timers.add(4)
    await eventually(lambda: not timers.deadlines)
    assert timers.expired == [3, 1, 2, 4]


async def test_removed_items_do_not_expire() -> None:
    timers = Timers()
    timers.add(1, 2, 3)
    assert timers.deadlines.discard(2)
    assert not timers.deadlines.discard(2)
    assert list(timers.deadlines) == [1, 3]
    await eventually(lambda: not timers.deadlines)
    assert timers.expired == [1, 3]


async def test_no_item_expires_before_its_time() -> None:
    """A check for an earlier deadline leaves it; the check for a removed item finds it later."""
    timers = Timers()
    timers.add(1, ago_s=_AFTER_S)
    timers.add(2, ago_s=-60.0)
    await eventually(lambda: timers.expired)
    assert timers.expired == [1]
    assert list(timers.deadlines) == [2]


async def test_expiry_may_remove_and_add_items() -> None:
    timers = Timers()

    def expire(item: int) -> None:
        timers.expired.append(item)
        deadlines.discard(2)
        if item == 1:
            deadlines.add(4, now_s=asyncio.get_running_loop().time())

    deadlines = EqualDeadlines(_AFTER_S, expire)
    now_s = asyncio.get_running_loop().time()
    for item in (1, 2, 3):
        deadlines.add(item, now_s=now_s)
    await eventually(lambda: not deadlines)
    assert timers.expired == [1, 3, 4]


async def test_looks_are_few_however_the_items_arrive() -> None:
    """A thousand deadlines at different times need far fewer checks."""
    looks = 0

    class LookCounter(EqualDeadlines[int]):
        def _check(self) -> None:
            nonlocal looks
            looks += 1
            super()._check()

    expired: list[int] = []
    deadlines = LookCounter(_AFTER_S, expired.append)
    now_s = asyncio.get_running_loop().time()
    for item in range(1000):
        deadlines.add(item, now_s=now_s + item * _AFTER_S / 1000)
    await eventually(lambda: not deadlines)
    assert expired == list(range(1000))
    assert looks <= 40  # 18 with exact timers
