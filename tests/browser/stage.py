"""What a test does to a page's surroundings: its clock stands still, its tab can be hidden."""

import math
from datetime import UTC, datetime, timedelta

from playwright.async_api import Page

from tests.browser.fake_gate import VIEW

NOW = datetime(2026, 11, 23, 20, 31, tzinfo=UTC)
REFRESH_S = VIEW.refresh_seconds
ENOUGH_S = REFRESH_S * 1.2  # the longest time to the next question


async def set_stage(page: Page) -> None:
    """Stops the page's clock at `NOW`; call it before the page goes anywhere."""
    await page.add_init_script("window.realTimeout = window.setTimeout.bind(window);")
    await page.clock.install(time=NOW - timedelta(minutes=1))  # a clock is only stopped ahead
    await page.clock.pause_at(NOW)
    await page.add_init_script(
        "Object.defineProperty(document, 'hidden', { get: () => window.away === true });"
    )


async def pass_time(page: Page, seconds: float) -> None:
    await page.clock.run_for(math.ceil(seconds * 1000))


async def ask(page: Page, *, within_s: float = ENOUGH_S) -> None:
    """Lets time pass until the page has asked for its place once more."""
    async with page.expect_response("**/.gatekeeper/status?*"):
        await pass_time(page, within_s)


async def go_away(page: Page, *, away: bool) -> None:
    """Hides the page's tab, or brings it back."""
    await page.evaluate(
        "away => { window.away = away; document.dispatchEvent(new Event('visibilitychange')); }",
        away,
    )
