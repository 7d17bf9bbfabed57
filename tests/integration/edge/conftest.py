"""One gate with an edge for all tests of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.edge.edge_stage import Edge, running_edge


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def edge() -> AsyncIterator[Edge]:
    async with running_edge() as edge:
        yield edge
