"""A fake verifier of Turnstile and hCaptcha, and its replies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

SECRET = "0x" + "s" * 40
Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FakeVerifier:
    """A provider's verifier. It accepts every response that begins with "good" once."""

    url: str = ""
    calls: list[dict[str, str]] = field(default_factory=list)
    used: dict[str, str] = field(default_factory=dict)  # response to idempotency key
    respond: Respond | None = None  # instead of the usual reply
    reply: dict[str, Any] = field(default_factory=dict)  # more fields of a successful reply

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.calls.append(form)
        if self.respond is not None:
            return await self.respond(request)
        response, key = form["response"], form.get("idempotency_key", "")
        if not response.startswith("good") or form["secret"] != SECRET:
            return refusal("invalid-input-response")
        if self.used.setdefault(response, key) != key or (not key and len(self.calls) > 1):
            return refusal("timeout-or-duplicate")
        return web.json_response({"success": True, "error-codes": [], **self.reply})


def refusal(*codes: str, status: int = 200) -> web.Response:
    return web.json_response({"success": False, "error-codes": list(codes)}, status=status)


def sends(text: str, status: int = 200) -> Respond:
    async def respond(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=status)

    return respond
