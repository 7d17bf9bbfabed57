"""What makes an hour in line bearable: a word from the organisers, a sound when it is one's turn, a
tab that tells the place, and tabs that agree."""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import NewPage
from tests.browser.scripted_gate import FakeGate
from tests.browser.stage import ask, go_away, pass_time, set_stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

Visit = Callable[..., Awaitable[Page]]

# The browser's own, which also tell the test what they were asked for.
OUTSIDE = """
window.AudioContext = class extends AudioContext {
    createOscillator() { tell("note"); return super.createOscillator(); }
};
window.Notification = class extends Notification {
    static requestPermission() { tell("may I?"); return super.requestPermission(); }
    constructor(title, options) { super(title, options); if (title) tell(title); }
};
const request = WakeLock.prototype.request;
WakeLock.prototype.request = function (kind) { tell(kind); return request.call(this, kind); };
"""


@pytest.fixture
def told() -> list[str]:
    """What the browser was asked to make heard or seen outside of the page."""
    return []


@pytest_asyncio.fixture(loop_scope="session")
async def visit(new_page: NewPage, gate: FakeGate, told: list[str]) -> Visit:
    async def open_(**options: Any) -> Page:
        page = await new_page(**options)
        await set_stage(page)
        await page.expose_function("tell", lambda words: told.append(words))
        await page.add_init_script(OUTSIDE)
        await page.goto(gate.url)
        return page

    return open_


def box(page: Page, name: str) -> Locator:
    return page.locator(f"input[name={name}]")


def state(page: Page, name: str) -> Awaitable[None]:
    return expect(page.locator("html")).to_have_attribute("data-state", name)


async def icon(page: Page) -> str:
    """What is written on the tab's icon."""
    href = await page.locator("link[rel=icon]").get_attribute("href")
    return re.sub("<[^>]*>", "", unquote((href or "").partition(",")[2]))


# --- a word from the organisers ---


