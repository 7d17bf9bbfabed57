"""nats-py's client, made robust against malformed headers that other clients may send, and the
login in its URL.

Rules: a header that nats-py cannot parse ends its read loop without an error, and the connection
counts as open until the next missed ping. Here such a message has no headers, and so no signature.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote, urlsplit

from nats.aio.client import DEFAULT_FLUSH_TIMEOUT, Client
from nats.errors import FlushTimeoutError


def login_of(url: str) -> dict[str, Any]:
    """The login in a URL as arguments of `connect`. nats-py sends it as it is spelled there, and a
    password may have characters that a URL cannot."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), parts.password
    if password is None:
        return {"token": user} if user else {}
    return {"user": user, "password": unquote(password)}


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
