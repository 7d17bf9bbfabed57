"""Every test of this folder that takes `fast_path` runs on both paths."""

import pytest


@pytest.fixture(params=[True, False], ids=["fast path", "aiohttp"])
def fast_path(request: pytest.FixtureRequest) -> bool:
    """Whether the fast path is on."""
    return bool(request.param)


@pytest.fixture(autouse=True)
def brief_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Discard the rest of a rejected upload for a moment only."""
    from gatekeeper.proxy import SERVER_OPTIONS  # not imported where tests are handed out

    monkeypatch.setitem(SERVER_OPTIONS, "lingering_time", 0.2)
