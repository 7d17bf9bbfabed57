"""Every state of the public pages, as different people see it, looked at by axe-core and kept as
a picture under `artifacts/pages/`."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.axe import complaints
from tests.browser.conftest import NewPage
from tests.browser.fake_gate import FakeGate
from tests.browser.stage import set_stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

PICTURES = Path(__file__).parents[2] / "artifacts" / "pages"
WORD = "The doors of hall B open at 21:15. There is enough for everyone who is in line now."
LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmütze " * 10

LOOKS: dict[str, dict[str, Any]] = {
    "phone": {"viewport": {"width": 390, "height": 844}},
    "dark": {"viewport": {"width": 1100, "height": 900}, "color_scheme": "dark"},
    "small-german": {"viewport": {"width": 320, "height": 640}, "locale": "de-DE"},
    "arabic": {"viewport": {"width": 390, "height": 844}, "locale": "ar"},
}

Arrange = Callable[[FakeGate, Page], Awaitable[None]]


async def ask(page: Page) -> None:
    async with page.expect_response("**/.gatekeeper/status?*"):
        await page.clock.run_for(5000)


def waits(**place: Any) -> Arrange:
    """One who waits, and whose next answer is `place`."""

    async def arrange(gate: FakeGate, page: Page) -> None:
        await page.goto(gate.url)
        gate.wait_at(800, **{"eta_seconds": 4000, "reason": "line"} | place)
        await ask(page)

    return arrange


def hears(status: dict[str, Any] | None) -> Arrange:
    async def arrange(gate: FakeGate, page: Page) -> None:
        await page.goto(gate.url)
        gate.status = status
        await ask(page)

    return arrange


async def loses(gate: FakeGate, page: Page) -> None:
    await page.goto(gate.url)
    gate.status = {"state": "none"}
    await page.clock.fast_forward("20:00")
    await expect(page.locator("html")).to_have_attribute("data-state", "away")


async def has_no_cookies(gate: FakeGate, page: Page) -> None:
    await hears({"state": "none"})(gate, page)
    async with page.expect_navigation():
        await page.clock.run_for(6000)
    await ask(page)


async def has_a_new_place(gate: FakeGate, page: Page) -> None:
    await page.goto(gate.url)
    await page.clock.fast_forward("20:00")
    gate.wait_at(3120, arrived_at="2026-11-23T20:50:00Z")
    await page.goto(gate.url)


async def is_leaving(gate: FakeGate, page: Page) -> None:
    await page.goto(gate.url)
    await page.locator("summary").click()


async def left(gate: FakeGate, page: Page) -> None:
    await is_leaving(gate, page)
    await page.locator("#leave form button").first.click()


async def cannot_go_in(gate: FakeGate, page: Page) -> None:
    await page.goto(gate.url)
    await page.evaluate(
        "now => sessionStorage.setItem('gatekeeper:default:admitted', JSON.stringify(now))",
        [await page.evaluate("Date.now()")] * 3,
    )
    gate.admit()
    gate.open = False
    await ask(page)


async def finds_the_origin_down(gate: FakeGate, page: Page) -> None:
    gate.problem = 502
    await page.goto(gate.url)


STATES: dict[str, Arrange] = {
    "waiting": waits(message=WORD),
    "held": waits(eta_seconds=None, rate_per_minute=0.0, reason="held"),
    "full": waits(reason="full"),
    "ended": waits(eta_seconds=None, rate_per_minute=0.0, reason="ended", message=LONG),
    "reconnecting": hears(None),
    "admitted": hears({"state": "admitted", "expires_at": ""}),
    "enter": cannot_go_in,
    "away": loses,
    "cleared": hears({"state": "none"}),
    "cookies": has_no_cookies,
    "waiting-anew": has_a_new_place,
    "leaving": is_leaving,
    "left": left,
    "problem": finds_the_origin_down,
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("state", STATES)
async def test_every_state_passes_axe_fits_its_window_and_is_kept_as_a_picture(
    look: str, state: str, gate: FakeGate, new_page: NewPage
) -> None:
    page = await new_page(**LOOKS[look])
    await set_stage(page)
    await STATES[state](gate, page)
    shown = state.partition("-")[0].replace("leaving", "waiting")
    await expect(page.locator("html")).to_have_attribute("data-state", shown)
    await page.screenshot(path=PICTURES / look / f"{state}.png", animations="disabled")
    assert await complaints(page) == []
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= LOOKS[look]["viewport"]["width"]
