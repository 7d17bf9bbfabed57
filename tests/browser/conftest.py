"""A real Chromium for tests of the pages.

Rules: one browser per session, and one more for a file that needs the whole Chromium; one fresh
context per test. A console error, a script error or a violated Content-Security-Policy fails the
test that caused it. A missing browser is an error, not a skip.
"""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    async_playwright,
    expect,
)

from tests.browser.scripted_gate import FakeGate
from tests.browser.stage import RECORD_DELAYS, set_stage

_WHOLE = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The same engine without windows, tabs and prompts of its own: two thirds of the CPU time per page.
_SHELL = ("chromium-headless-shell", "chrome-headless-shell")
# The first three are Chromium's own address bar: pages that cost more than the page under test.
# The switch replaces Playwright's own, so the rest is Playwright's list (`chromiumSwitches.ts`).
_DISABLED = (
    "WebUIOmniboxPopup",
    "WebUIOmniboxFullPopup",
    "WebUIOmniboxAimPopup",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "AimEnabled",
    "PreconnectToSearch",
)
_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(_DISABLED)}",
]
_STEP_TIMEOUT_MS = 30_000
expect.set_options(timeout=_STEP_TIMEOUT_MS)

NewPage = Callable[..., Awaitable[Page]]
Visit = Callable[..., Awaitable[Page]]


def _first_on_path(*names: str) -> str:
    for name in names:
        if path := shutil.which(name):
            return path
    pytest.fail(f"browser tests need a Chromium on PATH, one of: {', '.join(names)}")


def launch_options(*, whole: bool = True) -> dict[str, Any]:
    """The keywords of Playwright's `launch` for the installed Chromium.

    Without `whole`, its headless shell where there is one: that shows no notification, and its
    privacy settings cannot be changed.
    """
    program = _first_on_path(*_WHOLE) if whole else _first_on_path(*_SHELL, *_WHOLE)
    return {"executable_path": program, "args": _ARGS, "timeout": 60_000}


@asynccontextmanager
async def launched_browser(options: dict[str, Any]) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**options)
        try:
            yield browser
        finally:
            await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with launched_browser(launch_options(whole=False)) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def new_page(browser: Browser) -> AsyncIterator[NewPage]:
    """Make a page in a context of its own; keywords are those of `Browser.new_context`."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        # Chromium logs every response from 400 up; a waiting response has status 503.
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    async def make(**options: Any) -> Page:
        context = await browser.new_context(**{"locale": "en-US", "timezone_id": "UTC"} | options)
        context.set_default_timeout(_STEP_TIMEOUT_MS)
        contexts.append(context)
        page = await context.new_page()
        page.on("console", on_console)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield make
    for context in contexts:
        await context.close()
    assert complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def gate() -> AsyncIterator[FakeGate]:
    async with FakeGate() as gate:
        yield gate


@pytest_asyncio.fixture(loop_scope="session")
async def visit(new_page: NewPage, gate: FakeGate) -> Visit:
    """Open an address behind the gate with the page's clock stopped, and record poll delays."""

    async def open_(path: str = "/tickets?day=1", *, script: str = "", **options: Any) -> Page:
        page = await new_page(**options)
        await set_stage(page)
        await page.add_init_script(RECORD_DELAYS + script)
        await page.goto(gate.url + path)
        return page

    return open_
