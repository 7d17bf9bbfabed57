"""Stepping a coroutine from callbacks: one result, now or later, and no task."""

import asyncio

import pytest

from gatekeeper.stepper import step

Results = list[int | BaseException]


async def test_operation_without_waiting_ends_during_the_call() -> None:
    async def ready() -> int:
        return 1

    results: Results = []
    step(ready(), results.append)
    assert results == [1]


async def test_operation_resumes_when_each_future_is_done() -> None:
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))

    async def add() -> int:
        return int(await first) + int(await second)

    results: Results = []
    step(add(), results.append)
    first.set_result(1)
    await asyncio.sleep(0)
    assert results == []
    second.set_result(2)
    await asyncio.sleep(0)
    assert results == [3]
    assert len(asyncio.all_tasks()) == 1


async def test_exception_reaches_then_and_not_the_caller() -> None:
    async def fail() -> int:
        raise ValueError("broken")

    results: Results = []
    step(fail(), results.append)
    assert [str(each) for each in results] == ["broken"]


async def test_cancelled_future_reaches_then_as_cancelled_error() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait() -> int:
        return await future

    results: Results = []
    step(wait(), results.append)
    future.cancel()
    await asyncio.sleep(0)
    assert [type(each) for each in results] == [asyncio.CancelledError]


async def test_operation_can_catch_the_error_of_a_future() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def recover() -> int:
        try:
            return await future
        except ValueError:
            return -1

    results: Results = []
    step(recover(), results.append)
    future.set_exception(ValueError())
    await asyncio.sleep(0)
    assert results == [-1]


async def test_awaiting_anything_but_a_future_is_a_type_error() -> None:
    async def sleep() -> int:
        await asyncio.sleep(0)
        return 1

    with pytest.raises(TypeError, match="awaited None"):
        step(sleep(), lambda _: None)
