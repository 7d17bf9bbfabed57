"""Runs a coroutine from callbacks of the event loop, without a task.

Rules. A stepped operation is an ordinary coroutine, and the same coroutine can be awaited by a
task. It awaits futures and other operations only. If it awaits no pending future, it ends during
the call of `step`; each future that it waits for costs one callback, and a `PromptFuture` none. A
task costs several times that, and the fast path runs one operation for every poll.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")


class PromptFuture(asyncio.Future[Result]):
    """A future of one caller. Its maker completes it and then calls `resume`: a stepped operation
    that awaits it continues at once, without a callback of the loop. A task is scheduled."""

    __slots__ = ("_stepped",)
    _stepped: tuple[Coroutine[Any, Any, Any], Callable[[Any], None]]  # once an operation waits

    def suspend(self, operation: Coroutine[Any, Any, Any], then: Callable[[Any], None]) -> None:
        """`operation` waits for this future."""
        self._stepped = operation, then

    def resume(self) -> None:
        """Continue the operation, if one waits. What its end raises is reported as an exception of
        a callback, since others are resumed after it."""
        stepped = getattr(self, "_stepped", None)
        if stepped is None:
            return
        try:
            step(*stepped)
        except Exception as error:  # noqa: BLE001  the loop reports it
            failure = {"message": "the end of a stepped operation failed", "exception": error}
            self.get_loop().call_exception_handler(failure)


def step(
    operation: Coroutine[Any, Any, Result],
    then: Callable[[Result | BaseException], None],
    _done: asyncio.Future[Any] | None = None,
) -> None:
    """Run `operation`; call `then` once, now or later, with its result or the exception it raised.

    Raises only what `then` raises. `_done`: internal, the future on which it resumes.
    """
    try:
        future = operation.send(None)
    except StopIteration as end:
        result: Result | BaseException = end.value
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  it belongs to the caller
        result = error
    else:
        if isinstance(future, PromptFuture):
            future.suspend(operation, then)
            return
        if not isinstance(future, asyncio.Future):  # an operation awaits futures only
            operation.close()
            raise TypeError(f"a stepped operation awaited {future!r}")
        future.add_done_callback(partial(step, operation, then))
        return
    then(result)
