"""Many callers, one call: what is requested within one turn of the event loop goes out together.

Rules. A batch has at most `limit` items, since a script blocks the store for everyone: 100 polls
take it about 1 ms, 512 took 7 ms. An item whose caller was cancelled is still sent (it may be on
its way already) and its answer is dropped. An error reaches every caller of the batch.
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
    """Collects items and hands them to `send`, which returns one answer per item, in order."""

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
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """The future answer to `item`."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._flush)
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, future))
        return future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), self._limit):
            task = asyncio.create_task(
                self._run(waiting[start : start + self._limit]), name=self._name
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._send([item for item, _ in batch])
            if len(answers) != len(batch):
                raise StoreError("unexpected reply from the store")  # noqa: TRY301  to all callers
        except BaseException as error:
            for _, future in batch:
                _fail(future, error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    async def close(self) -> None:
        """Wait for what was submitted; the sender has its own timeout."""
        if self._waiting:
            self._flush()
        if self._tasks:
            await asyncio.wait(self._tasks)


def _fail(future: asyncio.Future[Answer], error: BaseException) -> None:
    if future.done():
        return
    if isinstance(error, Exception):
        future.set_exception(error)
    else:
        future.cancel()
