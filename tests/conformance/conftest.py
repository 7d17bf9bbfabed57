"""Every test of this folder that takes `express` runs on both paths."""

import pytest

from gatekeeper.proxy import SERVER_OPTIONS


@pytest.fixture(params=[True, False], ids=["lane", "long way"])
def express(request: pytest.FixtureRequest) -> bool:
    """Whether the express lane is on."""
    return bool(request.param)


@pytest.fixture(autouse=True)
def brief_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of a refused upload is read away for a moment only."""
    monkeypatch.setitem(SERVER_OPTIONS, "lingering_time", 0.2)
