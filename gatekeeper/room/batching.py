"""Many callers, one trip: what is asked within one turn of the event loop goes out together.

Rules. A batch has at most `limit` items, since a script blocks the store for everyone: 100 polls
take it about 1 ms, 512 took 7 ms. An item whose caller was cancelled is still sent (it may be on
its way already) and its answer dropped. An error reaches every caller of the batch. Callers leave
a function that is called with the answer, or with what came instead of one; a future and a task
for each caller would cost more than the store does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from gatekeeper.errors import StoreError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

BATCH_LIMIT = 100


class Batcher(Generic[Item, Answer]):
    """Collects items and hands them to `send`, which answers each in order."""

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        name: str,
        limit: int = BATCH_LIMIT,
    ) -> None:
        self._send = send
        self._name = name
        self._limit = limit
        self._waiting: list[tuple[Item, Callable[[Answer | BaseException], None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def ask_soon(self, item: Item, then: Callable[[Answer | BaseException], None]) -> None:
        """Call `then` once, later, with the answer or the error."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append((item, then))

    async def ask(self, item: Item) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.ask_soon(item, lambda answer: settle(future, answer))
        return await future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), self._limit):
            task = asyncio.create_task(
                self._run(waiting[start : start + self._limit]), name=self._name
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(
        self, batch: list[tuple[Item, Callable[[Answer | BaseException], None]]]
    ) -> None:
        answers: Sequence[Answer | BaseException]
        try:
            answers = await self._send([item for item, _ in batch])
            _check(answers, of=len(batch))
        except BaseException as error:
            self._tell(batch, [error] * len(batch))
            if not isinstance(error, Exception):
                raise
        else:
            self._tell(batch, answers)

    def _tell(
        self,
        batch: list[tuple[Item, Callable[[Answer | BaseException], None]]],
        answers: Sequence[Answer | BaseException],
    ) -> None:
        for (_, then), answer in zip(batch, answers, strict=True):
            try:
                then(answer)
            except Exception as error:  # noqa: BLE001  one caller's fault is not the others'
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"a caller of {self._name} failed", "exception": error}
                )

    async def close(self) -> None:
        """Wait for what was asked; the sender has its own time-out."""
        if self._waiting:
            self._flush()
        if self._tasks:
            await asyncio.wait(self._tasks)


def settle(future: asyncio.Future[Answer], answer: Answer | BaseException) -> None:
    """Give the answer, or what came instead of one, to whoever still awaits it."""
    if future.done():
        return
    if not isinstance(answer, BaseException):
        future.set_result(answer)
    elif isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.cancel()


def _check(answers: Sequence[object], *, of: int) -> None:
    if len(answers) != of:
        raise StoreError("the store answered for some and not for others")
