"""Detection of a server that hangs, tested without a server."""

import asyncio
from collections.abc import Iterator

import pytest

from gatekeeper.process import server_watch
from gatekeeper.process.server_watch import HANGING_AFTER, SILENT_AFTER, ServerWatch


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_watch, "PROBE_EVERY_S", 0.0)
    monkeypatch.setattr(server_watch, "RESPONSE_TIMEOUT_S", 0.001)


class Server:
    """Responds by the script; at the end of the script the watch is cancelled."""

    def __init__(self, script: str) -> None:
        self._script: Iterator[str] = iter(script)
        self.watch = ServerWatch(self, "store")
        self.silent: list[bool] = []
        self.killed = self.ended = False

    async def probe(self) -> None:
        self.silent.append(self.watch.is_silent)
        match next(self._script, "end"):
            case "-":
                await asyncio.Event().wait()
            case "!":
                raise RuntimeError("a defect")
            case "end":
                raise asyncio.CancelledError

    def close_probe(self) -> None:
        self.ended = True

    def kill(self) -> None:
        self.killed = True


async def watched(script: str) -> Server:
    server = Server(script)
    [result] = await asyncio.gather(server.watch.run(), return_exceptions=True)
    assert result is None or isinstance(result, asyncio.CancelledError)
    assert server.ended
    return server


async def test_silent_server_is_killed() -> None:
    server = await watched("++" + "-" * HANGING_AFTER + "+")
    assert server.killed
    assert len(server.silent) == 2 + HANGING_AFTER


@pytest.mark.parametrize("script", ["++++", "---+---+---+", "---!---!---!"])
async def test_server_that_responds_now_and_then_is_kept(script: str) -> None:
    assert not (await watched(script)).killed


async def test_server_is_silent_before_it_is_killed_and_recovers() -> None:
    server = await watched("-" * (HANGING_AFTER - 1) + "++")
    expected = [count >= SILENT_AFTER for count in range(HANGING_AFTER)]
    assert server.silent == [*expected, False, False]