async def test_a_message_appears_changes_and_goes_with_the_next_answer(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    message = page.get_by_role("complementary", name="Message from the organisers")
    await expect(message).to_be_hidden()
    gate.wait_at(900, message="Hall B opens at <b>nine</b>")
    await ask(page)
    await expect(message).to_contain_text("Hall B opens at <b>nine</b>")
    await expect(page.get_by_role("status")).to_have_text(
        "Message from the organisers: Hall B opens at <b>nine</b> You are number 900 in line."
    )
    gate.wait_at(899, message="Hall B is open")
    await ask(page)
    await expect(message).to_contain_text("Hall B is open")
    gate.wait_at(898, message="")
    await ask(page)
    await expect(message).to_be_hidden()


async def test_a_message_is_there_without_script(gate: FakeGate, new_page: NewPage) -> None:
    gate.wait_at(900, message="Hall B opens at nine")
    page = await new_page(java_script_enabled=False)
    await page.goto(gate.url)
    await expect(page.get_by_role("complementary")).to_contain_text("Hall B opens at nine")


# --- when it is one's turn ---


async def test_nothing_is_asked_of_the_browser_unless_the_visitor_wants_it(
    gate: FakeGate, visit: Visit, told: list[str]
) -> None:
    page = await visit()
    await page.get_by_role("heading").click()
    gate.admit()
    await ask(page)
    await pass_time(page, 0)
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")
    assert told == []


async def test_a_sound_is_tried_when_chosen_kept_in_mind_and_heard_before_going_in(
    gate: FakeGate, visit: Visit, told: list[str]
) -> None:
    page = await visit()
    await box(page, "sound").check()
    await page.reload()
    await expect(box(page, "sound")).to_be_checked()
    await page.get_by_role("heading").click()  # browsers play nothing before a press
    told.clear()
    gate.admit()
    await ask(page)
    await state(page, "admitted")
    assert told == ["note"] * 3
    assert gate.loaded == 2
    await pass_time(page, 2)
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")


async def test_a_notification_is_shown_and_a_hidden_tab_stays_a_while_to_be_seen(
    gate: FakeGate, visit: Visit, told: list[str]
) -> None:
    page = await visit(permissions=["notifications"])
    await box(page, "notice").check()
    await page.reload()
    await expect(box(page, "notice")).to_be_checked()
    await go_away(page, away=True)
    gate.admit()
    await ask(page)
    await state(page, "admitted")
    assert told == ["may I?", "It is your turn"]
    await pass_time(page, 5)
    assert gate.loaded == 2
    await go_away(page, away=False)
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")


async def test_a_hidden_tab_goes_in_by_itself_all_the_same(
    gate: FakeGate, visit: Visit, told: list[str]
) -> None:
    page = await visit(permissions=["notifications"])
    await box(page, "notice").check()
    await go_away(page, away=True)
    gate.admit()
    await ask(page)
    await state(page, "admitted")
    await pass_time(page, 20)
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")


async def test_one_who_blocks_notifications_is_told_and_not_promised_any(visit: Visit) -> None:
    page = await visit()
    await box(page, "notice").click()
    await expect(page.get_by_text("Your browser blocks notifications")).to_be_visible()
    await expect(box(page, "notice")).not_to_be_checked()


async def test_the_screen_stays_on_also_after_a_look_elsewhere(
    visit: Visit, told: list[str]
) -> None:
    page = await visit()
    await box(page, "awake").check()
    await go_away(page, away=True)
    await go_away(page, away=False)
    await page.evaluate("0")
    assert told == ["screen", "screen"]


async def test_a_screen_reader_can_be_left_in_peace(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    await box(page, "aloud").uncheck()
    gate.wait_at(5)
    await ask(page)
    await expect(page.locator("#position")).to_have_text("5")
    await expect(page.get_by_role("status")).to_be_empty()
    await box(page, "aloud").check()
    gate.wait_at(1)
    await ask(page)
    await expect(page.get_by_role("status")).to_have_text("You are number 1 in line.")


# --- the tab, and the time of day ---


@pytest.mark.parametrize(
    ("place", "mark"), [(7, "7"), (999, "999"), (1284, "1k"), (45_678, "45k"), (2_300_000, "2m")]
)
async def test_the_icon_tells_the_place_to_those_who_look_at_other_tabs(
    place: int, mark: str, gate: FakeGate, visit: Visit
) -> None:
    gate.wait_at(place)
    page = await visit()
    assert await icon(page) == mark
    gate.status = {"state": "admitted", "expires_at": ""}
    await ask(page)
    await state(page, "admitted")
    assert await icon(page) == "✓"


@pytest.mark.parametrize(
    ("locale", "zone", "eta_seconds", "words"),
    [
        ("en-US", "UTC", 4000, "9:20 – 9:55 PM"),
        ("en-GB", "Europe/London", 4000, "21:20 – 21:55"),
        ("en-US", "America/New_York", 154, "3:33 – 3:35 PM"),
        ("en-US", "UTC", 90000, "–"),
        ("en-US", "UTC", None, "–"),
    ],
)
async def test_the_time_of_ones_turn_is_told_by_the_visitors_own_clock(
    locale: str, zone: str, eta_seconds: int | None, words: str, gate: FakeGate, visit: Visit
) -> None:
    gate.wait_at(800, eta_seconds=eta_seconds)
    page = await visit(locale=locale, timezone_id=zone)
    text = await page.locator("#turn").inner_text()
    assert re.sub(r"\s", " ", text).replace("–", " – ").replace("  ", " ").strip() == words


# --- other tabs, and before ---


async def test_a_tab_that_was_closed_finds_its_bar_where_it_was(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    gate.wait_at(642)
    await ask(page)
    await expect(page.locator("#position")).to_have_text("642")
    before = await page.locator("#progress").evaluate("bar => bar.value")
    other = await page.context.new_page()
    await page.close()
    await other.goto(gate.url)
    assert await other.locator("#progress").evaluate("bar => bar.value") == before > 0.49


async def test_leaving_in_one_tab_is_told_in_the_other_which_asks_no_more(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    other = await page.context.new_page()
    await other.goto(gate.url)
    await other.get_by_text("Leave the line").click()
    await other.get_by_role("button", name="Yes, leave").click()
    await state(page, "elsewhere")
    await expect(page.locator(".lead")).to_contain_text("You left in another tab")
    gate.status = {"state": "none"}
    asked = gate.asked
    await pass_time(page, 600)
    assert gate.asked == asked
    await page.get_by_role("link", name="Join the line again").click()
    await expect(page.locator("#position")).to_have_text("1,284")


@pytest.mark.parametrize(("minutes", "why"), [(9, "the line was reset"), (11, "away for too")])
async def test_one_with_a_new_place_is_told_what_became_of_the_old(
    minutes: int, why: str, gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    await page.clock.set_fixed_time(f"2026-11-23T20:{31 + minutes}:00Z")
    gate.wait_at(3000, arrived_at="2026-11-23T20:50:00Z")
    await page.goto(gate.url)
    await expect(page.get_by_text(re.compile(f"You have a new place: .*{why}"))).to_be_visible()
    await page.reload()
    await expect(page.locator(".new:visible")).to_have_count(0)


async def test_a_page_that_comes_back_by_the_back_button_asks_at_once(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    gate.wait_at(640)
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    await expect(page.locator("#position")).to_have_text("640")


# --- an origin that is down ---


async def test_a_page_of_a_problem_tries_again_ever_more_rarely_until_the_site_is_back(
    gate: FakeGate, visit: Visit
) -> None:
    gate.problem = 502
    page = await visit()
    for loaded, most_s in ((2, 5.75), (3, 8.7), (4, 13)):
        async with page.expect_navigation():
            await pass_time(page, most_s)
        assert gate.loaded == loaded
    gate.problem, gate.open = 0, True
    await pass_time(page, 20)
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")
