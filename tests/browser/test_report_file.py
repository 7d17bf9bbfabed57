"""The report on screens, on paper, and saved from the control room."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from gatekeeper.admin.audit import Entry
from gatekeeper.admin.report_page import page_of
from gatekeeper.policy.draw_record import record_of
from gatekeeper.policy.schedule import Drawn, Event, Schedule
from tests.admin import running_admin
from tests.browser.axe import complaints
from tests.browser.conftest import NewPage
from tests.unit.admin.report_samples import START_S, line, minutes_of, report_on

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOOKS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1200, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}},
    "dark": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "dark"},
}
OPENED = Event(
    "autumn-sale",
    start_us=(START_S + 240) * 1_000_000,
    announced_us=1,
    prequeue_us=START_S * 1_000_000,
    commitment="ab" * 32,
    drawn=Drawn("cd" * 32),
)


def sample() -> bytes:
    minutes = [replace(each, failures={"502": 2}) for each in minutes_of(line(900))]
    entry = Entry("2026-12-01T10:05:00.000Z", "maria", "mode", "192.0.2.7", room="sale")
    return page_of(
        report_on(
            [*minutes[:6], *minutes[8:]],
            event=OPENED,
            schedule=Schedule.of([OPENED]),
            draws=[record_of(OPENED, room="sale", is_complete=True, participants=480, note="")],
            entries=[replace(entry, before="hold", after="auto")],
            warnings=["minutes/sale.2026-12-01.jsonl: 1 line is damaged and left out"],
        )
    )


@pytest.mark.parametrize("look", LOOKS)
async def test_report_passes_axe_and_fits_its_window(
    look: str, new_page: NewPage, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_bytes(sample())
    page = await new_page(**LOOKS[look])
    await page.goto(file.as_uri())
    await expect(page.get_by_role("heading", level=1)).to_have_text("Report: autumn-sale in sale")
    await expect(page.get_by_role("img")).to_have_count(6)
    width = LOOKS[look]["viewport"]["width"]
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert await complaints(page) == []


async def test_report_prints_light_on_few_sheets(new_page: NewPage, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_bytes(sample())
    page = await new_page(color_scheme="dark")
    await page.goto(file.as_uri())
    await page.emulate_media(media="print", color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert await page.evaluate(ground) == "rgb(255, 255, 255)"
    printed = await page.pdf(prefer_css_page_size=True)
    assert 1 <= printed.count(b"/Type /Page\n") <= 4


async def test_control_room_saves_the_report(
    new_page: NewPage, store_url: str, room_name: str
) -> None:
    async with running_admin(store_url, room_name) as admin:
        page = await new_page()
        await page.goto(admin.urls[0] + "/")
        await page.get_by_text("Make a report on a room or an event").click()
        await expect(page.locator("#report [name=room]")).to_have_value(room_name)
        for choice, suffix in (("Page with charts, to print", "html"), ("Data (JSON)", "json")):
            await page.get_by_label("File").select_option(choice)
            async with page.expect_download() as saved:
                await page.get_by_role("button", name="Save the report").click()
            download = await saved.value
            assert download.suggested_filename == f"report-{room_name}.{suffix}"
            await expect(page.locator("#report .result")).to_contain_text("is saved")
