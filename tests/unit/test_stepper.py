"""Stepping a coroutine from callbacks: one result, now or later, and no task."""

import asyncio

import pytest

from gatekeeper.stepper import PromptFuture, step

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


def prompt() -> PromptFuture[int]:
    return PromptFuture(loop=asyncio.get_running_loop())


async def test_operation_resumes_within_the_call_of_a_prompt_future() -> None:
    first, second = prompt(), prompt()

    async def add() -> int:
        return await first + await second

    results: Results = []
    step(add(), results.append)
    first.set_result(1)
    first.resume()
    assert results == []
    second.set_result(2)
    second.resume()
    assert results == [3]


async def test_prompt_future_resumes_a_task_as_any_future() -> None:
    future = prompt()

    async def wait() -> int:
        return await future

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    future.set_result(1)
    future.resume()
    assert not task.done()
    assert await task == 1
    future.resume()


async def test_failure_at_the_end_of_a_resumed_operation_is_reported() -> None:
    """The loop's handler receives it, since the caller of `resume` has other operations to
    resume."""
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: reported.append(context["exception"])
    )
    future, error = prompt(), ValueError("broken")

    async def wait() -> int:
        return await future

    def fail(_result: object) -> None:
        raise error

    step(wait(), fail)
    future.set_result(1)
    future.resume()
    assert reported == [error]
