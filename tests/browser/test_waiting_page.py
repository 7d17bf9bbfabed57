"""The waiting page in Chromium: numbers, progress, and the page without script."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import NewPage, Visit
from tests.browser.scripted_gate import FakeGate, waiting
from tests.browser.stage import poll, position, progress, visible_text

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_poll_updates_numbers_without_a_reload(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    await expect(position(page)).to_have_text("1,284")
    for place, eta_seconds, words in (
        (1100, 1320, "15–30 minutes"),
        (12, 30, "less than a minute"),
    ):
        gate.wait_at(place, eta_seconds=eta_seconds)
        await poll(page)
        await expect(position(page)).to_have_text(f"{place:,}")
        await expect(page.locator("#ahead")).to_have_text(f"{place - 1:,}")
        await expect(page.locator("#wait")).to_have_text(words)
        await expect(page).to_have_title(f"{place:,} · You are in line")
    assert gate.loaded == 1


async def test_held_line_is_shown_as_paused_until_it_moves(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.wait_at(800, reason="held", rate_per_minute=0.0, eta_seconds=None)
    await poll(page)
    await expect(visible_text(page, "The line is paused")).to_be_visible()
    await expect(page.locator("#rate")).to_have_text("not moving")
    await expect(page.locator("#wait")).to_have_text("not known yet")
    gate.wait_at(790, reason="line", rate_per_minute=0.25, eta_seconds=60)
    await poll(page)
    await expect(visible_text(page, "The line is paused")).to_be_hidden()
    await expect(page.locator("#rate")).to_have_text("15 per hour")


async def test_full_room_shows_no_wait(gate: FakeGate, visit: Visit) -> None:
    gate.wait_at(800, reason="full")
    page = await visit()
    for place in (800, 799):
        await expect(position(page)).to_have_text(str(place))
        await expect(page.locator("#wait")).to_have_text("not known yet")
        await expect(page.locator("#turn")).to_have_text("–")
        await expect(page.locator("#rate")).to_have_text("not known yet")
        gate.wait_at(place - 1)
        await poll(page)


@pytest.mark.parametrize(
    "eta_seconds", [None, 0, 48, 49, 154, 720, 721, 4320, 4321, 9000, 36000, 90000]
)
async def test_wait_of_script_equals_wait_of_server(
    eta_seconds: int | None, gate: FakeGate, visit: Visit
) -> None:
    gate.wait_at(1284, eta_seconds=eta_seconds)
    page = await visit()
    from_server = await page.locator("#wait").inner_text()
    gate.status = waiting(gate.view) | {"position": 1283}
    await poll(page)
    await expect(position(page)).to_have_text("1,283")
    assert await page.locator("#wait").inner_text() == from_server


async def test_progress_never_decreases(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    seen = [await progress(page)]
    for place in (1000, 1200, 600, 640, 641, 50, 1):
        gate.wait_at(place)
        await poll(page)
        await expect(position(page)).to_have_text(f"{place:,}")
        seen.append(await progress(page))
    assert seen == sorted(seen)
    assert seen[0] < 0.01
    assert 0.99 < seen[-1] < 1


async def test_progress_is_kept_by_a_reload(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.wait_at(642)
    await poll(page)
    await expect(position(page)).to_have_text("642")
    before = await progress(page)
    await page.reload()
    assert await progress(page) == before > 0.49


async def test_new_place_resets_progress(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.wait_at(10)
    await poll(page)
    await expect(position(page)).to_have_text("10")
    gate.wait_at(2000, arrived_at="2026-11-23T20:40:00Z")
    await page.reload()
    assert await progress(page) < 0.01


async def test_page_without_script_shows_the_place_and_reloads(
    gate: FakeGate, new_page: NewPage
) -> None:
    page = await new_page(java_script_enabled=False)
    await page.goto(gate.url)
    await expect(position(page)).to_have_text("1,284")
    await expect(page.locator("#wait")).to_have_text("2–4 minutes")
    await expect(page.locator("noscript p")).to_have_text("This page reloads every 10 seconds.")
    await expect(page.locator("#progress")).to_be_hidden()
    await expect(page.locator('meta[http-equiv="refresh"]')).to_have_attribute("content", "10")


async def test_page_with_script_has_no_meta_refresh(visit: Visit) -> None:
    page = await visit()
    await expect(page.locator('meta[http-equiv="refresh"]')).to_have_count(0)


async def test_page_without_script_can_leave(gate: FakeGate, new_page: NewPage) -> None:
    page = await new_page(java_script_enabled=False)
    await page.goto(gate.url)
    await page.get_by_text("Leave the line").click()
    await page.get_by_role("button", name="Yes, leave").click()
    await expect(page.get_by_role("heading")).to_have_text("You have left the line")
    assert gate.left == ["default"]
