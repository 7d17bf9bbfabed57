"""Changes by the operator in the control room: input, confirmation with numbers, and result.

The page's clock moves by `second` only, the sale's by `Sale.run` only.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Route, expect

from gatekeeper.admin.edge_status import Certificate, EdgeStatus, Handshakes
from gatekeeper.config.types import RoomName, parse_rate_per_minute
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.reference import reference_of
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.pass_figures import PassFigures
from tests.browser.conftest import Visit
from tests.browser.dashboard_stage import Control, second
from tests.browser.sale import NOW, REPLICAS, SALE

pytestmark = pytest.mark.asyncio(loop_scope="session")

RATES = Path(__file__).parents[1] / "testdata" / "rates.json"

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
    press: str, confirm: str, says: str, control: Control, visit_room: Visit
) -> None:
    control.sale._totals |= CROWD
    await control.sale.run(1)
    page = await visit_room()
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
    ("field", "value", "press", "says", "done", "shown"),
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
    shown: str,
    control: Control,
    visit_room: Visit,
) -> None:
    control.sale._totals |= CROWD
    await control.sale.run(1)
    page = await visit_room()
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
    await expect(page.locator("#entries li").first).to_contain_text(shown)


async def test_busiest_passes_are_listed_and_one_is_ended(
    control: Control, visit_room: Visit
) -> None:
    page = await visit_room()
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


async def test_certificates_of_the_edge_are_listed(control: Control, visit_room: Visit) -> None:
    page = await visit_room()
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
    control: Control, visit_room: Visit
) -> None:
    """Only in a room with autotune; the page updates while it is open."""
    page = await visit_room()
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


async def test_autotune_is_switched_off_in_the_settings(
    control: Control, visit_room: Visit
) -> None:
    control.sale.steers = True
    await control.sale.run(5)
    page = await visit_room()
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


async def test_invalid_rate_is_an_error_without_dialog(visit_room: Visit) -> None:
    page = await visit_room()
    rate = page.get_by_label("Rate", exact=True).first
    await rate.fill("fast")
    await rate.press("Enter")
    await expect(page.locator(".outcome.error")).to_have_text(
        '"fast" is not a rate; expected e.g. "500/min" or "8/s"'
    )
    await expect(page.get_by_role("dialog")).to_be_hidden()


async def test_page_parses_rates_like_the_gate(visit_room: Visit) -> None:
    """Both accept the same texts, with the same result and the same error text."""
    page = await visit_room()
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


async def test_error_of_the_gate_is_shown(control: Control, visit_room: Visit) -> None:
    page = await visit_room()
    room = control.sale.rooms[0]
    room.state = replace(room.state, mode=Mode.AUTO)

    async def refuse(route: Route) -> None:
        await route.fulfill(status=503, json={"error": "the store does not respond"})

    await page.route("**/admin/mode?*", refuse)
    await page.get_by_role("button", name="Hold", exact=True).first.click()
    await page.get_by_role("button", name="Hold the line").click()
    await expect(page.locator(".outcome.error")).to_have_text("the store does not respond")
    assert room.rules.room == SALE
