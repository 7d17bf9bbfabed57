"""The control room in a real Chromium: an hour of a sale as the page shows it.

The page's clock moves by `second` only, the sale's by `Sale.run` only.
"""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, Route, expect

from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.auth import Credential
from gatekeeper.admin.edge_status import Certificate, EdgeStatus, Handshakes
from gatekeeper.config.types import RoomName, parse_rate_per_minute
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.reference import reference_of
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.pass_figures import PassFigures
from tests.admin import running_admin
from tests.browser.conftest import NewPage
from tests.browser.sale import NOW, REPLICAS, SALE, Sale
from tests.browser.stage import set_hidden, set_stage
from tests.servers import StoreServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

RATES = Path(__file__).parents[1] / "testdata" / "rates.json"

Visit = Callable[..., Awaitable[Page]]
Show = Callable[..., Awaitable["Control"]]
CREDENTIALS = (
    Credential.of("maria", "full", secret=b"the secret of maria"),
    Credential.of("otto", "read", secret=b"the secret of otto"),
)


@dataclass
class Control:
    """A listener whose monitor holds an hour of the sale."""

    sale: Sale
    audit: AuditLog
    url: str
    edge: list[EdgeStatus]  # none, or one
    asked: int = 0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def quarter() -> Sale:
    """The sale after its first quarter of an hour; take a copy."""
    sale = Sale(NOW)
    await sale.run(900)
    return sale


@pytest.fixture(scope="module")
def store() -> Iterator[StoreServer]:
    with StoreServer() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def show(quarter: Sale, store: StoreServer, tmp_path: Path) -> AsyncIterator[Show]:
    async with AsyncExitStack() as stack:

        async def show(*credentials: Credential) -> Control:
            sale = deepcopy(quarter)
            audit = AuditLog(tmp_path, wall_s=sale.now_s)
            edge: list[EdgeStatus] = []
            await sale.write(audit)
            store.flush()
            async with running_admin(store.url, "sale", "checkout") as first:
                await first.request("GET", "/admin/status")  # else a change waits for replicas
            running = running_admin(
                store.url,
                "sale",
                "checkout",
                credentials=credentials,
                monitor=sale.monitor,
                audit=audit,
                max_active=0,
                autotune=True,
                edge=lambda: edge[0] if edge else None,
            )
            admin = await stack.enter_async_context(running)
            return Control(sale, audit, admin.urls[0] + "/", edge)

        yield show


@pytest_asyncio.fixture(loop_scope="session")
async def control(show: Show) -> Control:
    return await show()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(new_page: NewPage, control: Control) -> Visit:
    async def open_(**options: Any) -> Page:
        page = await new_page(**options)
        page.on("request", lambda _: setattr(control, "asked", control.asked + 1))
        await set_stage(page)
        await page.goto(control.url)
        await expect(page.locator("#connection")).to_have_text("Live")
        return page

    return open_


async def second(page: Page) -> None:
    """Let a second pass, in which the page polls once and handles the response."""
    handled = page.locator("html:not([data-polling])")
    await expect(handled).to_be_attached()  # a poll in progress starts no timer before its end
    async with page.expect_response("**/admin/overview?*"):
        await page.clock.run_for(1000)
    await expect(handled).to_be_attached()


def fact(page: Page, name: str) -> Locator:
    return page.locator(f"[data-fact={name}]").first


async def points(page: Page, name: str) -> list[tuple[float, float]]:
    """What a curve goes through: x from 0 (then) to 600 (now), y from 100 up to 0."""
    drawn = await page.locator(f"path.line.{name}").first.get_attribute("d") or ""
    pairs = re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn)
    return [(float(x), float(y)) for x, y in pairs]


# --- overview and charts ---


async def test_headline_follows_the_situation(control: Control, visit: Visit) -> None:
    page = await visit()
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


async def test_numbers_update_each_second(control: Control, visit: Visit) -> None:
    page = await visit()
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


async def test_values_of_the_gate_are_shown_as_text(control: Control, visit: Visit) -> None:
    page = await visit()
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


async def test_page_opened_late_shows_the_past(control: Control, visit: Visit) -> None:
    page = await visit()
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


async def test_quantiles_are_named_p50_and_p99(visit: Visit) -> None:
    page = await visit()
    for name in ("wait", "origin"):
        for quantile in ("p50", "p99"):
            await expect(page.locator(f".key.{name}_{quantile}").first).to_have_text(quantile)
    await expect(page.locator("article dt").filter(has_text="p50 · p99")).to_have_count(4)
    await expect(page.locator("#site thead")).to_contain_text("p50 · p99")


async def test_chart_is_readable_by_keyboard_and_touch(visit: Visit) -> None:
    page = await visit()
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


