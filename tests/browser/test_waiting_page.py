"""What a visitor sees and what their browser does, in a real Chromium with a stopped clock.

The clock of the page stands still until a test moves it, so nothing here waits for time to pass.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import NewPage
from tests.browser.scripted_gate import FakeGate, waiting
from tests.browser.stage import ENOUGH_S, REFRESH_S, ask, go_away, pass_time, set_stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"width": 320, "height": 640}

Visit = Callable[..., Awaitable[Page]]

# Notes how long the page means to wait before it asks again. The one other timer is the time-out
# of a question, which is 10 s exactly.
WATCH = """
const silences = [];
const wait = window.setTimeout;
window.setTimeout = (callback, delay) => {
    if (delay !== 10000) silences.push(delay / 1000);
    document.documentElement.dataset.silences = silences.join(" ");
    return wait(callback, delay);
};
"""


@pytest_asyncio.fixture(loop_scope="session")
async def visit(new_page: NewPage, gate: FakeGate) -> Visit:
    """Opens an address behind the gate with the clock standing still."""

    async def open_(path: str = "/tickets?day=1", *, script: str = "", **options: Any) -> Page:
        page = await new_page(**options)
        await set_stage(page)
        await page.add_init_script(WATCH + script)
        await page.goto(gate.url + path)
        return page

    return open_


async def silences_s(page: Page, *, count: int) -> list[float]:
    """How long the page meant to wait before each of its first `count` questions."""
    root = page.locator("html")
    await expect(root).to_have_attribute(
        "data-silences", re.compile(rf"^\S+( \S+){{{count - 1}}}$")
    )
    return [float(part) for part in (await root.get_attribute("data-silences") or "").split()]


def position(page: Page) -> Locator:
    return page.locator("#position")


def told(page: Page, words: str) -> Locator:
    """Words for the eye; a screen reader is told the same once more."""
    return page.locator("p:not([role])").get_by_text(words).filter(visible=True)


async def progress(page: Page) -> float:
    value = await page.locator("#progress").evaluate("bar => bar.value")
    return float(value)


# --- waiting ---


async def test_the_numbers_fall_in_place_without_loading_the_page_again(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    await expect(position(page)).to_have_text("1,284")
    for place, eta_seconds, words in (
        (1100, 1320, "15–30 minutes"),
        (12, 30, "less than a minute"),
    ):
        gate.wait_at(place, eta_seconds=eta_seconds)
        await ask(page)
        await expect(position(page)).to_have_text(f"{place:,}")
        await expect(page.locator("#ahead")).to_have_text(f"{place - 1:,}")
        await expect(page.locator("#wait")).to_have_text(words)
        await expect(page).to_have_title(f"{place:,} · You are in line")
    assert gate.loaded == 1


async def test_one_goes_in_by_oneself_when_admitted_at_the_address_asked_for(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit("/tickets?day=1#row-7")
    gate.admit()
    await ask(page)
    await expect(page.get_by_role("heading", name="It is your turn")).to_be_visible()
    await pass_time(page, 0)
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")
    assert page.url == gate.url + "/tickets?day=1#row-7"


async def test_one_who_is_admitted_but_not_let_in_does_not_reload_for_ever(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    gate.admit()
    gate.open = False  # as if the browser threw the pass away
    for loaded in (2, 3, 4):
        await ask(page)
        await expect(told(page, "We are letting you in")).to_be_visible()
        async with page.expect_navigation():
            await pass_time(page, 0)
        assert gate.loaded == loaded
    await pass_time(page, ENOUGH_S)
    await expect(page.get_by_role("link", name="Enter")).to_be_visible()
    await pass_time(page, 600)
    assert gate.loaded == 4
    gate.open = True
    await page.get_by_role("link", name="Enter").click()
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")


async def test_the_page_asks_at_the_pace_it_is_told_give_or_take_15_percent(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    for place in range(100, 116):
        gate.wait_at(place)
        await ask(page)
        await expect(position(page)).to_have_text(str(place))
    first, *silences = await silences_s(page, count=17)
    assert 2 * 0.85 <= first <= 2 * 1.15  # so that the gate soon knows the cookie is kept
    assert all(REFRESH_S * 0.85 <= silence <= REFRESH_S * 1.15 for silence in silences)
    assert max(silences) - min(silences) > REFRESH_S * 0.05


async def test_the_gate_may_slow_the_asking_down(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.wait_at(900, refresh_seconds=40)
    await ask(page)
    _, silence = await silences_s(page, count=2)
    assert 40 * 0.85 <= silence <= 40 * 1.15


async def test_a_line_that_is_held_says_so_and_goes_on(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.wait_at(800, reason="held", rate_per_minute=0.0, eta_seconds=None)
    await ask(page)
    await expect(told(page, "The line is paused")).to_be_visible()
    await expect(page.locator("#rate")).to_have_text("not moving")
    await expect(page.locator("#wait")).to_have_text("not known yet")
    gate.wait_at(790, reason="line", rate_per_minute=0.25, eta_seconds=60)
    await ask(page)
    await expect(told(page, "The line is paused")).to_be_hidden()
    await expect(page.locator("#rate")).to_have_text("15 per hour")


async def test_a_room_that_is_full_promises_no_time(gate: FakeGate, visit: Visit) -> None:
    gate.wait_at(800, reason="full")
    page = await visit()
    for place in (800, 799):
        await expect(position(page)).to_have_text(str(place))
        await expect(page.locator("#wait")).to_have_text("not known yet")
        await expect(page.locator("#turn")).to_have_text("–")
        await expect(page.locator("#rate")).to_have_text("not known yet")
        gate.wait_at(place - 1)
        await ask(page)


@pytest.mark.parametrize(
    "eta_seconds", [None, 0, 48, 49, 154, 720, 721, 4320, 4321, 9000, 36000, 90000]
)
async def test_script_and_server_say_a_wait_in_the_same_words(
    eta_seconds: int | None, gate: FakeGate, visit: Visit
) -> None:
    gate.wait_at(1284, eta_seconds=eta_seconds)
    page = await visit()
    from_server = await page.locator("#wait").inner_text()
    gate.status = waiting(gate.view) | {"position": 1283}
    await ask(page)
    await expect(position(page)).to_have_text("1,283")
    assert await page.locator("#wait").inner_text() == from_server


# --- progress ---


async def test_the_bar_grows_and_never_runs_backwards(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    seen = [await progress(page)]
    for place in (1000, 1200, 600, 640, 641, 50, 1):
        gate.wait_at(place)
        await ask(page)
        await expect(position(page)).to_have_text(f"{place:,}")
        seen.append(await progress(page))
    assert seen == sorted(seen)
    assert seen[0] < 0.01
    assert 0.99 < seen[-1] < 1


async def test_the_bar_stands_where_it_was_after_loading_the_page_again(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    gate.wait_at(642)
    await ask(page)
    await expect(position(page)).to_have_text("642")
    before = await progress(page)
    await page.reload()
    assert await progress(page) == before > 0.49


async def test_a_new_place_starts_the_bar_anew(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.wait_at(10)
    await ask(page)
    await expect(position(page)).to_have_text("10")
    gate.wait_at(2000, arrived_at="2026-11-23T20:40:00Z")
    await page.reload()
    assert await progress(page) < 0.01


# --- out of reach ---


async def test_an_answer_that_is_no_json_means_reconnecting_and_the_place_stays_on_screen(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    gate.status = None
    await ask(page)
    await expect(told(page, "Reconnecting, your place is kept")).to_be_visible()
    await expect(position(page)).to_have_text("1,284")
    gate.wait_at(700)
    await ask(page, within_s=2 * ENOUGH_S)
    await expect(told(page, "Reconnecting, your place is kept")).to_be_hidden()
    await expect(position(page)).to_have_text("700")


async def test_an_unknown_position_means_reconnecting_and_one_that_comes_back_is_shown(
    gate: FakeGate, visit: Visit
) -> None:
    gate.wait_at(None, eta_seconds=None)
    page = await visit()
    await expect(told(page, "Reconnecting, your place is kept")).to_be_visible()
    await expect(position(page)).to_have_text("–")
    gate.wait_at(77, eta_seconds=30)
    await ask(page)
    await expect(position(page)).to_have_text("77")
    gate.wait_at(None)
    await ask(page)
    await expect(told(page, "Reconnecting, your place is kept")).to_be_visible()
    await expect(position(page)).to_have_text("77")


async def test_errors_are_met_with_ever_longer_silences_up_to_a_minute(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    gate.status = None
    for count, expected in enumerate((8, 16, 32, 60, 60, 60), start=1):
        silences = await silences_s(page, count=count)
        await ask(page, within_s=silences[-1])
        silence = (await silences_s(page, count=count + 1))[-1]
        assert expected * 0.85 <= silence <= min(expected * 1.15, 60)


async def test_the_page_asks_at_once_when_the_network_is_back(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    await page.context.set_offline(True)
    await pass_time(page, ENOUGH_S)
    await expect(told(page, "Reconnecting, your place is kept")).to_be_visible()
    gate.wait_at(640)
    await page.context.set_offline(False)
    await expect(position(page)).to_have_text("640")


async def test_a_gate_that_never_answers_is_given_up_after_a_while(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    await page.route("**/.gatekeeper/status?*", lambda _: None)
    async with page.expect_request("**/.gatekeeper/status?*"):
        await pass_time(page, ENOUGH_S)
    await pass_time(page, 10)
    await expect(told(page, "Reconnecting, your place is kept")).to_be_visible()
    await page.unroute("**/.gatekeeper/status?*")


async def test_a_hidden_tab_asks_less_often_and_at_once_when_it_is_seen_again(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    await go_away(page, away=True)
    await ask(page)
    _, silence = await silences_s(page, count=2)
    assert 20 * 0.85 <= silence <= 20 * 1.15
    gate.wait_at(400)
    await go_away(page, away=False)
    await expect(position(page)).to_have_text("400")


# --- the place is lost ---


async def test_one_whose_place_is_lost_is_told_and_gets_a_new_one(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    gate.status = {"state": "none"}
    await ask(page)
    await expect(page.get_by_role("heading")).to_have_text(re.compile("Your place was lost"))
    gate.wait_at(3000, arrived_at="2026-11-23T20:50:00Z")
    async with page.expect_navigation():
        await pass_time(page, 5.5)
    await expect(position(page)).to_have_text("3,000")


async def test_a_browser_that_keeps_no_cookie_is_told_and_makes_no_crowd_of_its_own(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    gate.status = {"state": "none"}
    await ask(page)
    await expect(told(page, "We are getting you a new place")).to_be_visible()
    async with page.expect_navigation():
        await pass_time(page, 5.5)
    await ask(page)
    await expect(told(page, "Please allow cookies")).to_be_visible()
    await expect(page.get_by_role("link", name="Join the line again")).to_be_visible()
    await pass_time(page, 600)
    assert gate.loaded == 2


async def test_without_session_storage_a_page_that_was_reloaded_asks_for_a_press(
    gate: FakeGate, visit: Visit
) -> None:
    refuse = "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error(); } });"
    page = await visit(script=refuse)
    await page.reload()
    gate.status = {"state": "admitted", "expires_at": ""}
    await ask(page)
    await expect(page.get_by_role("link", name="Enter")).to_be_visible()
    assert gate.loaded == 2


# --- leaving ---


async def test_leaving_takes_two_steps_and_ends_the_asking(gate: FakeGate, visit: Visit) -> None:
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
    await go_away(page, away=True)
    await go_away(page, away=False)
    await pass_time(page, 600)
    assert gate.left == ["default"]
    assert gate.asked == 0
    await page.get_by_role("link", name="Join the line again").click()
    await expect(position(page)).to_have_text("1,284")
    assert page.url == gate.url + "/tickets?day=1"


async def test_a_leave_that_does_not_get_through_is_told_and_the_place_goes_on(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    gate.leave_code = 500
    await page.get_by_text("Leave the line").click()
    await page.get_by_role("button", name="Yes, leave").click()
    await expect(page.get_by_text("That did not work.")).to_be_visible()
    gate.wait_at(444)
    await ask(page)
    await expect(position(page)).to_have_text("444")


# --- without script ---


async def test_without_script_the_page_reads_well_and_renews_itself(
    gate: FakeGate, new_page: NewPage
) -> None:
    page = await new_page(java_script_enabled=False)
    await page.goto(gate.url)
    await expect(position(page)).to_have_text("1,284")
    await expect(page.locator("#wait")).to_have_text("2–4 minutes")
    await expect(page.locator("noscript p")).to_have_text("This page reloads every 10 seconds.")
    await expect(page.locator("#progress")).to_be_hidden()
    await expect(page.locator('meta[http-equiv="refresh"]')).to_have_attribute("content", "10")


async def test_with_script_the_page_has_no_refresh_of_its_own(visit: Visit) -> None:
    page = await visit()
    await expect(page.locator('meta[http-equiv="refresh"]')).to_have_count(0)


async def test_without_script_one_can_leave(gate: FakeGate, new_page: NewPage) -> None:
    page = await new_page(java_script_enabled=False)
    await page.goto(gate.url)
    await page.get_by_text("Leave the line").click()
    await page.get_by_role("button", name="Yes, leave").click()
    await expect(page.get_by_role("heading")).to_have_text("You have left the line")
    assert gate.left == ["default"]


# --- for everybody ---


async def test_a_screen_reader_hears_the_first_place_and_few_steps(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    await page.evaluate(
        """() => {
            window.heard = [];
            const live = document.getElementById("live");
            new MutationObserver(() => window.heard.push(live.textContent))
                .observe(live, { childList: true, characterData: true, subtree: true });
        }"""
    )
    for place in (1284, 1200, 900, 130, 99, 98, 60, 50, 48, 49, 26, 24, 11, 9, 8, 7, 6, 4, 3, 2, 1):
        gate.wait_at(place)
        await ask(page)
        await expect(page).to_have_title(f"{place:,} · You are in line")
    heard = await page.evaluate("window.heard")
    assert heard == [f"You are number {place} in line." for place in ("1,284", 99, 50, 24, 9, 4, 1)]


async def test_a_change_of_state_is_heard_once(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.status = None
    await ask(page)
    await expect(page.get_by_role("status")).to_have_text(re.compile("We cannot reach the line"))


@pytest.mark.parametrize("state", ["waiting", "leaving", "problem"])
async def test_nothing_scrolls_sideways_at_320_pixels(
    state: str, gate: FakeGate, visit: Visit
) -> None:
    gate.wait_at(12_345_678, title="Willkommen-im-Donaudampfschifffahrtsgesellschaftsladen")
    page = await visit(viewport=PHONE)
    if state == "leaving":
        await page.get_by_text("Leave the line").click()
    if state == "problem":
        body = gate.pages.problem(
            status=504, title="x" * 60, message="y" * 300, retry_after_s=5
        ).body.decode()
        await page.route(
            "**/problem", lambda route: route.fulfill(body=body, content_type="text/html")
        )
        await page.goto(gate.url + "/problem")
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]


async def test_whatever_is_pressed_is_44_pixels_high(visit: Visit) -> None:
    page = await visit(viewport=PHONE)
    await page.get_by_text("Leave the line").click()
    for target in await page.locator(
        "button:visible, summary:visible, .button:visible, label:visible"
    ).all():
        box = await target.bounding_box()
        assert box is not None
        assert box["height"] >= 44


FOCUSED = """
() => {
    const { name, tagName } = document.activeElement;
    return [name || tagName, getComputedStyle(document.activeElement).outlineWidth];
}
"""


async def test_the_keyboard_reaches_everything_in_its_order_and_the_focus_is_seen(
    gate: FakeGate, visit: Visit
) -> None:
    gate.wait_at(7, message="Hall B opens at nine.")
    page = await visit()
    reached = []
    for _ in range(6):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate(FOCUSED))
    names = ["sound", "notice", "awake", "aloud", "SUMMARY", "ASIDE"]
    assert reached == [[name, "3px"] for name in names]
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Yes, leave")).to_be_visible()


async def test_the_dark_scheme_is_dark(visit: Visit) -> None:
    page = await visit(color_scheme="dark")
    red, green, blue = await page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert max(red, green, blue) < 64


async def test_who_wants_no_motion_gets_none(gate: FakeGate, visit: Visit) -> None:
    page = await visit(reduced_motion="reduce")
    gate.wait_at(900)
    await ask(page)
    await expect(position(page)).to_have_text("900")
    assert await page.evaluate("document.getAnimations().length") == 0


async def test_each_answer_is_one_beat_of_the_dot_and_nothing_moves_else(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit(reduced_motion="no-preference")
    assert await page.evaluate("document.getAnimations().length") == 0
    gate.wait_at(900)
    await ask(page)
    await expect(position(page)).to_have_text("900")
    assert await page.evaluate("document.getAnimations().length") > 0
