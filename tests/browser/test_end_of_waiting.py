"""How waiting ends: admission, a lost place, leaving."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Visit
from tests.browser.scripted_gate import FakeGate
from tests.browser.stage import (
    MAX_DELAY_S,
    hide_tab,
    pass_time,
    poll,
    position,
    show_tab,
    visible_text,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_admitted_visitor_enters_at_the_requested_address(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit("/tickets?day=1#row-7")
    gate.admit()
    await poll(page)
    await expect(page.get_by_role("heading", name="It is your turn")).to_be_visible()
    await pass_time(page, 0)
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")
    assert page.url == gate.url + "/tickets?day=1#row-7"


async def test_admission_without_effect_stops_after_three_reloads(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    gate.admit()
    gate.open = False  # as if the browser had deleted the pass
    for loaded in (2, 3, 4):
        await poll(page)
        await expect(visible_text(page, "We are letting you in")).to_be_visible()
        async with page.expect_navigation():
            await pass_time(page, 0)
        assert gate.loaded == loaded
    await pass_time(page, MAX_DELAY_S)
    await expect(page.get_by_role("link", name="Enter")).to_be_visible()
    await pass_time(page, 600)
    assert gate.loaded == 4
    gate.open = True
    await page.get_by_role("link", name="Enter").click()
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")


async def test_place_on_another_device_is_shown_at_the_address(
    gate: FakeGate, visit: Visit
) -> None:
    """At once, and the page mentions no lost place."""
    page = await visit()
    gate.status = {"state": "none", "reason": "other_device"}
    async with page.expect_navigation():
        await poll(page)
    assert gate.loaded == 2


async def test_lost_place_is_explained_and_replaced(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.status = {"state": "none"}
    await poll(page)
    await expect(page.get_by_role("heading")).to_have_text(re.compile("Your place was lost"))
    gate.wait_at(3000, arrived_at="2026-11-23T20:50:00Z")
    async with page.expect_navigation():
        await pass_time(page, 5.5)
    await expect(position(page)).to_have_text("3,000")


async def test_browser_without_cookies_shows_it_and_stops_reloading(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    gate.status = {"state": "none"}
    await poll(page)
    await expect(visible_text(page, "We are getting you a new place")).to_be_visible()
    async with page.expect_navigation():
        await pass_time(page, 5.5)
    await poll(page)
    await expect(visible_text(page, "Please allow cookies")).to_be_visible()
    await expect(page.get_by_role("link", name="Join the line again")).to_be_visible()
    await pass_time(page, 600)
    assert gate.loaded == 2


async def test_reloaded_page_without_session_storage_shows_a_button(
    gate: FakeGate, visit: Visit
) -> None:
    refuse = "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error(); } });"
    page = await visit(script=refuse)
    await page.reload()
    gate.status = {"state": "admitted", "expires_at": ""}
    await poll(page)
    await expect(page.get_by_role("link", name="Enter")).to_be_visible()
    assert gate.loaded == 2


async def test_leaving_takes_two_steps_and_stops_polling(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    leave = page.get_by_role("button", name="Yes, leave")
    await expect(leave).to_be_hidden()
    await page.get_by_text("Leave the line").click()
    await page.get_by_role("button", name="Keep my place").click()
    await expect(leave).to_be_hidden()
    await page.get_by_text("Leave the line").click()
    await leave.click()
    await expect(page.get_by_role("heading")).to_have_text(re.compile("You have left the line"))
    await expect(position(page)).to_be_hidden()
    await hide_tab(page)
    await show_tab(page)
    await pass_time(page, 600)
    assert gate.left == ["default"]
    assert gate.polls == 0
    await page.get_by_role("link", name="Join the line again").click()
    await expect(position(page)).to_have_text("1,284")
    assert page.url == gate.url + "/tickets?day=1"


async def test_failed_leave_is_reported_and_keeps_the_place(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.leave_code = 500
    await page.get_by_text("Leave the line").click()
    await page.get_by_role("button", name="Yes, leave").click()
    await expect(page.get_by_text("That did not work.")).to_be_visible()
    gate.wait_at(444)
    await poll(page)
    await expect(position(page)).to_have_text("444")
