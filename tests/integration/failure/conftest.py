"""The ways in which a store is lost."""

import pytest

from tests.integration.failure.outage import LOSSES, Loss


@pytest.fixture(params=LOSSES)
def lose(request: pytest.FixtureRequest) -> Loss:
    return LOSSES[request.param]
