"""Optional features of the waiting page: messages, sound, notification, wake lock, tab title and
icon, several tabs."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests.browser.conftest import NewPage, launch_options, launched_browser
from tests.browser.scripted_gate import FakeGate
from tests.browser.stage import hide_tab, pass_time, poll, set_stage, show_tab
from tests.servers import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

Visit = Callable[..., Awaitable[Page]]

# The browser's own functions, which also record their calls for the test.
OUTSIDE = """
window.AudioContext = class extends AudioContext {
    createOscillator() { record("note"); return super.createOscillator(); }
};
window.Notification = class extends Notification {
    static requestPermission() { record("permission"); return super.requestPermission(); }
    constructor(title, options) { super(title, options); if (title) record(title); }
};
const request = WakeLock.prototype.request;
WakeLock.prototype.request = function (kind) { record(kind); return request.call(this, kind); };
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The whole Chromium, for its notifications."""
    async with launched_browser(launch_options()) as browser:
        yield browser


@pytest.fixture
def calls() -> list[str]:
    """Calls of the browser: notes played, permissions requested, notifications, wake locks."""
    return []


@pytest_asyncio.fixture(loop_scope="session")
async def visit(new_page: NewPage, gate: FakeGate, calls: list[str]) -> Visit:
    async def open_(*, script: str = "", **options: Any) -> Page:
        page = await new_page(**options)
        await set_stage(page)
        await page.expose_function("record", lambda words: calls.append(words))
        await page.add_init_script(OUTSIDE + script)
        await page.goto(gate.url)
        return page

    return open_


def box(page: Page, name: str) -> Locator:
    return page.locator(f"input[name={name}]")


def state(page: Page, name: str) -> Awaitable[None]:
    return expect(page.locator("html")).to_have_attribute("data-state", name)


async def icon(page: Page) -> str:
    """The text on the tab's icon."""
    href = await page.locator("link[rel=icon]").get_attribute("href")
    return re.sub("<[^>]*>", "", unquote((href or "").partition(",")[2]))


# --- message of the organisers ---


