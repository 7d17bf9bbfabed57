"""One gate and one origin for all proxies, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.integration.forward_auth.auth_stage import RunningProxy, Stage, running_stage
from tests.integration.forward_auth.proxies import PROXIES
from tests.servers import StoreServer


@pytest.fixture(scope="session")
def stage_store() -> Iterator[StoreServer]:
    with StoreServer() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(stage_store: StoreServer) -> AsyncIterator[Stage]:
    async with running_stage(stage_store) as stage:
        yield stage


@pytest_asyncio.fixture(
    scope="module", loop_scope="session", params=PROXIES, ids=lambda proxy: proxy.name
)
async def served(request: pytest.FixtureRequest, stage: Stage) -> AsyncIterator[RunningProxy]:
    async with stage.running(request.param) as served:
        yield served
