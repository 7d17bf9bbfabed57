"""Batching: every caller of a batch receives one result, also if another caller fails."""

import asyncio
from collections.abc import Sequence

import pytest

from gatekeeper.errors import StoreError
from gatekeeper.room.batching import Batcher
from gatekeeper.stepper import step


async def double(items: Sequence[int]) -> list[int]:
    await asyncio.sleep(0)
    return [2 * item for item in items]


async def test_submit_many_items_sends_batches_of_the_limit() -> None:
    sizes = []

    async def count(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        return await double(items)

    batcher = Batcher(count, name="count", limit=100)
    assert await asyncio.gather(*map(batcher.submit, range(250))) == [*range(0, 500, 2)]
    assert sizes == [100, 100, 50]


async def test_close_waits_for_items_of_the_same_turn() -> None:
    batcher = Batcher(double, name="double")
    future = batcher.submit(1)
    await batcher.close()
    assert future.result() == 2


@pytest.mark.parametrize("replies", [[], [1], [1, 2, 3, 4]])
async def test_wrong_number_of_replies_is_a_store_error(replies: list[int]) -> None:
    async def wrong(_items: Sequence[int]) -> list[int]:
        return replies

    batcher = Batcher(wrong, name="wrong")
    results = await asyncio.gather(*map(batcher.submit, range(3)), return_exceptions=True)
    assert [type(each) for each in results] == [StoreError] * 3


async def test_cancelled_call_cancels_every_caller() -> None:
    began = asyncio.Event()

    async def endless(_items: Sequence[int]) -> list[int]:
        began.set()
        await asyncio.Event().wait()
        return []

    batcher = Batcher(endless, name="endless")
    futures = [batcher.submit(item) for item in range(3)]
    await began.wait()
    for task in asyncio.all_tasks():
        if task.get_name() == "endless":
            task.cancel()
    for future in futures:
        with pytest.raises(asyncio.CancelledError):
            await future


async def test_cancelled_caller_leaves_the_others_their_reply() -> None:
    batcher = Batcher(double, name="double")
    cancelled, kept = batcher.submit(2), batcher.submit(3)
    await asyncio.sleep(0)
    cancelled.cancel()
    assert await kept == 6


@pytest.mark.parametrize("fails", [False, True])
async def test_stepped_callers_go_on_in_the_callback_of_the_reply(fails: bool) -> None:
    """One after the other, in their order, before the loop runs other callbacks."""
    loop = asyncio.get_running_loop()
    ends: list[object] = []

    async def reply(items: Sequence[int]) -> Sequence[int]:
        await asyncio.sleep(0)
        loop.call_soon(ends.append, "callback")
        if fails:
            raise StoreError("no reply")
        return items

    batcher = Batcher(reply, name="reply")

    async def submit(item: int) -> int:
        return await batcher.submit(item)

    for item in range(3):
        step(submit(item), lambda result: ends.append(result if not fails else type(result)))
    await batcher.close()
    await asyncio.sleep(0)
    assert ends == [*([StoreError] * 3 if fails else range(3)), "callback"]
