"""The operator's dashboard in a real Chromium, with a clock that moves only when told."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import NewPage
from tests.browser.fake_gate import FakeGate, room
from tests.browser.stage import go_away, set_stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

Visit = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def visit(new_page: NewPage, gate: FakeGate) -> Visit:
    async def open_(**options: Any) -> Page:
        page = await new_page(**options)
        await set_stage(page)
        await page.goto(gate.url + "/admin")
        return page

    gate.rooms = [room()]
    return open_


async def second(page: Page) -> None:
    """Lets a second pass, in which the page asks once."""
    async with page.expect_response("**/admin/status"):
        await page.clock.run_for(1000)


def fact(page: Page, name: str) -> Locator:
    return page.locator(f"[data-fact={name}]")


async def points(page: Page, name: str) -> list[tuple[float, float]]:
    """What a curve goes through: x from 0 (ten minutes ago) to 600 (now), y from 100 up to 0."""
    drawn = await page.locator(f"path.{name}").first.get_attribute("d") or ""
    pairs = re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn)
    return [(float(x), float(y)) for x, y in pairs]


# --- what it shows ---


async def test_each_second_brings_the_newest_numbers(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    await expect(fact(page, "queue")).to_have_text("1,284")
    gate.rooms = [room(queue_length=1200, active=320, max_active=400, rate_per_minute=600.0)]
    await second(page)
    await expect(fact(page, "queue")).to_have_text("1,200")
    await expect(fact(page, "active")).to_have_text("320 of 400")
    await expect(fact(page, "rate")).to_have_text("600 /min")
    await expect(fact(page, "wait")).to_have_text("2 minutes")
    await expect(page.get_by_text("In all: 9,000 lined up")).to_be_visible()


async def test_rooms_come_and_go_and_a_hostile_name_stays_text(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    await expect(page.locator("article")).to_have_count(1)
    hostile = "<img src=x onerror=alert(1)>"
    gate.rooms = [room(), room(room=hostile)]
    await second(page)
    await expect(page.get_by_role("heading", name=hostile)).to_be_visible()
    gate.rooms = [room(room=hostile)]
    await second(page)
    await expect(page.locator("article")).to_have_count(1)
    await expect(page.get_by_role("heading", name=hostile)).to_be_visible()


async def test_the_curve_shows_people_per_minute_from_the_growing_total(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    for passed_s in range(1, 15):
        gate.rooms = [room(queue_length=1284 - passed_s, admitted_total=6900 + 5 * passed_s)]
        await second(page)
        await expect(fact(page, "queue")).to_have_text(f"{1284 - passed_s:,}")
    x, y = (await points(page, "entered"))[-1]
    assert x == 600
    assert y == pytest.approx(100 - 300 / 600 * 100, abs=1)  # 5/s are 300/min; the axis ends at 600
    await expect(page.locator("[data-chart=flow] .top")).to_have_text("600")
    await expect(page.get_by_role("img", name=re.compile("now 300 entered"))).to_be_visible()


async def test_a_total_that_starts_anew_is_a_gap_and_not_a_fall(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    for queue_length, total in ((9, 6900), (8, 6900), (7, 6900), (6, 3), (5, 3)):
        gate.rooms = [room(queue_length=queue_length, admitted_total=total)]
        await second(page)
        await expect(fact(page, "queue")).to_have_text(str(queue_length))
    assert [y for _, y in await points(page, "entered")] == [100, 100]


async def test_what_is_older_than_ten_minutes_is_forgotten(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    for queue_length in range(1, 6):
        gate.rooms = [room(queue_length=queue_length)]
        await second(page)
        await expect(fact(page, "queue")).to_have_text(str(queue_length))
    assert len(await points(page, "queue")) == 6
    async with page.expect_response("**/admin/status"):
        await page.clock.fast_forward(601_000)
    gate.rooms = [room(queue_length=77)]
    await second(page)
    await expect(fact(page, "queue")).to_have_text("77")
    assert len(await points(page, "queue")) == 2


# --- when it asks ---


async def test_nothing_is_asked_while_the_tab_is_hidden(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    await expect(fact(page, "queue")).to_have_text("1,284")
    await go_away(page, away=True)
    asked = gate.asked
    await page.clock.run_for(60_000)
    assert gate.asked == asked
    gate.rooms = [room(queue_length=5)]
    await go_away(page, away=False)
    await expect(fact(page, "queue")).to_have_text("5")
    assert gate.asked == asked + 1


async def test_a_gate_out_of_reach_is_told_and_found_again(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    await expect(page.get_by_role("status").first).to_have_text("Live")
    await page.context.set_offline(True)
    await page.clock.run_for(1000)
    await expect(page.get_by_text("The gate is out of reach. Trying again …")).to_be_visible()
    await page.context.set_offline(False)
    await page.clock.run_for(2000)
    await expect(page.get_by_role("status").first).to_have_text("Live")


async def test_a_token_is_asked_for_kept_for_the_tab_and_sent_along(
    gate: FakeGate, visit: Visit
) -> None:
    gate.token = "open sesame"
    page = await visit()
    await page.get_by_label("Token").fill("wrong")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_role("alert")).to_have_text("That token was not accepted.")
    asked = gate.asked
    await page.clock.run_for(30_000)
    assert gate.asked == asked
    await page.get_by_label("Token").fill("open sesame")
    await page.get_by_role("button", name="Continue").click()
    await expect(fact(page, "queue")).to_have_text("1,284")
    await expect(page.get_by_label("Token")).to_be_hidden()
    await page.reload()
    await expect(fact(page, "queue")).to_have_text("1,284")


async def test_without_a_token_in_the_configuration_none_is_asked_for(visit: Visit) -> None:
    page = await visit()
    await expect(fact(page, "queue")).to_have_text("1,284")
    await expect(page.get_by_label("Token")).to_be_hidden()


# --- what it does ---


@pytest.mark.parametrize(
    ("mode", "button", "confirm"),
    [("hold", "Hold", "Hold the line"), ("open", "Open", "Open the gate")],
)
async def test_what_may_surprise_visitors_is_asked_for_twice(
    mode: str, button: str, confirm: str, gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    await page.get_by_role("button", name=button, exact=True).click()
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("button", name=confirm)).to_be_hidden()
    assert gate.actions == []
    await page.get_by_role("button", name=button, exact=True).click()
    await page.get_by_role("button", name=confirm).click()
    pressed = page.get_by_role("button", name=button, exact=True, pressed=True)
    await expect(pressed).to_be_visible()
    assert gate.actions == [f"mode?mode={mode}&room=default"]


async def test_auto_is_set_at_once(gate: FakeGate, visit: Visit) -> None:
    gate.rooms = [room(mode="hold")]
    page = await visit()
    await page.get_by_role("button", name="Auto").click()
    await expect(page.get_by_role("button", name="Auto", pressed=True)).to_be_visible()
    assert gate.actions == ["mode?mode=auto&room=default"]


async def test_more_people_are_let_in_and_the_answer_is_told(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    await page.get_by_label("Let in extra").fill("25")
    await page.get_by_role("button", name="Allow").click()
    await expect(page.locator(".outcome")).to_have_text(
        "Granted 10; 4 of that wait for someone to take them."
    )
    assert gate.actions == ["allow?n=25&room=default"]


async def test_a_rate_is_set_and_a_bad_one_is_answered_in_words(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    rate = page.get_by_role("textbox", name="Rate")
    await rate.fill("fast")
    await rate.press("Enter")
    await expect(page.locator(".outcome.error")).to_have_text(
        'expected a rate such as "500/min" or "8/s", or 0'
    )
    await rate.fill("8/s")
    await rate.press("Enter")
    await expect(page.locator(".outcome:not(.error)")).to_have_text("Rate: 8/s.")
    assert gate.actions == ["rate?rate=fast&room=default", "rate?rate=8/s&room=default"]


# --- for everybody ---


async def test_nothing_scrolls_sideways_at_320_pixels(gate: FakeGate, visit: Visit) -> None:
    gate.rooms = [room(room="a" * 63, queue_length=12_345_678, active=99_999, max_active=100_000)]
    page = await visit(viewport={"width": 320, "height": 640})
    await expect(fact(page, "queue")).to_have_text("12,345,678")
    await page.get_by_role("button", name="Hold", exact=True).click()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320


async def test_the_dark_scheme_is_dark(visit: Visit) -> None:
    page = await visit(color_scheme="dark")
    parts = await page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert max(parts) < 64
