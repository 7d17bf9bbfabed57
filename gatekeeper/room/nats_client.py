"""nats-py's client, made robust against malformed headers that other clients may send.

Rules: a header that nats-py cannot parse ends its read loop without an error, and the connection
counts as open until the next missed ping. Here such a message has no headers, and so no signature.
"""

from __future__ import annotations

import asyncio

from nats.aio.client import DEFAULT_FLUSH_TIMEOUT, Client
from nats.errors import FlushTimeoutError


class NatsClient(Client):
    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (ValueError, LookupError):
            return None

    async def flush(self, timeout: int = DEFAULT_FLUSH_TIMEOUT) -> None:  # noqa: ASYNC109
        """Return once the server has received everything sent before, including subscriptions."""
        try:
            await asyncio.wait_for(self._flush_pending(force_flush=True), timeout)
        except TimeoutError as error:
            raise FlushTimeoutError from error
        await super().flush(timeout)
