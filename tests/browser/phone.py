"""A page that Chromium itself hides and freezes, as on a locked phone.

Playwright emulates the focus of its own pages, which keeps them visible, and a visible page is
never frozen. So this page is opened and controlled only by the DevTools protocol.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, CDPSession

_TIMEOUT_S = 30
_LEFT = -32000  # "Inspected target navigated or closed"


class Phone:
    """One page in a browser context of its own."""

    def __init__(self, browser: CDPSession) -> None:
        self._browser = browser
        self._session = ""
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._sent = 0

    @classmethod
    @asynccontextmanager
    async def opened(cls, browser: Browser, url: str) -> AsyncIterator[Phone]:
        """A phone that opens `url`."""
        session = await browser.new_browser_cdp_session()
        phone = cls(session)
        session.on("Target.receivedMessageFromTarget", phone._receive)
        context = (await session.send("Target.createBrowserContext"))["browserContextId"]
        try:
            target = await session.send(
                "Target.createTarget", {"url": url, "browserContextId": context}
            )
            attached = await session.send(
                "Target.attachToTarget", {"targetId": target["targetId"], "flatten": False}
            )
            phone._session = attached["sessionId"]
            yield phone
        finally:
            await session.send("Target.disposeBrowserContext", {"browserContextId": context})
            await session.detach()

    async def lock(self) -> None:
        """Hide and freeze the page."""
        await self._send("Page.setWebLifecycleState", state="frozen")

    async def unlock(self) -> None:
        await self._send("Page.setWebLifecycleState", state="active")

    async def value(self, script: str) -> Any:
        """The value of an expression in the page, which must not be frozen; None if the page
        navigates meanwhile."""
        reply = await self._send("Runtime.evaluate", expression=script, returnByValue=True)
        if "error" in reply:
            assert reply["error"]["code"] == _LEFT, reply
            return None
        return reply["result"]["result"].get("value")

    def _receive(self, event: dict[str, Any]) -> None:
        message = json.loads(event["message"])
        reply = self._replies.pop(message.get("id"), None)
        if reply is not None:
            reply.set_result(message)

    async def _send(self, method: str, **parameters: object) -> dict[str, Any]:
        self._sent += 1
        reply = asyncio.get_running_loop().create_future()
        self._replies[self._sent] = reply
        message = {"id": self._sent, "method": method, "params": parameters}
        await self._browser.send(
            "Target.sendMessageToTarget",
            {"sessionId": self._session, "message": json.dumps(message)},
        )
        async with asyncio.timeout(_TIMEOUT_S):
            result: dict[str, Any] = await reply
        return result
