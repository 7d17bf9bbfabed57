"""The ways in which a store becomes unreachable."""

import pytest

from tests.integration.failure.outage import OUTAGES, Outage


@pytest.fixture(params=OUTAGES)
def break_store(request: pytest.FixtureRequest) -> Outage:
    """Kills or pauses a store."""
    return OUTAGES[request.param]
