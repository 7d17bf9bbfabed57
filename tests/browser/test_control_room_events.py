"""Events in the control room: made, delayed, opened and ended, each after a confirmation."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from gatekeeper.admin.auth import Credential
from tests.admin import running_admin
from tests.browser.axe import complaints
from tests.browser.conftest import NewPage
from tests.gates import Visitor
from tests.servers import StoreServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

MARIA, OTTO = "the secret of maria, all of it", "the secret of otto, who reads"
CREDENTIALS = (
    Credential.of("maria", "full", secret=MARIA.encode()),
    Credential.of("otto", "read", secret=OTTO.encode()),
)
ZONE = "Europe/Berlin"
BEACON = "https://beacon.example/chain"
SALE = datetime.now(UTC).replace(microsecond=0) + timedelta(days=200)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def admin() -> AsyncIterator[Visitor]:
    with StoreServer() as store:
        async with running_admin(store.url, "default", credentials=CREDENTIALS) as admin:
            yield admin


async def signed_in(new_page: NewPage, admin: Visitor, token: str) -> Page:
    page = await new_page(timezone_id=ZONE, locale="en-GB")
    await page.goto(admin.urls[0] + "/")
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_text("Events", exact=True).click()
    return page


async def press(page: Page, name: str, confirm: str, *, says: str) -> None:
    """Press a button, then the button of its confirmation."""
    await page.get_by_role("button", name=name, exact=True).click()
    await expect(page.locator("#ask-text")).to_contain_text(says)
    await page.get_by_role("button", name=confirm, exact=True).click()
    await expect(page.locator("#ask")).not_to_be_visible()


def in_berlin(at: datetime) -> str:
    """In the format of the browser's field, at Berlin time (UTC+1 or UTC+2)."""
    return at.astimezone(ZoneInfo(ZONE)).strftime("%Y-%m-%dT%H:%M:%S")


def utc(at: datetime) -> str:
    return at.strftime("(%Y-%m-%d %H:%M:%S UTC)")


async def test_event_runs_by_the_control_room(new_page: NewPage, admin: Visitor) -> None:
    page = await signed_in(new_page, admin, MARIA)
    done = page.locator("[data-events] .result")
    item = page.locator(".event")
    await expect(page.get_by_text("No event is planned.")).to_be_visible()
    form = page.get_by_role("form", name="New event")
    await form.get_by_label("Name").fill("sale")
    await form.get_by_label("Visitors gather from").fill(in_berlin(SALE))
    await form.get_by_label("Start").fill(in_berlin(SALE + timedelta(minutes=30)))
    await form.get_by_label("Rate of the event").fill("fast")
    await press(page, "Plan …", "Plan it", says=utc(SALE))
    await expect(done).to_contain_text('rate: "fast" is not a rate')
    await expect(item).to_have_count(0)
    await form.get_by_label("Rate of the event").fill("2000/min")
    settings = form.get_by_label("Other settings for the event")
    for lines, problem in (
        ("max_active 6000", '"max_active 6000" is not a setting'),
        ("rate = 5/min", "rate has a field of its own"),
        ("start = now", "start has a field of its own"),
        ("burst = 2\nburst = 3", "burst is set twice"),
    ):
        await settings.fill(lines)
        await page.get_by_role("button", name="Plan …", exact=True).click()
        await expect(done).to_contain_text(problem)
    await settings.fill("place_ttl = 7\ncookie = x")
    await press(page, "Plan …", "Plan it", says="cookie = x")
    await expect(done).to_contain_text("cookie: unknown key")
    await expect(item).to_have_count(0)
    await settings.fill("max_active = 6000\n\n title = 2026 = sold out \nplace_ttl=3h")
    await form.get_by_label("Beacon").fill(BEACON)
    await press(page, "Plan …", "Plan it", says=f"waits for the beacon {BEACON}")
    await expect(done).to_have_text("Done: sale is planned.")
    for key in (
        "rate = 2000/min",
        "max_active = 6000",
        "title = 2026 = sold out",
        "place_ttl = 3h",
    ):
        await expect(item).to_contain_text(key)
    await expect(item).to_contain_text(f"beacon = {BEACON}")
    await expect(item).to_contain_text(utc(SALE + timedelta(minutes=30)))
    await expect(item).to_contain_text(re.compile("commitment [0-9a-f]{64}"))
    await expect(page.locator("[data-event-words]")).to_contain_text("sale: planned, prequeue in ")
    assert await complaints(page) == []

    await item.get_by_label("Delay by").fill("ten minutes")
    await page.get_by_role("button", name="Delay sale …").click()
    await expect(done).to_contain_text('"ten minutes" is not a delay')
    await item.get_by_label("Delay by").fill("10m")
    later = utc(SALE + timedelta(minutes=40))
    await press(page, "Delay sale …", "Delay it", says=later)
    await expect(done).to_have_text("Done: sale is delayed.")
    await expect(item).to_contain_text(later)

    await page.get_by_role("button", name="Open now: sale …").click()
    await page.get_by_role("button", name="Cancel", exact=True).click()  # of the dialog
    await expect(item).to_have_attribute("data-stage", "planned")
    await press(page, "Open now: sale …", "Open now", says="admitted from this moment on")
    await expect(item).to_have_attribute("data-stage", "running")
    await expect(page.locator("[data-event-words]")).to_have_text("sale: running")
    await expect(page.get_by_role("button", name="Delay sale …")).not_to_be_visible()
    await press(page, "End sale …", "End the event", says="returns to its own settings")
    await expect(item).to_have_attribute("data-stage", "ended")
    entries = page.locator("#entries li")
    await expect(entries.first).to_contain_text("cancelled sale start ")
    await expect(entries.nth(3)).to_contain_text("planned sale start ")


async def test_read_role_sees_events_without_buttons(new_page: NewPage, admin: Visitor) -> None:
    page = await signed_in(new_page, admin, OTTO)
    await expect(page.locator(".event")).to_have_count(1)
    await expect(page.locator(".event button").first).not_to_be_visible()
    await expect(page.get_by_role("form", name="New event")).not_to_be_visible()
