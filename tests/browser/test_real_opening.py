"""A browser during the opening of a real gate: prequeue, draw, place in line, admission."""

import hashlib
import re
import time
from dataclasses import replace

import pytest
from playwright.async_api import expect

from gatekeeper.config.event_schema import spell_time
from gatekeeper.config.types import RoomName
from gatekeeper.demo.shop import start_origin
from tests.browser.app_visitors import line_up
from tests.browser.conftest import NewPage
from tests.gates import Gate, running_gate

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(60)]

_OTHERS = 3
_WAIT_MS = 30_000


async def move_start(gate: Gate, *, in_s: float) -> float:
    """Move the start, as an operator does. Returns the start."""
    state = await gate.queue.read_state()
    event = state.schedule.find("sale")
    assert event is not None
    opened = replace(event, start_us=state.now_us + round(in_s * 1_000_000))
    await gate.queue.change_events(state.schedule, state.schedule.with_event(opened))
    gate.room().wake()
    return opened.start_us / 1_000_000


async def test_page_of_a_prequeue_shows_its_drawn_place_and_enters(
    store_url: str, events_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    now_s = time.time()
    prequeue, start = (spell_time(round(at * 1_000_000)) for at in (now_s - 60, now_s + 3600))
    shop = await start_origin()
    toml = f"""
[server]
shutdown_timeout = "500ms"
[[room]]
name = "{room_name}"
rate = "0"
poll_interval_max = "1s"
[[event]]
name = "sale"
room = "{room_name}"
prequeue = "{prequeue}"
start = "{start}"
"""
    try:
        async with running_gate(
            toml, store_url=store_url, events_url=events_url, origin_url=shop.url
        ) as gate:
            gate.room_name = room_name
            await line_up(gate, _OTHERS)
            page = await new_page()
            await page.goto(gate.url)
            root, number = page.locator("html"), page.locator("#number")
            await expect(root).to_have_attribute("data-state", "prequeue")
            await expect(number).to_be_hidden()
            await move_start(gate, in_s=900)  # long enough to be seen
            clock = re.compile(r"^00:1[0-5]:\d\d$")
            await expect(page.locator("#clock")).to_have_text(clock, timeout=_WAIT_MS)
            await expect(number).to_be_hidden()
            start_s = await move_start(gate, in_s=1)
            await expect(root).to_have_attribute("data-state", "held", timeout=_WAIT_MS)
            assert time.time() >= start_s
            await expect(page.locator("#opening")).to_be_hidden()
            position = int(await page.locator("#position").inner_text())
            assert 1 <= position <= _OTHERS + 1
            [cookie] = await page.context.cookies()
            ticket = gate.token(cookie["value"])
            assert ticket is not None
            id_hash = hashlib.sha256(ticket.visitor.encode()).hexdigest()
            await expect(number).to_have_text(f"{id_hash[:4]} {id_hash[4:8]}")
            await gate.allow(_OTHERS + 1)
            await expect(page.locator("h1").first).not_to_have_text(
                "You are in line", timeout=_WAIT_MS
            )
            await expect(page).to_have_title("The Harbour Sessions · Undertow Records")
    finally:
        await shop.stop()
