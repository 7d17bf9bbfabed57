"""The control room in a real Chromium: an hour of a sale as the page shows it.

The page's clock moves by `second` only, the sale's by `Sale.run` only.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from gatekeeper.admin.audit import AuditLog
from tests.admin import running_admin
from tests.browser.conftest import NewPage, Visit
from tests.browser.dashboard_stage import CREDENTIALS, Control, Show, fact, points, second
from tests.browser.sale import NOW, Sale
from tests.browser.stage import set_hidden, set_stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

# --- overview and charts ---


async def test_headline_follows_the_situation(control: Control, visit_room: Visit) -> None:
    page = await visit_room()
    headline = page.locator("#headline")
    await expect(headline).to_have_text("sale: the line is empty, 491 active.")
    control.sale.rooms[0].is_store_down = control.sale.rooms[1].is_store_down = True
    await control.sale.run(1)
    await second(page)
    await expect(headline).to_contain_text(
        re.compile(r"^Store unreachable since \d\d:\d\d [AP]M: active visitors")
    )
    await expect(page.locator("#situation")).to_have_attribute("data-level", "bad")
    await expect(page.locator("#also li")).to_have_count(2)
    await expect(page).to_have_title(re.compile("^⚠ Store unreachable since"))
    await expect(fact(page, "active")).to_have_text("491")
    await expect(page.locator(".mode").first).to_have_text("Store unreachable: last known values")
    await expect(fact(page, "wait")).to_have_text("–")


async def test_numbers_update_each_second(control: Control, visit_room: Visit) -> None:
    page = await visit_room()
    sale = control.sale
    await expect(fact(page, "admitted")).to_have_text(re.compile(r"^\d+ /min of 480$"))
    state = sale.rooms[0].state
    sale.rooms[0].state = replace(state, message="Hall B is full.")
    sale._totals["queue"] = 1284.0
    await sale.run(1)
    await second(page)
    await expect(fact(page, "queue")).to_have_text(re.compile(r"^1,2\d\d$"))
    await expect(fact(page, "wait")).to_have_text("2.7 min")
    await expect(page.get_by_text("Message on the waiting page: “Hall B is full.”")).to_be_visible()


async def test_values_of_the_gate_are_shown_as_text(control: Control, visit_room: Visit) -> None:
    page = await visit_room()
    hostile = "<img src=x onerror=alert(1)>"
    room = control.sale.rooms[0]
    room.state = replace(room.state, message=hostile)
    figures = next(iter(control.sale.monitor.replicas.values())).figures
    control.sale.monitor.receive(replace(figures, replica=hostile))
    await control.sale.run(1)
    await second(page)
    await expect(page.get_by_role("rowheader", name=hostile)).to_be_visible()
    await expect(page.locator("[data-message]").first).to_contain_text(hostile)
    assert await page.locator("img[src=x]").count() == 0


async def test_page_opened_late_shows_the_past(control: Control, visit_room: Visit) -> None:
    page = await visit_room()
    drawn = await points(page, "admitted")
    assert len(set(drawn)) > 170  # 900 s in samples of 5 s
    assert drawn[-1][0] == pytest.approx(600, abs=4)  # a sample is at most 5 s old
    assert drawn[0][0] == pytest.approx(0, abs=5)  # the x axis begins with the data
    await page.get_by_role("button", name="Last 10 minutes").click()
    later = await points(page, "admitted")
    assert 118 <= len(set(later)) <= 122
    assert later[0][0] < 10


async def axis(page: Page) -> list[str]:
    """The labels below the first chart: start, middle and end of its x axis."""
    times = page.locator("article .chart").first.locator(".time")
    return await times.all_inner_texts()


async def test_chart_of_a_young_gate_begins_with_its_data(
    new_page: NewPage, tmp_path: Path
) -> None:
    """After two minutes the x axis has two minutes; it grows to the hour and no further."""
    sale = Sale(NOW)
    await sale.run(120)
    no_store = "redis://127.0.0.1:9"  # the page reads the monitor only
    async with running_admin(
        no_store, "sale", "checkout", monitor=sale.monitor, audit=AuditLog(tmp_path), max_active=0
    ) as admin:
        page = await new_page()
        await set_stage(page)
        await page.goto(admin.urls[0] + "/")
        await expect(page.locator("#connection")).to_have_text("Live")
        drawn = await points(page, "arrived")
        assert drawn[0][0] < 40  # the first sample has no rate yet
        assert drawn[-1][0] == pytest.approx(600, abs=30)
        assert await axis(page) == ["07:31:01 PM", "07:32:00 PM", "now"]
        await sale.run(600)
        await second(page)
        assert await axis(page) == ["07:31 PM", "07:37 PM", "now"]
        assert (await points(page, "arrived"))[0][0] < 10
        await sale.run(3600)
        await second(page)
        assert await axis(page) == ["07:43 PM", "08:13 PM", "now"]


async def test_quantiles_are_named_p50_and_p99(visit_room: Visit) -> None:
    page = await visit_room()
    for name in ("wait", "origin"):
        for quantile in ("p50", "p99"):
            await expect(page.locator(f".key.{name}_{quantile}").first).to_have_text(quantile)
    await expect(page.locator("article dt").filter(has_text="p50 · p99")).to_have_count(4)
    await expect(page.locator("#site thead")).to_contain_text("p50 · p99")


async def test_chart_is_readable_by_keyboard_and_touch(visit_room: Visit) -> None:
    page = await visit_room()
    chart = page.locator("article .chart").first
    reading = page.locator("article .reading").first
    await expect(chart).to_have_accessible_name(
        re.compile(r"^Visitors per minute\. arrived \d+/min")
    )
    await chart.focus()
    await page.keyboard.press("ArrowLeft")
    await expect(reading).to_contain_text(
        re.compile(r"07:45:\d\d PM: arrived \d+/min, .* rate 480")
    )
    before = await reading.inner_text()
    await page.keyboard.press("ArrowLeft")
    assert await reading.inner_text() != before
    await page.keyboard.press("Escape")
    await expect(reading).to_have_text("")
    await chart.locator("svg").click(position={"x": 300, "y": 20})
    await expect(reading).to_contain_text("admitted")


async def test_changes_are_marked_in_charts_and_listed(control: Control, visit_room: Visit) -> None:
    await control.sale.run(2700)
    page = await visit_room()
    entries = page.locator("#entries li")
    await expect(entries).to_have_count(8)
    await expect(entries.nth(0)).to_contain_text(
        "anonymousrefused: mode (unknown token)198.51.100.9"
    )
    await expect(entries.nth(6)).to_contain_text("set sale to hold, was auto")
    marks = await page.locator("path.marks").first.get_attribute("d") or ""
    assert marks.count("M") == 7
    assert await page.locator("article").nth(1).locator("path.marks").first.get_attribute("d") == ""


async def test_charts_of_one_replica_or_room(control: Control, visit_room: Visit) -> None:
    page = await visit_room()
    await expect(page.locator("#replicas tr")).to_have_count(3)
    chart = page.locator("#site .chart").first
    labels = [await chart.get_attribute("aria-label")]
    for one in ("gate-3-14-decade", "checkout"):
        await page.get_by_label("Charts of").select_option(one)
        assert len(await points(page, "forwarded")) > 170
        labels.append(await chart.get_attribute("aria-label"))
    every, alone, one_room = (int(re.findall(r"forwarded (\d+)", t or "")[0]) for t in labels)
    assert alone == pytest.approx(every * 0.25, rel=0.05)  # as in the sale
    assert one_room == pytest.approx(every * 0.1, rel=0.05)
    control.sale.silent = "gate-3-14-decade"
    await control.sale.run(8)
    await second(page)
    row = page.get_by_role("row", name=re.compile("gate-3"))
    await expect(row).to_contain_text("not reporting for 8 s")
    await expect(page.locator("#headline")).to_have_text(
        "1 of 3 replicas is not reporting: gate-3-14-decade for 8 s."
    )


# --- polling ---


async def test_hidden_tab_sends_nothing_and_catches_up(control: Control, visit_room: Visit) -> None:
    page = await visit_room()
    await expect(fact(page, "queue")).to_have_text("0")
    before = len(set(await points(page, "admitted")))
    await set_hidden(page, hidden=True)
    asked = control.asked
    await page.clock.run_for(60_000)
    assert control.asked == asked
    await control.sale.run(60)
    await set_hidden(page, hidden=False)
    await expect(page.locator("#headline")).to_contain_text("active")
    await second(page)
    assert len(set(await points(page, "admitted"))) == before + 12


async def test_restarted_gate_keeps_the_hour_of_the_page(
    control: Control, visit_room: Visit, tmp_path: Path
) -> None:
    page = await visit_room()
    await expect(page.locator("#entries li")).to_have_count(8)
    before = len(set(await points(page, "admitted")))
    control.sale.monitor.samples.clear()
    control.sale.monitor.readings.clear()
    anew = AuditLog(tmp_path, wall_s=lambda: 1.0)
    for _ in range(8):  # as many as before, so that the number alone does not show the change
        await anew.add("olga", "allow", address="::1", after=1)
    vars(control.audit).update(vars(anew))
    await control.sale.run(20)
    await second(page)
    await expect(page.locator("#entries li").first).to_contain_text("olga")
    assert len(set(await points(page, "admitted"))) == before + 3  # one reading alone gives no rate


async def test_unreachable_gate_is_reported_and_retried(visit_room: Visit) -> None:
    page = await visit_room()
    connection = page.locator("#connection")
    await expect(connection).to_have_text("Live")
    await page.context.set_offline(True)
    await page.clock.run_for(1000)
    await expect(connection).to_have_text("The gate is unreachable. Retrying …")
    await page.context.set_offline(False)
    await page.clock.run_for(2000)
    await expect(connection).to_have_text("Live")


async def test_response_timeout_is_reported_and_retried(visit_room: Visit) -> None:
    page = await visit_room()
    connection = page.locator("#connection")
    await expect(connection).to_have_text("Live")
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await page.route("**/admin/overview?*", hold)
    async with page.expect_request("**/admin/overview?*"):
        await page.clock.run_for(1000)
    await page.clock.run_for(5000)
    await expect(connection).to_have_text("The gate did not respond in time. Retrying …")
    await page.unroute("**/admin/overview?*")
    await page.clock.run_for(2000)
    await expect(connection).to_have_text("Live")


async def test_page_polls_at_once_after_a_sleep(visit_room: Visit) -> None:
    page = await visit_room()
    await expect(page.locator("#connection")).to_have_text("Live")

    async def never(route: Route) -> None:
        pass

    await page.route("**/admin/overview?*", never)
    async with page.expect_request("**/admin/overview?*"):
        await page.clock.run_for(1000)
    await page.unroute("**/admin/overview?*")
    await page.evaluate("clearTimeout = () => {}; setTimeout = () => 0")  # timers that never fire
    await page.clock.set_system_time(NOW.replace(hour=22))
    async with page.expect_response("**/admin/overview?*"):
        await page.evaluate("window.dispatchEvent(new Event('focus'))")


# --- sign-in and roles ---


async def test_token_is_kept_for_the_tab_only(new_page: NewPage, show: Show) -> None:
    control = await show(*CREDENTIALS)
    page = await new_page()
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    await set_stage(page)
    await page.goto(control.url)
    await page.get_by_label("Token").fill("wrong")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_role("alert")).to_have_text("That token was not accepted.")
    await page.get_by_label("Token").fill("the secret of maria")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.locator("#you")).to_have_text("maria")
    await expect(page.get_by_label("Token")).to_be_hidden()
    await page.reload()
    await expect(page.locator("#you")).to_have_text("maria")
    assert page.url == control.url
    assert [url for url in urls if "secret" in url] == []
    assert "secret of maria" not in await page.content()
    assert await page.evaluate("localStorage.length + document.cookie.length") == 0
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Token")).to_be_focused()
    assert await page.evaluate("sessionStorage.length") == 0
    await expect(page.locator("#headline")).to_be_hidden()


async def test_read_role_has_no_controls(new_page: NewPage, show: Show) -> None:
    control = await show(*CREDENTIALS)
    page = await new_page()
    await set_stage(page)
    await page.goto(control.url)
    await page.get_by_label("Token").fill("the secret of otto")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.locator("#you")).to_have_text("otto · read only")
    await expect(fact(page, "queue")).to_be_visible()
    for name in ("Hold", "Set …", "Admit …", "Show …", "End …"):
        await expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)


async def test_without_tokens_there_is_no_sign_in(visit_room: Visit) -> None:
    page = await visit_room()
    await expect(page.locator("#you")).to_have_text("this machine")
    await expect(page.get_by_label("Token")).to_be_hidden()
    await expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
