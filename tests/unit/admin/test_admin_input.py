"""What the admin API reads from a request."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gatekeeper.admin import admin_input
from gatekeeper.errors import BadRequest


async def test_body_that_does_not_arrive_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise all connections of the listener could wait for a body, and nothing would end
    them."""
    monkeypatch.setattr(admin_input, "_TIMEOUT_S", 0.05)
    request: Any = SimpleNamespace(read=asyncio.Event().wait)
    with pytest.raises(BadRequest) as refused:
        await admin_input.json_object(request, example='{"rate": "8/s"}')
    expected = 'expected a JSON object, e.g. {"rate": "8/s"}'
    assert refused.value.public == f"body: did not arrive within 0.05 s; {expected}"
