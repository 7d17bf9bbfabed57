"""`gatekeeper simulate` as a command of its own, against a real gate."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gatekeeper.demo.shop import start_origin
from gatekeeper.simulate.verdict import PROMPT
from tests.gates import GateProcess

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


@asynccontextmanager
async def serving(*, rate: str) -> AsyncIterator[GateProcess]:
    origin = await start_origin()
    try:
        with GateProcess(TOML.format(origin=origin.url, rate=rate)) as gate:
            yield await gate.wait_until_serving()
    finally:
        await origin.stop()


async def simulating(*words: str) -> Process:
    command = (sys.executable, "-m", "gatekeeper.cli", "simulate", "--json", *words)
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)


async def told_by(process: Process) -> tuple[dict[str, Any], str]:
    """The whole of standard output as JSON, and what stood on standard error."""
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    return json.loads(out), err.decode()


def held(told: dict[str, Any]) -> dict[str, bool | None]:
    return {each["name"]: each["held"] for each in told["promises"]}


async def test_those_near_the_front_of_a_real_gate_are_let_in_soon_after_their_release() -> None:
    async with serving(rate="300/min") as gate:
        shares = ("--leavers", "0.1", "--ghosts", "0.1", "--jumpers", "0.2")
        crowd = ("--visitors", "40", "--at-once", "30", "--burst", "3", "--visit-for", "0.5")
        told, err = await told_by(
            process := await simulating(gate.url, "--admin", gate.admin_url, *crowd, *shares)
        )

    assert process.returncode == 0, told
    assert told["ok"]
    assert held(told)[PROMPT] is True
    assert told["figures"]["near_front"] > 10
    assert told["figures"]["let_in_after_release_s"]["max"] < DEADLINE_S
    assert "arrived" in err


async def test_a_run_that_is_interrupted_tells_the_verdict_so_far() -> None:
    async with serving(rate="30/min") as gate:
        process = await simulating(gate.url, "--visitors", "50", "--at-once", "50", "--burst", "3")
        assert process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            while b" 50 arrived" not in await process.stderr.readline():
                pass
        process.send_signal(signal.SIGINT)
        told, err = await told_by(process)

    assert process.returncode == 0, told
    assert told["figures"]["arrived"] == 50
    assert told["figures"]["still_waiting"] > 0
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("address", "why"),
    [("http://127.0.0.1:1", "no gate answers"), ("ftp://gate", "expected an address")],
)
async def test_a_run_that_cannot_begin_says_why_with_status_2(address: str, why: str) -> None:
    process = await simulating(address)
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()

    assert process.returncode == 2
    assert out == b""
    assert why in err.decode()
    assert len(err.splitlines()) == 1
