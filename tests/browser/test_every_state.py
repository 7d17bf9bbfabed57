"""Every state of the public pages in several windows and languages, checked by axe-core.

Pictures are written to `artifacts/pages/`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from gatekeeper.pages.event_view import DrawNumber, EventView
from gatekeeper.pages.languages import language_by_code, languages
from gatekeeper.pages.samples import SAMPLE_VIEWS
from gatekeeper.pages.states import StateWithoutPlace
from gatekeeper.pages.waiting_view import ChallengeView
from gatekeeper.policy.phase import Reason
from tests.browser.axe import complaints
from tests.browser.conftest import NewPage
from tests.browser.scripted_gate import EVENT, FakeGate
from tests.browser.stage import poll, set_stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

PICTURES = Path(__file__).parents[2] / "artifacts" / "pages"
WORD = "The doors of hall B open at 21:15. There is enough for everyone who is in line now."
LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmütze " * 10

LOOKS: dict[str, dict[str, Any]] = {
    "phone": {"viewport": {"width": 390, "height": 844}},
    "desk": {"viewport": {"width": 1100, "height": 900}},
    "small-german": {"viewport": {"width": 320, "height": 640}, "locale": "de-DE"},
    "arabic": {"viewport": {"width": 390, "height": 844}, "locale": "ar"},
}

DRAWN = replace(EVENT, starts_in_s=None, draw=DrawNumber("3f2a91c4" + "0d" * 28, 2**50))
SMALL = {"width": 320, "height": 640}
PLACES: tuple[dict[str, Any], ...] = (
    {"reason": "line", "eta_seconds": 4000},
    {"reason": "line", "eta_seconds": 30, "message": WORD},
    {"reason": "held", "eta_seconds": None, "rate_per_minute": 0.0, "message": LONG},
    {"reason": "full", "eta_seconds": 90000, "rate_per_minute": 0.25},
    {"reason": "ended", "eta_seconds": None, "rate_per_minute": 0.0, "message": ""},
)
STATE_OF = {"line": "waiting", "held": "held", "full": "full", "ended": "ended"}

Arrange = Callable[[FakeGate, Page], Awaitable[None]]


def waits(**place: Any) -> Arrange:
    """A waiting visitor whose next poll returns `place`."""

    async def arrange(gate: FakeGate, page: Page) -> None:
        await page.goto(gate.url)
        gate.wait_at(800, **{"eta_seconds": 4000, "reason": "line"} | place)
        await poll(page)

    return arrange


def receives(status: dict[str, Any] | None) -> Arrange:
    async def arrange(gate: FakeGate, page: Page) -> None:
        await page.goto(gate.url)
        gate.status = status
        await poll(page)

    return arrange


async def loses(gate: FakeGate, page: Page) -> None:
    await page.goto(gate.url)
    gate.status = {"state": "none"}
    await page.clock.fast_forward("20:00")
    await expect(page.locator("html")).to_have_attribute("data-state", "away")


async def has_no_cookies(gate: FakeGate, page: Page) -> None:
    await receives({"state": "none"})(gate, page)
    async with page.expect_navigation():
        await page.clock.run_for(6000)
    await poll(page)


async def has_a_new_place(gate: FakeGate, page: Page) -> None:
    await page.goto(gate.url)
    await page.clock.fast_forward("20:00")
    gate.wait_at(3120, arrived_at="2026-11-23T20:50:00Z")
    await page.goto(gate.url)


async def is_leaving(gate: FakeGate, page: Page) -> None:
    await page.goto(gate.url)
    await page.locator("summary").click()


async def left(gate: FakeGate, page: Page) -> None:
    await is_leaving(gate, page)
    await page.locator("#leave form button").first.click()


async def cannot_go_in(gate: FakeGate, page: Page) -> None:
    await page.goto(gate.url)
    await page.evaluate(
        "now => sessionStorage.setItem('gatekeeper:default:admitted', JSON.stringify(now))",
        [await page.evaluate("Date.now()")] * 3,
    )
    gate.admit()
    gate.open = False
    await poll(page)


async def finds_the_origin_down(gate: FakeGate, page: Page) -> None:
    gate.problem = 502
    await page.goto(gate.url)


async def is_embedded_without_cookies(gate: FakeGate, page: Page) -> None:
    """Shown by the script; only a frame on another site reaches this state."""
    await page.goto(gate.url)
    await page.evaluate("""() => {
        document.documentElement.dataset.state = "no_cookies";
        document.querySelectorAll("[data-when]").forEach((each) => {
            each.hidden = !each.dataset.when.split(" ").includes("no_cookies");
        });
    }""")


def without_place(state: StateWithoutPlace) -> Arrange:
    """The page of a visitor without a place."""

    async def arrange(gate: FakeGate, page: Page) -> None:
        gate.view = SAMPLE_VIEWS[state]
        await page.goto(gate.url)

    return arrange


async def has_work_to_do(gate: FakeGate, page: Page) -> None:
    gate.wait_at(None, reason="challenge", eta_seconds=None, challenge=ChallengeView())
    await page.goto(gate.url)
    await poll(page)


def in_event(reason: Reason, *, position: int | None = None, event: EventView = EVENT) -> Arrange:
    """A waiting visitor in an event, before and after a poll."""

    async def arrange(gate: FakeGate, page: Page) -> None:
        gate.wait_at(position, reason=reason, event=event, eta_seconds=None)
        await page.goto(gate.url)
        await poll(page)
        if await page.locator("#draw").count():
            await page.locator("#draw summary").click()

    return arrange


async def sends_a_form(gate: FakeGate, page: Page) -> None:
    gate.without_place = True
    await page.goto(gate.url)


STATES: dict[str, Arrange] = {
    "waiting": waits(message=WORD),
    "held": waits(eta_seconds=None, rate_per_minute=0.0, reason="held"),
    "full": waits(reason="full"),
    "ended": waits(eta_seconds=None, rate_per_minute=0.0, reason="ended", message=LONG),
    "reconnecting": receives(None),
    "admitted": receives({"state": "admitted", "expires_at": ""}),
    "enter": cannot_go_in,
    "away": loses,
    "cleared": receives({"state": "none"}),
    "cookies": has_no_cookies,
    "waiting-new-place": has_a_new_place,
    "leaving": is_leaving,
    "left": left,
    "no_cookies": is_embedded_without_cookies,
    "not_sent": sends_a_form,
    "problem": finds_the_origin_down,
    "before": without_place("before"),
    "queue_full": without_place("queue_full"),
    "address_limit": without_place("address_limit"),
    "challenge": has_work_to_do,
    "closed": in_event("before", position=800),
    "prequeue": in_event("prequeue"),
    "prequeue_place": in_event("prequeue", position=800),
    "draw": in_event("draw", event=replace(EVENT, starts_in_s=None)),
    "waiting-drawn": in_event("line", position=800, event=DRAWN),
}


AROUND_AN_OPENING = ("prequeue", "before", "waiting-drawn")
THE_LONGEST = (
    *AROUND_AN_OPENING,
    "waiting",
    "ended",
    "cookies",
    "waiting-new-place",
    "leaving",
    "not_sent",
    "challenge",
    "problem",
)


@pytest.mark.parametrize("look", LOOKS)
async def test_state_passes_axe_and_fits_its_window(look: str, new_page: NewPage) -> None:
    page = await new_page(**LOOKS[look])
    await set_stage(page)
    for state in STATES if look == "phone" else THE_LONGEST:
        async with FakeGate() as gate:  # another origin, so the browser has stored nothing
            await STATES[state](gate, page)
            shown = state.partition("-")[0].replace("leaving", "waiting")
            await expect(page.locator("html")).to_have_attribute("data-state", shown)
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= LOOKS[look]["viewport"]["width"], state
            await keep(page, f"{look}/{state}.png")
            if look == "phone" or state in AROUND_AN_OPENING:
                assert await complaints(page) == [], state
                await page.emulate_media(color_scheme="dark")
                await keep(page, f"{look}-dark/{state}.png")
                assert await complaints(page, "color-contrast") == [], state
                await page.emulate_media(color_scheme="light")


async def keep(page: Page, name: str) -> None:
    await page.screenshot(path=PICTURES / name, animations="disabled")


@pytest.mark.parametrize("lang", sorted({each.code for each in languages().values()}))
async def test_language_fits_a_small_phone_and_lacks_no_text(
    lang: str, gate: FakeGate, new_page: NewPage
) -> None:
    """The script shows the same numbers and durations as the server, before and after a poll."""
    eta_seconds = 90 * 60 if lang < "m" else 190
    gate.wait_at(1_234_567, eta_seconds=eta_seconds)
    page = await new_page(viewport=SMALL, locale=lang)
    await set_stage(page)
    await page.goto(gate.url)
    root = page.locator("html")
    await expect(root).to_have_attribute("lang", lang)
    await expect(root).to_have_attribute("dir", language_by_code(lang).direction)
    assert await page.evaluate("document.documentElement.scrollWidth") <= SMALL["width"]
    assert await page.evaluate(EMPTY) == []
    await shows_numbers_of_the_server(page, gate, lang)
    gate.wait_at(1_234_567, eta_seconds=eta_seconds, message="hello")  # changes with the poll
    await poll(page)
    await expect(page.locator("#message")).to_be_visible()
    await shows_numbers_of_the_server(page, gate, lang)


async def shows_numbers_of_the_server(page: Page, gate: FakeGate, lang: str) -> None:
    """Whether the page contains each number and duration as the server renders it."""
    body = gate.pages.waiting(replace(gate.view, lang=lang)).body.decode()
    rendered = body.replace("\xa0", "&nbsp;")  # as the browser serialises it
    for name in ("#position", "#wait", "#rate", "#ahead"):
        assert f">{await page.locator(name).inner_html()}<" in rendered, name


# Elements that should have a text and have none.
EMPTY = """
() => [...document.querySelectorAll("main :is(p, h1, dt, dd, label, button, summary, a), title")]
    .filter((each) => !each.matches("[role=status]") && !each.textContent.trim())
    .map((each) => each.outerHTML)
"""


async def test_change_of_state_shifts_nothing(gate: FakeGate, new_page: NewPage) -> None:
    page = await new_page(viewport=SMALL)
    await set_stage(page)
    await page.add_init_script(SHIFTS)
    for place in PLACES:
        gate.wait_at(800, **place)
        if page.url == "about:blank":
            await page.goto(gate.url)
        await poll(page)
        await expect(page.locator("html")).to_have_attribute(
            "data-state", STATE_OF[place["reason"]]
        )
        await page.evaluate("() => new Promise((done) => window.realTimeout(done, 100))")
    gate.status = None
    await poll(page)
    await expect(page.locator("html")).to_have_attribute("data-state", "reconnecting")
    assert await page.evaluate("window.shifts") == []


SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => list.getEntries().forEach((each) => window.shifts.push(
    [each.value, each.sources.map(({ node }) => node && (node.id || node.nodeName))]
))).observe({ type: "layout-shift", buffered: true });
"""
