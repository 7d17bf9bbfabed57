"""The pictures of the README, taken from the running demo: `make pictures`.

Rules: loopback only, the installed Chromium, and the demo as an operator starts it. The picture of
the control room is taken when its charts have `_CHART_S` of data.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests.browser.conftest import launch_options

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "docs" / "images"
_PHONE = {"width": 390, "height": 844}
_DESKTOP = {"width": 1280, "height": 1070}
_CHART_S = 120.0
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0
_LOCAL_URL = re.compile(r"http://127\.0\.0\.1:[0-9]+")


@asynccontextmanager
async def running_demo() -> AsyncIterator[tuple[str, str]]:
    """The URLs of the demo's gate and of its control room."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gatekeeper.cli", "demo", "--visitors", "80"),
        cwd=_ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    drain: asyncio.Task[bytes] | None = None
    try:
        urls: list[str] = []
        async with asyncio.timeout(_START_TIMEOUT_S):
            while len(urls) < 2:
                line = (await process.stdout.readline()).decode()
                if not line:
                    raise RuntimeError("the demo stopped before it was ready")
                urls += [url for url in _LOCAL_URL.findall(line) if url not in urls]
        drain = asyncio.create_task(process.stdout.read(), name="demo output")
        yield urls[0] + "/", urls[1] + "/"
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await process.wait()
        if drain is not None:
            await drain


async def take(browser: Browser, *, gate_url: str, admin_url: str) -> None:
    """Write both pictures."""
    desktop = await browser.new_context(viewport=_DESKTOP, locale="en-US")  # type: ignore[arg-type]
    control_room = await desktop.new_page()
    await control_room.goto(admin_url)
    await asyncio.sleep(_CHART_S)
    phone = await browser.new_context(
        viewport=_PHONE,  # type: ignore[arg-type]
        device_scale_factor=2,
        has_touch=True,
        is_mobile=True,
        locale="en-US",
    )
    waiting = await phone.new_page()
    await waiting.goto(gate_url)
    await waiting.locator("html[data-state=waiting]").wait_for(state="attached")
    await asyncio.sleep(3)
    await waiting.screenshot(path=_FOLDER / "waiting-page-phone.png")
    await control_room.screenshot(path=_FOLDER / "control-room.png")
    await phone.close()
    await desktop.close()


async def main() -> None:
    _FOLDER.mkdir(parents=True, exist_ok=True)
    async with running_demo() as (gate_url, admin_url), async_playwright() as playwright:
        browser = await playwright.chromium.launch(**launch_options())
        try:
            await take(browser, gate_url=gate_url, admin_url=admin_url)
        finally:
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