async def test_message_appears_changes_and_disappears_by_polls(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    message = page.get_by_role("complementary", name="Message from the organisers")
    await expect(message).to_be_hidden()
    gate.wait_at(900, message="Hall B opens at <b>nine</b>")
    await poll(page)
    await expect(message).to_contain_text("Hall B opens at <b>nine</b>")
    await expect(page.get_by_role("status")).to_have_text(
        "Message from the organisers: Hall B opens at <b>nine</b> You are number 900 in line."
    )
    gate.wait_at(899, message="Hall B is open")
    await poll(page)
    await expect(message).to_contain_text("Hall B is open")
    gate.wait_at(898, message="")
    await poll(page)
    await expect(message).to_be_hidden()


async def test_message_is_shown_without_script(gate: FakeGate, new_page: NewPage) -> None:
    gate.wait_at(900, message="Hall B opens at nine")
    page = await new_page(java_script_enabled=False)
    await page.goto(gate.url)
    await expect(page.get_by_role("complementary")).to_contain_text("Hall B opens at nine")


# --- options for the turn ---


async def test_unused_options_request_nothing_of_the_browser(
    gate: FakeGate, visit: Visit, calls: list[str]
) -> None:
    page = await visit()
    await page.get_by_role("heading").click()
    gate.admit()
    await poll(page)
    await pass_time(page, 0)
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")
    assert calls == []


async def test_sound_is_played_when_chosen_and_before_entering(
    gate: FakeGate, visit: Visit, calls: list[str]
) -> None:
    page = await visit()
    await box(page, "sound").check()
    await page.reload()
    await expect(box(page, "sound")).to_be_checked()
    await page.get_by_role("heading").click()  # browsers play no sound before the first click
    calls.clear()
    gate.admit()
    await poll(page)
    await state(page, "admitted")
    assert calls == ["note"] * 3
    assert gate.loaded == 2
    await pass_time(page, 2)
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")


async def test_notification_delays_entering_in_a_hidden_tab(
    gate: FakeGate, visit: Visit, calls: list[str]
) -> None:
    page = await visit(permissions=["notifications"])
    await box(page, "notice").check()
    await page.reload()
    await expect(box(page, "notice")).to_be_checked()
    await hide_tab(page)
    gate.admit()
    await poll(page)
    await state(page, "admitted")
    assert calls == ["permission", "It is your turn"]
    await pass_time(page, 5)
    assert gate.loaded == 2
    await show_tab(page)
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")


async def test_hidden_tab_enters_after_the_notification_delay(
    gate: FakeGate, visit: Visit, calls: list[str]
) -> None:
    page = await visit(permissions=["notifications"])
    await box(page, "notice").check()
    await hide_tab(page)
    gate.admit()
    await poll(page)
    await state(page, "admitted")
    await pass_time(page, 20)
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")


# As in Chrome on Android.
NO_CONSTRUCTOR = """
const Construct = window.Notification;
window.Notification = function () { throw new TypeError("Illegal constructor"); };
Object.defineProperty(window.Notification, "permission", { get: () => Construct.permission });
window.Notification.requestPermission = () => Construct.requestPermission();
const show = ServiceWorkerRegistration.prototype.showNotification;
ServiceWorkerRegistration.prototype.showNotification = async function (...rest) {
    await show.apply(this, rest);
    record("shown");
};
"""
# Only after showNotification() has finished: Chromium deletes a notification that is read after it
# was stored and before it is displayed.
SHOWN = """async () => {
    const registration = await navigator.serviceWorker.getRegistration("/.gatekeeper/static/");
    return (await registration.getNotifications()).map((note) => [note.title, note.data]);
}"""


async def test_phone_is_notified_by_a_worker_that_sees_no_request(
    gate: FakeGate, visit: Visit, calls: list[str]
) -> None:
    """The worker is registered when there is a notification to show, and only for its own
    folder."""
    page = await visit(permissions=["notifications"], script=NO_CONSTRUCTOR)
    await box(page, "notice").check()
    await hide_tab(page)
    assert await page.evaluate("navigator.serviceWorker.getRegistrations()") == []
    gate.admit()
    await poll(page)
    await state(page, "admitted")

    await eventually(lambda: "shown" in calls)
    assert await page.evaluate(SHOWN) == [["It is your turn", page.url]]
    [scope] = await page.evaluate(
        "async () => (await navigator.serviceWorker.getRegistrations()).map((each) => each.scope)"
    )
    assert scope == gate.url + "/.gatekeeper/static/"
    assert await page.evaluate("navigator.serviceWorker.controller") is None
    assert gate.loaded == 1, "there is time to notice"


async def test_blocked_notifications_are_reported_and_unchecked(visit: Visit) -> None:
    page = await visit()
    await box(page, "notice").click()
    await expect(page.get_by_text("Your browser blocks notifications")).to_be_visible()
    await expect(box(page, "notice")).not_to_be_checked()


async def test_wake_lock_is_requested_again_when_the_tab_returns(
    visit: Visit, calls: list[str]
) -> None:
    page = await visit()
    await box(page, "awake").check()
    await hide_tab(page)
    await show_tab(page)
    await page.evaluate("0")
    assert calls == ["screen", "screen"]


async def test_announcements_can_be_switched_off(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    await box(page, "aloud").uncheck()
    gate.wait_at(5)
    await poll(page)
    await expect(page.locator("#position")).to_have_text("5")
    await expect(page.get_by_role("status")).to_be_empty()
    await box(page, "aloud").check()
    gate.wait_at(1)
    await poll(page)
    await expect(page.get_by_role("status")).to_have_text("You are number 1 in line.")


# --- the tab, and the time of day ---


@pytest.mark.parametrize(
    ("place", "mark"), [(7, "7"), (999, "999"), (1284, "1k"), (45_678, "45k"), (2_300_000, "2m")]
)
async def test_tab_icon_shows_the_position(
    place: int, mark: str, gate: FakeGate, visit: Visit
) -> None:
    gate.wait_at(place)
    page = await visit()
    assert await icon(page) == mark
    gate.status = {"state": "admitted", "expires_at": ""}
    await poll(page)
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
async def test_time_of_turn_follows_the_visitors_region_and_zone(
    locale: str, zone: str, eta_seconds: int | None, words: str, gate: FakeGate, visit: Visit
) -> None:
    gate.wait_at(800, eta_seconds=eta_seconds)
    page = await visit(locale=locale, timezone_id=zone)
    text = await page.locator("#turn").inner_text()
    assert re.sub(r"\s", " ", text).replace("–", " – ").replace("  ", " ").strip() == words


# --- other tabs, earlier places ---


async def test_progress_is_kept_when_the_tab_is_closed(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.wait_at(642)
    await poll(page)
    await expect(page.locator("#position")).to_have_text("642")
    before = await page.locator("#progress").evaluate("bar => bar.value")
    other = await page.context.new_page()
    await page.close()
    await other.goto(gate.url)
    assert await other.locator("#progress").evaluate("bar => bar.value") == before > 0.49


async def test_leaving_in_one_tab_ends_polling_in_the_other(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    other = await page.context.new_page()
    await other.goto(gate.url)
    await other.get_by_text("Leave the line").click()
    await other.get_by_role("button", name="Yes, leave").click()
    await state(page, "elsewhere")
    await expect(page.locator(".lead")).to_contain_text("You left in another tab")
    gate.status = {"state": "none"}
    polls = gate.polls
    await pass_time(page, 600)
    assert gate.polls == polls
    await page.get_by_role("link", name="Join the line again").click()
    await expect(page.locator("#position")).to_have_text("1,284")


@pytest.mark.parametrize(("minutes", "why"), [(9, "the line was reset"), (11, "away for too")])
async def test_new_place_comes_with_the_reason_for_the_loss(
    minutes: int, why: str, gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    await page.clock.set_fixed_time(f"2026-11-23T20:{31 + minutes}:00Z")
    gate.wait_at(3000, arrived_at="2026-11-23T20:50:00Z")
    await page.goto(gate.url)
    await expect(page.get_by_text(re.compile(f"You have a new place: .*{why}"))).to_be_visible()
    await page.reload()
    await expect(page.locator(".new:visible")).to_have_count(0)


async def test_back_button_polls_at_once(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.wait_at(640)
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    await expect(page.locator("#position")).to_have_text("640")


# --- an origin that is down ---


async def test_problem_page_reloads_at_growing_intervals(gate: FakeGate, visit: Visit) -> None:
    gate.problem = 502
    page = await visit()
    for loaded, most_s in ((2, 5.75), (3, 8.7), (4, 13)):
        async with page.expect_navigation():
            await pass_time(page, most_s)
        assert gate.loaded == loaded
    gate.problem, gate.open = 0, True
    await pass_time(page, 20)
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")


async def test_problem_page_stays_while_the_device_is_offline(gate: FakeGate, visit: Visit) -> None:
    """A reload would show the browser's own error page, which never loads itself again."""
    gate.problem = 502
    page = await visit()
    await page.context.set_offline(True)
    await pass_time(page, 30)
    assert gate.loaded == 1
    async with page.expect_navigation():
        await page.context.set_offline(False)
    assert gate.loaded == 2
