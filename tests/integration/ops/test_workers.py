"""Processes of a gate that die are replaced."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from gatekeeper import metrics
from gatekeeper.config.types import RoomName
from gatekeeper.process import children
from gatekeeper.process.commands import WorkerPlan
from gatekeeper.process.liveness import WorkerWatch
from gatekeeper.process.worker import Worker
from tests.builders import SECRET, parse_config, room_toml
from tests.gates import GateProcess, Origin, Visitor
from tests.integration.ops.process_settings import settings
from tests.servers import StoreServer, eventually


async def test_killed_processes_are_replaced_and_visitors_continue() -> None:
    """The worker first, then the embedded servers of the same gate."""
    more = '[admission]\nrate = "60/min"\nburst = 1'
    async with Origin.running() as origin:
        with GateProcess(settings(origin.url, more=more)) as gate:
            await gate.wait_until_serving()
            [worker] = gate.workers()
            async with (
                Visitor(gate.url) as inside,
                Visitor(gate.url) as waiting,
                Visitor(gate.admin_url) as operator,
            ):
                await inside.enter()
                assert (await inside.get())[0] == 200
                assert (await gate.command("mode", "hold")).returncode == 0
                assert (await waiting.join())["position"] == 1

                async def is_missed() -> bool:
                    for pid in gate.workers():  # also a new one, until it is detected
                        os.kill(pid, signal.SIGKILL)
                    unready = await operator.request("GET", "/readyz")
                    problems = ["worker 1 is not serving"]
                    return unready.status == 503 and unready.json["problems"] == problems

                await eventually(is_missed)
                assert "worker_exited" in gate.errors()

                async def is_ready() -> bool:
                    return (await operator.request("GET", "/readyz")).status == 200

                await eventually(is_ready)
                assert len(gate.workers()) == 1
                assert worker not in gate.workers()
                assert (await inside.get())[0] == 200
                assert (await waiting.status())["position"] == 1

                servers = [pid for pid in gate.pids() if pid not in gate.workers()]
                assert len(servers) == 2
                for pid in servers:
                    os.kill(pid, signal.SIGKILL)
                await eventually(
                    lambda: (
                        gate.errors().count("embedded_server_exited") == 2 and len(gate.pids()) == 3
                    )
                )

                async def is_in_line_again() -> bool:
                    return bool((await waiting.status()).get("position") == 1)

                await eventually(is_in_line_again, 40)
                async with Visitor(gate.url) as second:
                    assert (await second.join())["position"] == 2


async def test_worker_that_hangs_is_unready_and_replaced() -> None:
    """The timeouts are those of `test_liveness`. The counts of its requests are kept."""
    with GateProcess(settings(more='[admission]\nrate = "0"')) as gate:
        await gate.wait_until_serving()
        [worker] = gate.workers()
        async with Visitor(gate.admin_url) as operator:

            async def ready() -> list[str]:
                response = await operator.request("GET", "/readyz")
                problems: list[str] = response.json.get("problems", [])
                return problems

            async def waiting() -> float:
                metrics = (await operator.request("GET", "/metrics")).text
                [line] = [
                    each
                    for each in metrics.splitlines()
                    if each.startswith("gatekeeper_requests_total")
                    and 'room="default"' in each
                    and 'outcome="waiting"' in each
                ]
                return float(line.rpartition(" ")[2])

            async with Visitor(gate.url) as visitor:
                assert (await visitor.join())["position"] == 1

            async def counted() -> bool:
                return await waiting() >= 1

            await eventually(counted)
            before = await waiting()
            os.kill(worker, signal.SIGSTOP)

            async def unready() -> bool:
                return await ready() == ["worker 1 does not respond"]

            await eventually(unready)

            async def replaced() -> bool:
                return not await ready() and worker not in gate.workers()

            await eventually(replaced, 60)
            async with Visitor(gate.url) as other:
                assert (await other.get())[0] == 503
            assert await waiting() >= before
            assert '"worker_hangs"' in gate.errors()


async def test_worker_that_stops_while_it_starts_is_replaced(
    store_url: str, room_name: RoomName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never wrote a heartbeat. A start has a minute."""
    started: list[int] = []
    create = asyncio.create_subprocess_exec

    async def noted(*words: Any, **options: Any) -> asyncio.subprocess.Process:
        process = await create(*words, **options)
        started.append(process.pid)
        if len(started) == 2:
            process.send_signal(signal.SIGSTOP)
        return process

    monkeypatch.setattr("gatekeeper.process.children.asyncio.create_subprocess_exec", noted)
    config = parse_config(room_toml(room_name), folder=tmp_path)
    worker = children.WorkerProcess(
        WorkerPlan(config, store_url, "off", (SECRET,), "127.0.0.1", 0), tmp_path
    )
    watch = WorkerWatch([worker], tmp_path)
    try:
        await worker.start()
        watch.start()
        worker.kill()
        await eventually(lambda: len(started) > 2 and worker.serving)
    finally:
        await watch.close()
        await worker.stop()


async def test_start_that_waits_for_the_store_has_heartbeats(
    private_store: StoreServer, room_name: RoomName, tmp_path: Path
) -> None:
    """Else it looks like one that hangs."""
    config = parse_config(f'[store]\ntimeout = "40s"\n{room_toml(room_name)}', folder=tmp_path)
    worker = Worker(WorkerPlan(config, private_store.url, "off", (SECRET,), "127.0.0.1", 0))
    metrics.heartbeat.set(0)
    private_store.pause()
    start = asyncio.create_task(worker.start())
    name = "gatekeeper_worker_heartbeat_timestamp_seconds"
    await eventually(lambda: REGISTRY.get_sample_value(name))
    assert not start.done()
    private_store.resume()
    await start
    await worker.close()


async def test_worker_that_served_long_is_replaced_at_once(
    store_url: str, room_name: RoomName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses_s: list[float] = []
    sleep = asyncio.sleep

    async def noted(delay_s: float) -> None:
        pauses_s.append(delay_s)
        await sleep(0)

    monkeypatch.setattr(children, "_HEALTHY_AFTER_S", 0.0)
    monkeypatch.setattr("gatekeeper.process.children.asyncio.sleep", noted)
    config = parse_config(room_toml(room_name), folder=tmp_path)
    plan = WorkerPlan(config, store_url, "off", (SECRET,), "127.0.0.1", 0)
    worker = children.WorkerProcess(plan, tmp_path)
    await worker.start()
    try:
        first = worker.pid
        worker.signal(signal.SIGKILL)
        async with asyncio.timeout(40):
            while worker.pid == first or not worker.serving:
                await sleep(0.05)
    finally:
        await worker.stop()
    assert pauses_s == [0.1]
