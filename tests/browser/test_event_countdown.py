"""The countdown to an opening, and the page through prequeue, draw and line.

Rules: the browser's clock is days off, and the gate's times are correct.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from playwright.async_api import Locator, Page, expect

from gatekeeper.pages.event_view import DrawNumber
from gatekeeper.pages.samples import SAMPLE_VIEWS
from gatekeeper.pages.states import StateWithoutPlace
from tests.browser.conftest import NewPage, Visit
from tests.browser.scripted_gate import EVENT, VIEW, FakeGate
from tests.browser.stage import (
    hide_tab,
    pass_time,
    poll,
    position,
    record_announcements,
    set_stage,
    show_tab,
)
from tests.servers import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

DRAWN = replace(EVENT, starts_in_s=None, draw=DrawNumber("3f2a91c4" + "0d" * 28, 2**50))


def gather(
    gate: FakeGate, starts_in_s: float, *, refresh_s: int = 30, starts_at: str = EVENT.starts_at
) -> None:
    """The gate has an event that starts in `starts_in_s`, and a poll interval of `refresh_s`."""
    event = replace(EVENT, starts_in_s=starts_in_s, starts_at=starts_at)
    gate.wait_at(None, reason="prequeue", event=event, refresh_seconds=refresh_s, eta_seconds=None)


def clock(page: Page) -> Locator:
    return page.locator("#clock")


async def test_countdown_runs_by_the_gates_clock_without_polls(
    gate: FakeGate, visit: Visit
) -> None:
    gather(gate, 754.0)
    page = await visit()
    await expect(clock(page)).to_have_text("00:12:34")
    await poll(page)  # the first, after two seconds
    polls = gate.polls
    await pass_time(page, 20)
    assert gate.polls == polls
    await expect(clock(page)).to_have_text("00:12:10")
    await page.clock.set_system_time(datetime(2031, 5, 1, tzinfo=UTC))  # the visitor sets the clock
    await pass_time(page, 1)
    await expect(clock(page)).to_have_text("00:12:09")


async def test_zero_sends_nothing_and_waits_for_the_next_poll(gate: FakeGate, visit: Visit) -> None:
    gather(gate, 8.0, refresh_s=60)
    page = await visit()
    await poll(page)
    polls, loaded = gate.polls, gate.loaded
    await pass_time(page, 30)
    await expect(clock(page)).to_have_text("00:00:00")
    await expect(page.locator("#opened")).to_be_visible()
    await hide_tab(page)
    await show_tab(page)  # the visitor opens the tab at that moment
    assert (gate.polls, gate.loaded) == (polls, loaded)


async def test_delay_of_the_event_is_followed_by_the_next_poll(
    gate: FakeGate, visit: Visit
) -> None:
    gather(gate, 100.0, refresh_s=4)
    page = await visit()
    gather(gate, 3 * 86_400 + 5.0, refresh_s=4, starts_at="2026-12-04T09:00:00Z")
    await poll(page)
    await expect(page.locator("#days")).to_have_text("3 days")
    await expect(page.locator("#starts")).to_have_attribute("datetime", "2026-12-04T09:00:00Z")
    gate.wait_at(900, reason="line", event=None)  # cancelled
    await poll(page)
    await expect(page.locator("#opening")).to_be_hidden()
    await expect(position(page)).to_have_text("900")


async def test_opening_is_shown_in_the_visitors_own_zone(gate: FakeGate, new_page: NewPage) -> None:
    gather(gate, 754.0)
    page = await new_page(locale="en-US", timezone_id="America/New_York")
    await page.goto(gate.url)
    await expect(page.locator("#starts")).to_have_text(
        re.compile(r"Tuesday, December 1, 2026.*4:00.AM EST")
    )


async def test_page_goes_through_prequeue_draw_and_line(gate: FakeGate, visit: Visit) -> None:
    gather(gate, 60.0, refresh_s=4)
    page = await visit()
    root = page.locator("html")
    await expect(root).to_have_attribute("data-state", "prequeue")
    await expect(position(page)).to_be_hidden()
    gate.wait_at(None, reason="draw", event=replace(EVENT, starts_in_s=None))
    await poll(page)
    await expect(root).to_have_attribute("data-state", "draw")
    await expect(page.locator("#opening")).to_be_hidden()
    gate.wait_at(77, reason="line", event=DRAWN, eta_seconds=30)
    await poll(page)
    await expect(root).to_have_attribute("data-state", "waiting")
    await expect(position(page)).to_have_text("77")
    await expect(page.locator("#number")).to_have_text("3f2a 91c4")
    await page.locator("#draw summary").click()
    assert DRAWN.draw is not None
    await expect(page.locator("#id-hash")).to_have_text(DRAWN.draw.id_hash)
    await expect(page.locator("#drawn-turn")).to_have_text(str(DRAWN.draw.turn))
    await expect(page).to_have_title("77 · You are in line")


async def test_screen_reader_receives_minutes_and_not_seconds(gate: FakeGate, visit: Visit) -> None:
    gate.view = replace(SAMPLE_VIEWS["before"], event=replace(EVENT, starts_in_s=305.0))
    page = await visit()
    await record_announcements(page)
    await expect(page.get_by_role("timer")).to_be_visible()
    await pass_time(page, 320)
    said = await page.evaluate("window.announced")
    minutes = [f"Time until the opening: {each}" for each in ("5 minutes", "2 minutes", "1 minute")]
    assert said[:3] == minutes
    assert said[3].startswith("The sale opens now.")
    assert len(said) == 4


NOTICES = """
window.notices = [];
window.Notification = class {
    static permission = "granted";
    static async requestPermission() { return "granted"; }
    constructor(title, options) { if (title) window.notices.push(options.body); }
    close() {}
};
"""


async def test_page_before_an_opening_reminds_and_does_not_poll(
    gate: FakeGate, new_page: NewPage
) -> None:
    event = replace(EVENT, starts_in_s=330.0, prequeue_at="2026-12-01T08:55:00Z")
    gate.view = replace(SAMPLE_VIEWS["before"], event=event, refresh_seconds=400)
    page = await new_page(timezone_id="Europe/Berlin")
    await set_stage(page)
    await page.add_init_script(NOTICES)
    await page.goto(gate.url)
    await expect(page.locator("#opening time").first).to_have_text(re.compile("9:55.AM GMT.1"))
    await page.locator("input[name=notice]").check()
    await pass_time(page, 29)
    assert await page.evaluate("window.notices") == []
    await pass_time(page, 2)
    assert await page.evaluate("window.notices") == ["Time until the opening: 5 minutes"]
    assert gate.polls == 0
    assert gate.loaded == 1


@pytest.mark.parametrize("state", ["before", "queue_full"])
async def test_page_without_a_place_is_loaded_again_when_the_gate_says(
    state: StateWithoutPlace, gate: FakeGate, visit: Visit
) -> None:
    gate.view = replace(SAMPLE_VIEWS[state], refresh_seconds=40)
    page = await visit()
    await pass_time(page, 39)
    await page.context.set_offline(True)
    await pass_time(page, 10)
    assert gate.loaded == 1  # the browser's error page would stay
    await page.evaluate("addEventListener('online', () => { window.isOnline = true; })")
    async with page.expect_navigation():
        await page.context.set_offline(False)
        await eventually(lambda: page.evaluate("window.isOnline"))  # before time passes
        await pass_time(page, 6)
    assert gate.loaded == 2


@pytest.mark.parametrize("state", ["queue_full", "address_limit"])
async def test_page_without_a_place_counts_down_to_its_next_try(
    state: StateWithoutPlace, gate: FakeGate, visit: Visit
) -> None:
    gate.view = replace(SAMPLE_VIEWS[state], refresh_seconds=150)
    page = await visit()
    left = page.get_by_role("timer", name="Time until the next try")
    await expect(left).to_have_text("3 minutes")
    await pass_time(page, 100)
    await expect(left).to_have_text("50 seconds")


async def test_device_that_slept_asks_the_gate_again(gate: FakeGate, visit: Visit) -> None:
    """`performance.now()` stops during sleep; the device's clock does not."""
    gather(gate, 3000.0, refresh_s=300)
    page = await visit()
    await poll(page)
    polls = gate.polls
    gather(gate, 1200.0, refresh_s=300)
    await page.evaluate("() => { const now = Date.now; Date.now = () => now() + 1800000; }")
    await pass_time(page, 7)
    await expect(clock(page)).to_have_text(re.compile("00:19:5|00:20:00"))
    assert gate.polls == polls + 1


