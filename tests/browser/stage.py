"""Controls a page: stops its clock, hides its tab, waits for its polls."""

import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from playwright.async_api import Locator, Page, Route, expect

from tests.browser.scripted_gate import VIEW

NOW = datetime(2026, 11, 23, 20, 31, tzinfo=UTC)
REFRESH_S = VIEW.refresh_seconds
MAX_DELAY_S = REFRESH_S * 1.2  # seconds, the longest delay until the next poll

# Marks the page from the arrival of a response until the page has handled it.
POLLING = r"""
const fetched = window.fetch;
window.fetch = (address, ...rest) => {
    const response = fetched(address, ...rest);
    if (!/\/(status|overview|audit)\?/.test(address)) return response;
    const mark = document.documentElement.dataset;
    const done = () => { delete mark.polling; };
    mark.polling = "";
    response.then((response) => {
        const json = response.json.bind(response);
        response.json = () => json().finally(done);
    }, done);
    return response;
};
"""


async def set_stage(page: Page, *, now: datetime = NOW) -> None:
    """Stop the page's clock; call it before the first navigation."""
    await page.add_init_script("window.realTimeout = window.setTimeout.bind(window);")
    await page.clock.install(
        time=now - timedelta(minutes=1)
    )  # a clock can only be stopped at a later time
    await page.clock.pause_at(now)
    await page.add_init_script(
        "Object.defineProperty(document, 'hidden', { get: () => window.isHidden === true });"
        + POLLING
    )


async def record_announcements(page: Page) -> None:
    """From now on `window.announced` collects what screen readers receive."""
    await page.evaluate(
        """() => {
            window.announced = [];
            const live = document.getElementById("live");
            new MutationObserver(() => window.announced.push(live.textContent))
                .observe(live, { childList: true, characterData: true, subtree: true });
        }"""
    )


async def pass_time(page: Page, seconds: float) -> None:
    await page.clock.run_for(math.ceil(seconds * 1000))


async def poll(page: Page, *, within_s: float = MAX_DELAY_S) -> None:
    """Let time pass until the page has polled once more and handled the response."""
    async with page.expect_response("**/.gatekeeper/status?*"):
        await pass_time(page, within_s)
    await is_handled(page)


async def is_handled(page: Page) -> None:
    """The page has handled the response of each poll."""
    await expect(page.locator("html[data-polling]")).to_have_count(0)


@asynccontextmanager
async def poll_without_a_response(page: Page) -> AsyncIterator[None]:
    """One poll without a response from the gate; later polls get one."""
    held: list[Route] = []

    async def hold_first(route: Route) -> None:
        held.append(route)
        if len(held) > 1:
            await route.continue_()

    await page.route("**/.gatekeeper/status?*", hold_first)
    async with page.expect_request("**/.gatekeeper/status?*"):
        await pass_time(page, MAX_DELAY_S)
    yield
    await page.unroute("**/.gatekeeper/status?*")


async def hide_tab(page: Page) -> None:
    await set_hidden(page, hidden=True)


async def show_tab(page: Page) -> None:
    await set_hidden(page, hidden=False)


async def set_hidden(page: Page, *, hidden: bool) -> None:
    """Hide the page's tab, or show it again."""
    await page.evaluate(
        "hidden => { window.isHidden = hidden; "
        "document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


def position(page: Page) -> Locator:
    return page.locator("#position")


def visible_text(page: Page, words: str) -> Locator:
    """Visible words; the live region repeats them for screen readers."""
    return page.locator("p:not([role])").get_by_text(words).filter(visible=True)


async def progress(page: Page) -> float:
    value = await page.locator("#progress").evaluate("bar => bar.value")
    return float(value)


# Records the delays before polls. The one other timer is the timeout of a poll, 10 s exactly.
RECORD_DELAYS = """
const delays = [];
const wait = window.setTimeout;
window.setTimeout = (callback, delay) => {
    if (delay !== 10000) delays.push(delay / 1000);
    document.documentElement.dataset.delays = delays.join(" ");
    return wait(callback, delay);
};
"""


async def delays_s(page: Page, *, count: int) -> list[float]:
    """The delays before the first `count` polls; the page must run `RECORD_DELAYS`."""
    root = page.locator("html")
    await expect(root).to_have_attribute("data-delays", re.compile(rf"^\S+( \S+){{{count - 1}}}$"))
    return [float(part) for part in (await root.get_attribute("data-delays") or "").split()]
