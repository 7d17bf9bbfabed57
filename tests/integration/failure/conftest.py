"""The ways in which a store is lost."""

import pytest

from tests.integration.failure.outage import OUTAGES, Outage


@pytest.fixture(params=OUTAGES)
def break_store(request: pytest.FixtureRequest) -> Outage:
    return OUTAGES[request.param]