async def test_changes_are_marked_in_charts_and_listed(control: Control, visit: Visit) -> None:
    await control.sale.run(2700)
    page = await visit()
    entries = page.locator("#entries li")
    await expect(entries).to_have_count(8)
    await expect(entries.nth(0)).to_contain_text(
        "anonymousrefused: mode (unknown token)198.51.100.9"
    )
    await expect(entries.nth(6)).to_contain_text("set sale to hold, was auto")
    marks = await page.locator("path.marks").first.get_attribute("d") or ""
    assert marks.count("M") == 7
    assert await page.locator("article").nth(1).locator("path.marks").first.get_attribute("d") == ""


async def test_charts_of_one_replica_or_room(control: Control, visit: Visit) -> None:
    page = await visit()
    await expect(page.locator("#replicas tr")).to_have_count(3)
    chart = page.locator("#site .chart").first
    told = [await chart.get_attribute("aria-label")]
    for one in ("gate-3-14-decade", "checkout"):
        await page.get_by_label("Charts of").select_option(one)
        assert len(await points(page, "forwarded")) > 170
        told.append(await chart.get_attribute("aria-label"))
    every, alone, one_room = (int(re.findall(r"forwarded (\d+)", t or "")[0]) for t in told)
    assert alone == pytest.approx(every * 0.25, rel=0.05)  # as the sale has it
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


async def test_hidden_tab_sends_nothing_and_catches_up(control: Control, visit: Visit) -> None:
    page = await visit()
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
    control: Control, visit: Visit, tmp_path: Path
) -> None:
    page = await visit()
    await expect(page.locator("#entries li")).to_have_count(8)
    before = len(set(await points(page, "admitted")))
    control.sale.monitor.samples.clear()
    control.sale.monitor.readings.clear()
    anew = AuditLog(tmp_path, wall_s=lambda: 1.0)
    for _ in range(8):  # as many as before: the number alone would not tell
        await anew.add("olga", "allow", address="::1", after=1)
    vars(control.audit).update(vars(anew))
    await control.sale.run(20)
    await second(page)
    await expect(page.locator("#entries li").first).to_contain_text("olga")
    assert len(set(await points(page, "admitted"))) == before + 3  # of one reading is no rate


async def test_unreachable_gate_is_reported_and_retried(visit: Visit) -> None:
    page = await visit()
    connection = page.locator("#connection")
    await expect(connection).to_have_text("Live")
    await page.context.set_offline(True)
    await page.clock.run_for(1000)
    await expect(connection).to_have_text("The gate is unreachable. Retrying …")
    await page.context.set_offline(False)
    await page.clock.run_for(2000)
    await expect(connection).to_have_text("Live")


async def test_response_timeout_is_reported_and_retried(visit: Visit) -> None:
    page = await visit()
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


async def test_page_polls_at_once_after_a_sleep(visit: Visit) -> None:
    page = await visit()
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


async def test_without_tokens_there_is_no_sign_in(visit: Visit) -> None:
    page = await visit()
    await expect(page.locator("#you")).to_have_text("this machine")
    await expect(page.get_by_label("Token")).to_be_hidden()
    await expect(page.get_by_role("button", name="Sign out")).to_be_hidden()


# --- changes and their confirmation ---

CROWD = {"queue": 1284.0, "active": 310.0}


@pytest.mark.parametrize(
    ("press", "confirm", "says"),
    [
        (
            "Hold",
            "Hold the line",
            (
                "Admission is paused until you choose another mode. 1,2xx in line keep "
                "their places; 3xx active stay."
            ),
        ),
        (
            "Open",
            "Open the gate",
            (
                "1,2xx in line and every newcomer are admitted at once, without the rate; "
                "3xx active now."
            ),
        ),
        (
            "End",
            "End admission",
            (
                "Admission closes, and 1,2xx in line see that it is over. They keep "
                "their places: in another mode the line goes on; 3xx active stay."
            ),
        ),
        (
            "Auto",
            "Admit by rate",
            "Visitors are admitted at 480/min. The line of 1,2xx takes about 2.x min.",
        ),
    ],
    ids=lambda value: value[:12],
)
async def test_mode_change_is_confirmed_in_numbers(
    press: str, confirm: str, says: str, control: Control, visit: Visit
) -> None:
    control.sale._totals |= CROWD
    await control.sale.run(1)
    page = await visit()
    button = page.get_by_role("button", name=press, exact=True).first
    await button.click()
    words = page.locator("#ask-text")
    await expect(words).to_have_text(
        re.compile(
            "^" + re.sub(r"(?<=[\d.])x+", lambda m: r"\d" * len(m[0]), re.escape(says)) + "$"
        )
    )
    await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    posted: list[str] = []
    page.on(
        "request", lambda request: posted.append(request.url) if request.method == "POST" else None
    )
    await page.keyboard.press("Escape")
    await expect(button).to_be_focused()
    assert posted == []
    await button.click()
    await page.get_by_role("button", name=confirm, exact=True).click()
    await expect(page.locator(".outcome").first).to_contain_text("Done: ")
    mode = {"End": "ended"}.get(press, press.lower())
    assert [url.partition("/admin/")[2] for url in posted] == [f"mode?mode={mode}&room=sale"]
    await second(page)
    entry = page.locator("#entries li").first
    await expect(entry).to_contain_text(f"this machineset sale to {mode}, was auto127.0.0.1")


