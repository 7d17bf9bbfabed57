"""When the waiting page polls: intervals, back-off, hidden tabs, lost connections."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.scripted_gate import FakeGate
from tests.browser.stage import (
    MAX_DELAY_S,
    REFRESH_S,
    delays_s,
    hide_tab,
    pass_time,
    poll,
    poll_without_a_response,
    position,
    show_tab,
    visible_text,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_poll_interval_follows_the_gate_within_15_percent(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    for place in range(100, 116):
        gate.wait_at(place)
        await poll(page)
        await expect(position(page)).to_have_text(str(place))
    first, *delays = await delays_s(page, count=17)
    assert 2 * 0.85 <= first <= 2 * 1.15  # so that the cookie is confirmed soon
    assert all(REFRESH_S * 0.85 <= delay <= REFRESH_S * 1.15 for delay in delays)
    assert max(delays) - min(delays) > REFRESH_S * 0.05


async def test_longer_poll_interval_of_the_gate_is_used(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.wait_at(900, refresh_seconds=40)
    await poll(page)
    _, delay = await delays_s(page, count=2)
    assert 40 * 0.85 <= delay <= 40 * 1.15


async def test_response_without_json_shows_reconnecting_and_the_place(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    gate.status = None
    await poll(page)
    await expect(visible_text(page, "Reconnecting, your place is kept")).to_be_visible()
    await expect(position(page)).to_have_text("1,284")
    gate.wait_at(700)
    await poll(page, within_s=2 * MAX_DELAY_S)
    await expect(visible_text(page, "Reconnecting, your place is kept")).to_be_hidden()
    await expect(position(page)).to_have_text("700")


async def test_unknown_position_shows_reconnecting_until_it_is_known(
    gate: FakeGate, visit: Visit
) -> None:
    gate.wait_at(None, eta_seconds=None)
    page = await visit()
    await expect(visible_text(page, "Reconnecting, your place is kept")).to_be_visible()
    await expect(position(page)).to_have_text("–")
    gate.wait_at(77, eta_seconds=30)
    await poll(page)
    await expect(position(page)).to_have_text("77")
    gate.wait_at(None)
    await poll(page)
    await expect(visible_text(page, "Reconnecting, your place is kept")).to_be_visible()
    await expect(position(page)).to_have_text("77")


async def test_failed_polls_back_off_up_to_a_minute(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.status = None
    for count, expected in enumerate((8, 16, 32, 60, 60, 60), start=1):
        delays = await delays_s(page, count=count)
        await poll(page, within_s=delays[-1])
        delay = (await delays_s(page, count=count + 1))[-1]
        assert expected * 0.85 <= delay <= min(expected * 1.15, 60)


async def test_recovered_network_polls_at_once(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    await page.context.set_offline(True)
    await pass_time(page, MAX_DELAY_S)
    await expect(visible_text(page, "Reconnecting, your place is kept")).to_be_visible()
    gate.wait_at(640)
    await page.context.set_offline(False)
    await expect(position(page)).to_have_text("640")


async def test_poll_without_a_response_times_out(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    async with poll_without_a_response(page):
        await pass_time(page, 10)
        await expect(visible_text(page, "Reconnecting, your place is kept")).to_be_visible()


async def test_hidden_tab_polls_rarely_and_at_once_when_visible(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    await hide_tab(page)
    await poll(page)
    _, delay = await delays_s(page, count=2)
    assert 20 * 0.85 <= delay <= 20 * 1.15
    gate.wait_at(400)
    await show_tab(page)
    await expect(position(page)).to_have_text("400")


async def resume(page: Page) -> None:
    """Fire the event of Chromium at the end of freezing."""
    await page.evaluate("document.dispatchEvent(new Event('resume'))")


async def test_page_that_was_frozen_polls_at_once(gate: FakeGate, visit: Visit) -> None:
    """Also while it is hidden: this poll is the heartbeat."""
    page = await visit()
    await hide_tab(page)
    gate.wait_at(400)
    await resume(page)
    await expect(position(page)).to_have_text("400")


async def test_poll_that_a_freeze_cut_off_is_repeated_at_once(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    async with poll_without_a_response(page):
        await pass_time(page, 3)
        gate.wait_at(400)
        await resume(page)
        await expect(position(page)).to_have_text("400")
        await expect(visible_text(page, "Reconnecting, your place is kept")).to_have_count(0)


async def test_poll_that_just_began_is_not_repeated_by_a_resume(
    gate: FakeGate, visit: Visit
) -> None:
    """A page that becomes visible polls before the resume event arrives."""
    page = await visit()
    await poll(page)
    polls = gate.polls
    gate.wait_at(400)
    await hide_tab(page)
    await page.evaluate(
        "window.isHidden = false;"
        "for (const type of ['visibilitychange', 'resume']) document.dispatchEvent(new Event(type))"
    )
    await expect(position(page)).to_have_text("400")
    assert gate.polls == polls + 1
