"""The end of a worker process."""

import asyncio
import os
from dataclasses import dataclass

import pytest

from gatekeeper.config.schema import Config
from gatekeeper.process import worker
from gatekeeper.process.commands import WorkerPlan


async def test_worker_that_hangs_at_its_end_exits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor has exited, so it cannot end the worker."""
    exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @dataclass
    class HungWorker:
        plan: WorkerPlan
        replica: str = "r"

        async def start(self) -> None:
            pass

        async def close(self) -> None:
            await exited

    async def supervisor_exits(_: object, stop: asyncio.Event) -> None:
        stop.set()

    config = Config.model_validate(
        {"origin": {"url": "http://127.0.0.1:9"}, "server": {"shutdown_timeout": "1ms"}}
    )
    monkeypatch.setattr(worker, "Worker", HungWorker)
    monkeypatch.setattr(worker, "obey_supervisor", supervisor_exits)
    monkeypatch.setattr(worker, "_EXIT_TIMEOUT_S", 0.01)
    monkeypatch.setattr(os, "_exit", exited.set_result)
    await worker.serve(WorkerPlan(config, "", "off", (), "127.0.0.1", 0))
    assert exited.result() == 1