LATE = "Math.random = () => 0.9;"  # so that no random delay ends while the test waits for a poll


async def test_event_that_is_announced_loads_the_page_once(gate: FakeGate, visit: Visit) -> None:
    gate.wait_at(900, reason="line")
    page = await visit()
    await page.evaluate(LATE)
    await page.add_init_script(LATE)
    await poll(page)
    gate.wait_at(800, reason="line", event=replace(EVENT, starts_in_s=90_000.0))
    await poll(page)
    async with page.expect_navigation():
        await pass_time(page, VIEW.refresh_seconds)
    await expect(page.locator("#days")).to_have_text("1 day")
    loaded = gate.loaded
    gate.wait_at(800, reason="line", event=replace(EVENT, name="other", starts_in_s=90_000.0))
    gate.view = replace(gate.view, event=None)  # the page never receives the event
    await poll(page)
    async with page.expect_navigation():
        await pass_time(page, VIEW.refresh_seconds)
    await poll(page)
    await pass_time(page, VIEW.refresh_seconds)
    await expect(position(page)).to_have_text("800")
    assert gate.loaded == loaded + 1


async def test_reference_is_selected_as_a_whole(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    await expect(page.locator("#reference")).to_have_text("7K3F-9QXD")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.locator("#copy").click()
    await expect(page.locator("#copy")).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == "7K3F-9QXD"


async def test_page_of_an_event_works_without_script(gate: FakeGate, new_page: NewPage) -> None:
    gather(gate, 754.0)
    page = await new_page(java_script_enabled=False)
    await page.goto(gate.url)
    await expect(clock(page)).to_have_text("00:12:34")
    await expect(page.locator("#starts")).to_have_text("December 1, 2026, 09:00 UTC")
    await page.locator("#draw summary").click()
    await expect(page.get_by_text("9f" * 32)).to_be_visible()
    await expect(page.locator("#options")).to_be_hidden()