VISITOR = "AAAAAAAAAAAAAAAAAAAAAA"


@pytest.mark.parametrize(
    ("field", "value", "press", "says", "done", "told"),
    [
        (
            "Rate",
            "8/s",
            "Set …",
            "The rate becomes 480/min; it is 480/min now. The line of 1,2",
            "Done: the rate is 8/s.",
            "set the rate of sale to 480/min, was 0",
        ),
        (
            "Rate",
            "500/minute",
            "Set …",
            "The rate becomes 500/min; it is 480/min now.",
            "Done: the rate is 500/minute.",
            "set the rate of sale to 500/min, was 0",
        ),
        (
            "Rate",
            "0",
            "Set …",
            "The rate becomes 0/min; it is 480/min now. Only extra admissions enter.",
            "Done: the rate is 0.",
            "set the rate of sale to 0/min, was 0",
        ),
        (
            "Extra admissions",
            "25",
            "Admit …",
            "25 of 1,2",
            "Done: granted 25; 25 of all grants are pending.",
            "admitted 25 extra to sale",
        ),
        (
            "Message on the waiting page",
            "Hall B is open.",
            "Show …",
            "in line see within seconds: “Hall B is open.”",
            "Done: the message is shown.",
            "set the message of sale to “Hall B is open.”",
        ),
        (
            "Message on the waiting page",
            "",
            "Show …",
            "in line see no message.",
            "Done: the message is removed.",
            "set the message of sale to none",
        ),
        (
            "End a session",
            VISITOR,
            "End …",
            f"Visitor {VISITOR} loses the session or the place in line",
            "Done: the visitor held nothing.",
            f"revoked {VISITOR} in sale, held nothing",
        ),
    ],
    ids=lambda value: value[:12],
)
async def test_action_is_confirmed_in_numbers(
    field: str,
    value: str,
    press: str,
    says: str,
    done: str,
    told: str,
    control: Control,
    visit: Visit,
) -> None:
    control.sale._totals |= CROWD
    await control.sale.run(1)
    page = await visit()
    card = page.locator("article").first
    await card.get_by_label(field, exact=True).fill(value)
    await (
        card.get_by_role("button", name=press, exact=True)
        .and_(card.locator(f"form:has(:text('{field}')) button"))
        .click()
    )
    await expect(page.locator("#ask-text")).to_contain_text(says)
    await page.locator("#ask-yes").click()
    await expect(card.locator(".outcome")).to_have_text(done)
    await second(page)
    await expect(page.locator("#entries li").first).to_contain_text(told)


async def test_busiest_passes_are_listed_and_one_is_ended(control: Control, visit: Visit) -> None:
    page = await visit()
    await expect(page.locator("#passes")).to_be_hidden()
    ann = PassFigures(SALE, VisitorId(VISITOR), 1200, 40, 7, tuple(range(16)))
    bob = replace(ann, visitor=VisitorId("B" * 22), requests=9, most=2, addresses=(1,))
    unknown = replace(ann, room=RoomName("removed"))
    for name, passes in zip(REPLICAS, ((ann, bob), (ann, unknown), ()), strict=True):
        figures = control.sale._figures[name]
        control.sale._figures[name] = replace(figures, passes=passes)
    await control.sale.run(1)
    await second(page)
    rows = page.locator("#passes tbody tr")
    await expect(rows).to_have_count(2)
    reference = reference_of(VisitorId(VISITOR))
    texts = await rows.first.locator("th, td").all_text_contents()
    assert texts[:-1] == [reference, "sale", "2,400", "16 or more", "40", "14"]
    await page.get_by_role("button", name=f"End the session of {reference} …").click()
    await expect(page.locator("#ask-text")).to_contain_text(
        f"Visitor {reference} loses the session"
    )
    await page.locator("#ask-yes").click()
    await expect(page.locator("#passes .result")).to_have_text(
        f"{reference}: Done: the visitor held nothing."
    )
    await second(page)
    await expect(page.locator("#entries li").first).to_contain_text(f"revoked {VISITOR} in sale")


