"""`gatekeeper simulate` as a command, against a real gate."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gatekeeper.demo.shop import start_origin
from gatekeeper.simulate.opening_promises import DRAW, EARLY, PROMPT
from gatekeeper.simulate.verdict import ORDER, RELEASE_DELAY
from tests.gates import GateProcess, GateStarter, run_here

DEADLINE_S = 60.0
TOML = """
[server]
listen = "127.0.0.1:0"
workers = 2
[origin]
url = "{origin}"
[admission]
rate = "{rate}"
burst = 3
[admin]
listen = "127.0.0.1:0"
"""


EVENT = """
[[event]]
name = "sale"
prequeue = {prequeue}
start = {start}
"""


def event_in(seconds: float) -> str:
    """An event whose prequeue has begun and that starts in `seconds`."""
    now = datetime.now(UTC)
    start = now + timedelta(seconds=seconds)
    return EVENT.format(prequeue=now.isoformat(), start=start.isoformat())


async def add_to_file(gate: GateProcess, event: str) -> None:
    """Add this event to the file, and wait until the gate has read it."""
    gate.file.write_text(gate.file.read_text() + event)
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
        session.post(f"{gate.admin_url}/admin/reload") as response,
    ):
        assert response.status == 200


@asynccontextmanager
async def serving(*, rate: str) -> AsyncIterator[GateProcess]:
    origin = await start_origin()
    try:
        with GateProcess(TOML.format(origin=origin.url, rate=rate)) as gate:
            yield await gate.wait_until_serving()
    finally:
        await origin.stop()


async def start_simulate(*words: str) -> Process:
    command = (sys.executable, "-m", "gatekeeper.cli", "simulate", "--json", *words)
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)


async def output_of(process: Process) -> tuple[dict[str, Any], str]:
    """Standard output as JSON, and standard error as text."""
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    return json.loads(out), err.decode()


def held(verdict: dict[str, Any]) -> dict[str, bool | None]:
    return {each["name"]: each["held"] for each in verdict["promises"]}


async def test_real_gate_keeps_release_delay_near_front() -> None:
    async with serving(rate="300/min") as gate:
        shares = ("--leavers", "0.1", "--ghosts", "0.1", "--jumpers", "0.2")
        crowd = ("--visitors", "40", "--at-once", "30", "--burst", "3", "--visit-for", "0.5")
        verdict, err = await output_of(
            process := await start_simulate(gate.url, "--admin", gate.admin_url, *crowd, *shares)
        )

    assert process.returncode == 0, verdict
    assert verdict["ok"]
    assert held(verdict)[RELEASE_DELAY] is True
    assert verdict["figures"]["near_front"] > 10
    assert verdict["figures"]["let_in_after_release_s"]["max"] < DEADLINE_S
    assert "arrived" in err


async def test_real_gate_keeps_promises_of_opening() -> None:
    async with serving(rate="600/min") as gate:
        await add_to_file(gate, event_in(16))
        crowd = ("--visitors", "60", "--burst", "3", "--late-within", "2", "--visits", "0")
        verdict, _ = await output_of(
            process := await start_simulate(gate.url, "--event", "sale", *crowd)
        )

    assert process.returncode == 0, verdict
    assert all(held(verdict)[name] for name in (ORDER, EARLY, PROMPT, DRAW)), verdict
    opening = verdict["figures"]["opening"]
    assert (opening["participants"], opening["arrived_after_start"]) == (54, 6)
    assert verdict["figures"]["responses_judged"] > 100


async def test_interrupted_run_prints_verdict_so_far(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="30/min", burst=3)
    process = await start_simulate(gate.url, "--visitors", "50", "--at-once", "50", "--burst", "3")
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        while b" 50 arrived" not in await process.stderr.readline():
            pass
    process.send_signal(signal.SIGINT)
    verdict, err = await output_of(process)

    assert process.returncode == 0, verdict
    assert verdict["figures"]["arrived"] == 50
    assert verdict["figures"]["still_waiting"] > 0
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("address", "reason"),
    [("http://127.0.0.1:1", "no gate responds"), ("ftp://gate", "is not an HTTP URL")],
)
def test_run_that_cannot_start_exits_2_with_reason(
    address: str, reason: str, tmp_path: Path
) -> None:
    done = run_here("simulate", "--json", address, folder=tmp_path)

    assert done.returncode == 2
    assert done.stdout == ""
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
