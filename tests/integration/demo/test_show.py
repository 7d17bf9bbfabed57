"""`gatekeeper demo` as a process: everything in it works, and nothing remains after its end."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.ports import taken_port

TIMEOUT = aiohttp.ClientTimeout(total=10)
HTML = {"Accept": "text/html"}

# Its preferred ports are occupied, so that it selects free ones and parallel tests do not collide.
DEMO = """
import sys, uvloop
from gatekeeper.demo import show
show._PORT, show._ADMIN_PORT = {public}, {admin}
sys.exit(uvloop.run(show.demo(port=None, visitors=10, event={event}, prequeue_s=6)))
"""


@asynccontextmanager
async def running_demo(
    folder: Path, *, event: bool = False
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """The process, and the URLs it prints: shop and control room."""
    with taken_port() as public, taken_port() as admin:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", DEMO.format(public=public, admin=admin, event=event)),
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        output = ""
        try:
            async with asyncio.timeout(40):
                while "Ctrl-C" not in output:
                    line = (await process.stdout.readline()).decode()
                    assert line, f"the demo ended: {output}"
                    output += line
            urls = re.findall(r"http://127\.0\.0\.1:\d+", output)
            assert f"GATEKEEPER_ADMIN__LISTEN={urls[1].removeprefix('http://')}" in output
            yield process, urls
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_demo_queues_visitors_and_ends_on_sigterm(short_folder: Path) -> None:
    async with (
        running_demo(short_folder) as (process, (shop, control_room)),
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
    ):
        async with asyncio.timeout(40):  # they return their tickets within a second
            while await _queue_length(session, control_room) < 5:  # noqa: ASYNC110  a process
                await asyncio.sleep(0.1)
        async with session.get(shop, headers=HTML) as page:
            assert page.status == 503
            assert "You are in line" in await page.text()
        async with session.get(control_room) as page:
            assert page.status == 200

        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        async with asyncio.timeout(30):
            rest = (await process.stdout.read()).decode()
            assert await process.wait() == 0
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(shop)

    assert "The demo has ended" in rest
    assert files_in(short_folder) == []


async def test_demo_of_event_draws_opens_and_ends_on_sigint(short_folder: Path) -> None:
    async with (
        running_demo(short_folder, event=True) as (process, urls),
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
    ):
        assert process.stdout is not None
        record = f"{urls[0]}/.gatekeeper/draw/sale"
        assert urls.count(urls[0]) == 3  # the shop, the draw, and how to verify it
        async with session.get(record) as response:
            announced = await response.json()
        async with asyncio.timeout(60):
            while (drawn := await _json(session, record))["state"] != "drawn":  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        output = ""
        async with asyncio.timeout(60):
            while " admitted" not in output or " 0 admitted" in output:
                output = (await process.stdout.readline()).decode()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            rest = (await process.stdout.read()).decode()
            assert await process.wait() == 0

    assert announced["state"] == "committed"
    assert announced["secret"] is None
    assert drawn["commitment"] == announced["commitment"]
    assert drawn["participants"] >= 5
    assert "The demo has ended" in rest
    assert files_in(short_folder) == []


async def _json(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url) as response:
        found: dict[str, Any] = await response.json()
        return found


async def _queue_length(session: aiohttp.ClientSession, control_room: str) -> int:
    """The queue length once most of the crowd are in line."""
    async with asyncio.timeout(40):
        while True:
            async with session.get(f"{control_room}/admin/status") as response:
                (room,) = (await response.json())["rooms"]
            if room["queue_length"] >= 5:
                return int(room["queue_length"])
            await asyncio.sleep(0.1)
