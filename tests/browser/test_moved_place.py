"""A place moves from one browser to another, in two contexts of a real Chromium."""

import pytest
from playwright.async_api import Page, expect

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import Ticket
from tests.browser.axe import complaints
from tests.browser.conftest import NewPage
from tests.browser.test_one_visitor import held_by, running_shop
from tests.gates import Gate

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(90)]

PATIENCE_MS = 30_000
PHONE = {"viewport": {"width": 320, "height": 640}, "is_mobile": True, "has_touch": True}
BUTTON = "Continue on another device"


async def place_of(page: Page, gate: Gate) -> Ticket:
    token = await held_by(page.context, gate)
    assert isinstance(token, Ticket)
    return token


async def offered_link(page: Page, *, has_script: bool = True) -> str:
    """Press the button, and read the link in the tab that opens; the waiting page stays."""
    async with page.context.expect_page() as opened:
        await page.get_by_role("button", name=BUTTON).click()
    tab = await opened.value
    await expect(tab.get_by_role("heading", name=BUTTON)).to_be_visible()
    await expect(tab.get_by_role("img", name="QR code of the link")).to_be_visible()
    if has_script:
        assert await complaints(tab) == []
    link = await tab.locator("#link").get_attribute("href")
    assert link is not None
    await tab.close()
    return link


async def has_no_sideways_scrolling(page: Page) -> bool:
    wide: bool = await page.evaluate(
        "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    return wide


async def test_place_moves_from_browser_to_browser(
    store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    """First to a phone, then back to a browser without script; each old browser shows the move."""
    keys = 'rate = "0"\npoll_interval_max = "1s"\n'
    async with running_shop(room_name, keys, store_url=store_url) as (gate, _):
        laptop, phone = await new_page(), await new_page(**PHONE)
        plain = await new_page(java_script_enabled=False)
        await laptop.goto(gate.url + "/tickets?day=1")
        await expect(laptop.locator("#position")).to_have_text("1")
        link = await offered_link(laptop)
        await phone.goto(link)
        await expect(phone.get_by_role("heading", name="Continue on this device?")).to_be_visible()
        assert await complaints(phone) == []
        assert await has_no_sideways_scrolling(phone)
        await expect(laptop.locator("#position")).to_have_text("1")  # nothing has moved yet
        old = await place_of(laptop, gate)
        await phone.get_by_role("button", name="Continue here").click()
        await expect(phone.locator("#position")).to_have_text("1")
        assert phone.url == gate.url + "/tickets?day=1"
        new = await place_of(phone, gate)
        assert (new.visitor, new.arrival_us) == (old.visitor, old.arrival_us)
        heading = laptop.get_by_role("heading", name="Your place is on another device")
        await expect(heading).to_be_visible(timeout=PATIENCE_MS)
        assert await held_by(laptop.context, gate) is None

        await plain.goto(link)  # a link works once
        await plain.get_by_role("button", name="Continue here").click()
        refused = plain.get_by_role("heading", name="This link does not work any more")
        await expect(refused).to_be_visible()

        link = await offered_link(phone)
        await plain.goto(link)
        await plain.get_by_role("button", name="Continue here").click()
        await expect(plain.locator("#position")).to_have_text("1")
        heading = phone.get_by_role("heading", name="Your place is on another device")
        await expect(heading).to_be_visible(timeout=PATIENCE_MS)
        await offered_link(plain, has_script=False)
        await gate.allow(1)
        await plain.goto(gate.url + "/tickets?day=1")
        await expect(plain.get_by_text("The shop")).to_be_visible()
        assert (await gate.queue.read_state()).active == 1
