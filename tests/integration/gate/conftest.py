"""Fixtures of several files. They import what they use, as those of `tests/contract` do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.integration.gate.fake_verifier import FakeVerifier


@pytest.fixture(params=["fast path", "aiohttp"])
def way(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """Fields with which a check takes the fast path, or does not."""
    return {} if request.param == "fast path" else {"TE": "trailers"}


@pytest.fixture
async def verifier() -> AsyncIterator[FakeVerifier]:
    from aiohttp import web

    from tests.integration.gate.fake_verifier import FakeVerifier
    from tests.web_app import serving

    fake = FakeVerifier()
    async with serving(web.post("/verify", fake.handle)) as url:
        fake.url = f"{url}/verify"
        yield fake
