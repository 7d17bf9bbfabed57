"""What a test does to a page's surroundings: its clock stands still, its tab can be hidden."""

import math
from datetime import UTC, datetime, timedelta

from playwright.async_api import Page, expect

from tests.browser.scripted_gate import VIEW

NOW = datetime(2026, 11, 23, 20, 31, tzinfo=UTC)
REFRESH_S = VIEW.refresh_seconds
ENOUGH_S = REFRESH_S * 1.2  # the longest time to the next question


# An answer that arrived is not yet one that the page took: marks the page until it did.
ASKING = r"""
const fetched = window.fetch;
window.fetch = (address, ...rest) => {
    const answer = fetched(address, ...rest);
    if (!/\/(status|overview|audit)\?/.test(address)) return answer;
    const mark = document.documentElement.dataset;
    const done = () => { delete mark.asking; };
    mark.asking = "";
    answer.then((response) => {
        const json = response.json.bind(response);
        response.json = () => json().finally(done);
    }, done);
    return answer;
};
"""


async def set_stage(page: Page) -> None:
    """Stops the page's clock at `NOW`; call it before the page goes anywhere."""
    await page.add_init_script("window.realTimeout = window.setTimeout.bind(window);")
    await page.clock.install(time=NOW - timedelta(minutes=1))  # a clock is only stopped ahead
    await page.clock.pause_at(NOW)
    await page.add_init_script(
        "Object.defineProperty(document, 'hidden', { get: () => window.away === true });" + ASKING
    )


async def pass_time(page: Page, seconds: float) -> None:
    await page.clock.run_for(math.ceil(seconds * 1000))


async def ask(page: Page, *, within_s: float = ENOUGH_S) -> None:
    """Lets time pass until the page has asked for its place once more, and taken the answer."""
    async with page.expect_response("**/.gatekeeper/status?*"):
        await pass_time(page, within_s)
    await expect(page.locator("html[data-asking]")).to_have_count(0)


async def go_away(page: Page, *, away: bool) -> None:
    """Hides the page's tab, or brings it back."""
    await page.evaluate(
        "away => { window.away = away; document.dispatchEvent(new Event('visibilitychange')); }",
        away,
    )
