"""A real Chromium for tests of the pages.

Rules: one browser per session, and one more for a file that needs the whole Chromium; one fresh
context per test. A console error, a script error or a violated Content-Security-Policy fails the
test that caused it. A missing browser is an error, not a skip.
"""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from copy import deepcopy
from pathlib import Path
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

from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.auth import Credential
from gatekeeper.admin.edge_status import EdgeStatus
from tests.admin import running_admin
from tests.browser.dashboard_stage import Control, Show
from tests.browser.sale import NOW, Sale
from tests.browser.scripted_gate import FakeGate
from tests.browser.stage import RECORD_DELAYS, set_stage
from tests.servers import StoreServer

_WHOLE = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The same engine without windows, tabs and prompts: it needs two thirds of the CPU time per page.
_SHELL = ("chromium-headless-shell", "chrome-headless-shell")
# The first three belong to Chromium's address bar: pages that cost more than the page under test.
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

    Without `whole`, its headless shell if installed, which shows no notifications and has fixed
    privacy settings.
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


# The control room, during a sale.


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def quarter() -> Sale:
    """The sale after its first quarter of an hour. Shared by the tests: take a copy."""
    sale = Sale(NOW)
    await sale.run(900)
    return sale


@pytest.fixture(scope="session")
def sale_store() -> Iterator[StoreServer]:
    """A store for the control room; each `show` empties it."""
    with StoreServer() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def show(quarter: Sale, sale_store: StoreServer, tmp_path: Path) -> AsyncIterator[Show]:
    """Start a listener of the control room after the first quarter of an hour."""
    async with AsyncExitStack() as stack:

        async def show(*credentials: Credential) -> Control:
            sale = deepcopy(quarter)
            audit = AuditLog(tmp_path, wall_s=sale.now_s)
            edge: list[EdgeStatus] = []
            await sale.write(audit)
            sale_store.flush()
            async with running_admin(sale_store.url, "sale", "checkout") as first:
                await first.request("GET", "/admin/status")  # else a change waits for replicas
            running = running_admin(
                sale_store.url,
                "sale",
                "checkout",
                credentials=credentials,
                monitor=sale.monitor,
                audit=audit,
                max_active=0,
                autotune=True,
                edge=lambda: edge[0] if edge else None,
            )
            admin = await stack.enter_async_context(running)
            return Control(sale, audit, admin.urls[0] + "/", edge)

        yield show


@pytest_asyncio.fixture(loop_scope="session")
async def control(show: Show) -> Control:
    """One without tokens."""
    return await show()


@pytest_asyncio.fixture(loop_scope="session")
async def visit_room(new_page: NewPage, control: Control) -> Visit:
    """Open the control room with the page's clock stopped, and count its requests."""

    async def open_(**options: Any) -> Page:
        page = await new_page(**options)
        page.on("request", lambda _: setattr(control, "asked", control.asked + 1))
        await set_stage(page)
        await page.goto(control.url)
        await expect(page.locator("#connection")).to_have_text("Live")
        return page

    return open_
