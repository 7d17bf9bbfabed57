"""Batches calls: the requests of one turn of the event loop are sent as one call.

Rules. A batch has at most `limit` items, since a script blocks the store for every client: 100
polls take about 1 ms, 512 took 7 ms. An item whose caller was cancelled is still sent (it may be on
its way already) and its reply is dropped. An error reaches every caller of the batch. Stepped
callers continue one after the other, within the callback in which the replies arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from gatekeeper.errors import StoreError
from gatekeeper.stepper import PromptFuture

Item = TypeVar("Item")
Reply = TypeVar("Reply")

BATCH_LIMIT = 100


class Batcher(Generic[Item, Reply]):
    """Collects items and hands them to `send`, which returns one reply per item, in order."""

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Reply]]],
        *,
        name: str,
        limit: int = BATCH_LIMIT,
    ) -> None:
        self._send = send
        self._name = name
        self._limit = limit
        self._loop: asyncio.AbstractEventLoop
        self._waiting: list[tuple[Item, PromptFuture[Reply]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, item: Item) -> PromptFuture[Reply]:
        """The future reply to `item`."""
        if not self._waiting:
            # Once for each batch: before Python 3.12 the look is a system call.
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._flush)
        future: PromptFuture[Reply] = PromptFuture(loop=self._loop)
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

    async def _run(self, batch: list[tuple[Item, PromptFuture[Reply]]]) -> None:
        try:
            replies = await self._send([item for item, _ in batch])
            if len(replies) != len(batch):
                raise StoreError("unexpected reply from the store")  # noqa: TRY301  to all callers
        except BaseException as error:
            for _, future in batch:
                _fail(future, error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), reply in zip(batch, replies, strict=True):
                if not future.done():
                    future.set_result(reply)
                future.resume()

    async def close(self) -> None:
        """Wait for the replies to submitted items; the sender has its own timeout."""
        if self._waiting:
            self._flush()
        if self._tasks:
            await asyncio.wait(self._tasks)


def _fail(future: PromptFuture[Reply], error: BaseException) -> None:
    if not future.done():
        if isinstance(error, Exception):
            future.set_exception(error)
        else:
            future.cancel()
    future.resume()