async def test_certificates_of_the_edge_are_listed(control: Control, visit: Visit) -> None:
    page = await visit()
    section = page.locator("#edge")
    await expect(section).to_be_hidden()
    valid = Certificate("a.example", "valid", NOW.timestamp() + 86_400, "CA")
    failed = Certificate("b.example", "missing", problem="<b>refused</b>")
    control.edge[:] = [EdgeStatus(True, (valid, failed), Handshakes(1204, 31, 60, 2))]
    await second(page)
    await expect(section.locator("#handshakes")).to_have_text(
        "TLS handshakes in the last minute: 60 full, 2 failed; "
        "since the gate started: 1,204 and 31."
    )
    rows = section.locator("tbody tr")
    await expect(rows).to_have_count(2)
    first, second_ = [await rows.nth(at).locator("th, td").all_text_contents() for at in (0, 1)]
    assert (first[:2], first[3:]) == (["a.example", "valid"], ["CA", "–"])
    assert re.search("20[0-9]{2}", first[2])
    assert second_ == ["b.example", "missing", "–", "–", "<b>refused</b>"]
    await expect(section.locator(".error")).to_be_hidden()
    control.edge[:] = [EdgeStatus(False, (valid,))]
    await second(page)
    await expect(section.locator(".error")).to_be_visible()
    await expect(rows).to_have_count(1)


async def test_autotune_is_shown_with_targets_measures_and_why(
    control: Control, visit: Visit
) -> None:
    """Only in a room that it steers, which the page follows while it is open."""
    page = await visit()
    shown = page.locator("[data-autotune]").first
    await expect(shown).to_be_hidden()
    control.sale.steers = True
    await control.sale.run(5)
    await second(page)
    await expect(shown).to_contain_text("Autotune: 480/min, between 30 and 3,000/min.")
    await expect(shown).to_contain_text(re.compile(r"Origin: p95 4\d\d ms \(target 800 ms\), "))
    await expect(shown).to_contain_text("failed 0.25% (target 2%)")
    await expect(shown).to_contain_text(
        "from 470 to 480/min: visitors wait, and the origin keeps up"
    )
    await expect(shown).to_have_attribute("data-above", "false")


async def test_autotune_is_switched_off_in_the_settings(control: Control, visit: Visit) -> None:
    control.sale.steers = True
    await control.sale.run(5)
    page = await visit()
    card = page.locator("article").first
    await card.get_by_text("Settings", exact=True).click()
    row = card.locator(".setting").filter(has=page.get_by_text("autotune", exact=True))
    await expect(row.locator("input")).to_have_value("true")
    await row.locator("input").fill("false")
    await row.get_by_role("button", name="Set autotune …").click()
    await page.locator("#ask-yes").click()
    await expect(card.locator("[data-settings] .result")).to_have_text("Done: autotune is false.")
    await second(page)
    await expect(page.locator("[data-autotune]").first).to_be_hidden()


async def test_invalid_rate_is_an_error_without_dialog(visit: Visit) -> None:
    page = await visit()
    rate = page.get_by_label("Rate", exact=True).first
    await rate.fill("fast")
    await rate.press("Enter")
    await expect(page.locator(".outcome.error")).to_have_text(
        '"fast" is not a rate; expected e.g. "500/min" or "8/s"'
    )
    await expect(page.get_by_role("dialog")).to_be_hidden()


async def test_page_parses_rates_like_the_gate(visit: Visit) -> None:
    """Both accept the same texts, with the same result and the same error text."""
    page = await visit()
    rates: dict[str, float | None] = json.loads(RATES.read_text())
    assert len(rates) > 40
    parse = """text => {
        try { return [window.gatekeeperActions.perMinute(text), ""]; }
        catch (error) { return [null, error.message]; }
    }"""
    for text, per_minute in rates.items():
        problem = ""
        try:
            parse_rate_per_minute(text)
        except ValueError as error:
            problem = str(error)
        found, message = await page.evaluate(parse, text)
        assert (found, message) == (pytest.approx(per_minute), problem), text


async def test_error_of_the_gate_is_shown(control: Control, visit: Visit) -> None:
    page = await visit()
    room = control.sale.rooms[0]
    room.state = replace(room.state, mode=Mode.AUTO)

    async def refuse(route: Route) -> None:
        await route.fulfill(status=503, json={"error": "the store does not respond"})

    await page.route("**/admin/mode?*", refuse)
    await page.get_by_role("button", name="Hold", exact=True).first.click()
    await page.get_by_role("button", name="Hold the line").click()
    await expect(page.locator(".outcome.error")).to_have_text("the store does not respond")
    assert room.rules.room == SALE
