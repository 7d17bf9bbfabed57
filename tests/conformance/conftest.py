"""A gate for each test; one that takes `fast_path`, `open_stage` or `stage` runs on both paths."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conformance.gate_pair import Stage, StageOpener
    from tests.conformance.tls_stage import Tls


@pytest.fixture(params=[True, False], ids=["fast path", "aiohttp"])
def fast_path(request: pytest.FixtureRequest) -> bool:
    """Whether the fast path is on."""
    return bool(request.param)


@pytest.fixture
def open_stage(fast_path: bool, store_url: str) -> StageOpener:
    """`running_stage` on the test's path."""
    from tests.conformance.gate_pair import running_stage  # see `pytest_configure`

    return partial(running_stage, store_url=store_url, fast_path=fast_path)


@pytest.fixture
async def stage(open_stage: StageOpener) -> AsyncIterator[Stage]:
    """A gate whose origin responds `OK` to every request."""
    from tests.integration.proxy.forwarding import OK, responding

    async with open_stage(responding(OK)) as stage:
        yield stage


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    from tests.conformance.tls_stage import certificate

    return certificate(tmp_path)


@pytest.fixture(autouse=True)
def brief_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Discard the rest of a rejected upload for a moment only."""
    from gatekeeper.proxy import SERVER_OPTIONS  # see `pytest_configure`

    monkeypatch.setitem(SERVER_OPTIONS, "lingering_time", 0.2)
