"""Many callers, one trip: everyone of a batch hears exactly once, whatever becomes of it."""

import asyncio
from collections.abc import Sequence

import pytest

from gatekeeper.errors import StoreError
from gatekeeper.room.batching import Batcher


async def doubled(items: Sequence[int]) -> list[int]:
    await asyncio.sleep(0)
    return [2 * item for item in items]


async def test_each_of_many_gets_their_own_answer_in_batches_of_at_most_the_limit() -> None:
    sizes = []

    async def counted(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        return await doubled(items)

    batcher = Batcher(counted, name="counted", limit=100)
    assert await asyncio.gather(*map(batcher.ask, range(250))) == [*range(0, 500, 2)]
    assert sizes == [100, 100, 50]


async def test_what_was_asked_in_the_turn_of_the_end_is_answered_before_it_ends() -> None:
    heard: list[int | BaseException] = []
    batcher = Batcher(doubled, name="doubled")
    batcher.ask_soon(1, heard.append)
    await batcher.close()
    assert heard == [2]
    await asyncio.sleep(0)
    assert heard == [2]


@pytest.mark.parametrize("answers", [[], [1], [1, 2, 3, 4]])
async def test_too_few_or_too_many_answers_are_nobodys(answers: list[int]) -> None:
    async def wrong(_items: Sequence[int]) -> list[int]:
        return answers

    batcher = Batcher(wrong, name="wrong")
    told = await asyncio.gather(*map(batcher.ask, range(3)), return_exceptions=True)
    assert [type(each) for each in told] == [StoreError] * 3


async def test_when_the_trip_is_cancelled_everyone_hears_of_it() -> None:
    heard: list[int | BaseException] = []

    async def endless(_items: Sequence[int]) -> list[int]:
        await asyncio.Event().wait()
        return []

    batcher = Batcher(endless, name="endless")
    for item in range(3):
        batcher.ask_soon(item, heard.append)
    asking = asyncio.create_task(batcher.ask(3))
    await asyncio.sleep(0.01)
    for trip in asyncio.all_tasks():
        if trip.get_name() == "endless":
            trip.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert [type(each) for each in heard] == [asyncio.CancelledError] * 3


async def test_a_caller_who_fails_or_has_left_keeps_nobody_from_their_answer() -> None:
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, fault: faults.append(fault))
    batcher = Batcher(doubled, name="doubled")

    def fails(_answer: int | BaseException) -> None:
        raise ValueError("of this caller's own")

    batcher.ask_soon(1, fails)
    left = asyncio.create_task(batcher.ask(2))
    stays = asyncio.create_task(batcher.ask(3))
    await asyncio.sleep(0)
    left.cancel()
    assert await stays == 6
    assert [str(fault["exception"]) for fault in faults] == ["of this caller's own"]
