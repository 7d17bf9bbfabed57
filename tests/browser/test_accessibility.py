"""Screen reader, keyboard, small windows, dark scheme and reduced motion."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Visit
from tests.browser.scripted_gate import FakeGate
from tests.browser.stage import poll, position, record_announcements

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"width": 320, "height": 640}


async def test_screen_reader_receives_the_first_place_and_few_steps(
    gate: FakeGate, visit: Visit
) -> None:
    page = await visit()
    await record_announcements(page)
    for place in (1284, 1200, 900, 130, 99, 98, 60, 50, 48, 49, 26, 24, 11, 9, 8, 7, 6, 4, 3, 2, 1):
        gate.wait_at(place)
        await poll(page)
        await expect(page).to_have_title(f"{place:,} · You are in line")
    announced = await page.evaluate("window.announced")
    assert announced == [
        f"You are number {place} in line." for place in ("1,284", 99, 50, 24, 9, 4, 1)
    ]


async def test_change_of_state_is_announced(gate: FakeGate, visit: Visit) -> None:
    page = await visit()
    gate.status = None
    await poll(page)
    await expect(page.get_by_role("status")).to_have_text(re.compile("We cannot reach the line"))


@pytest.mark.parametrize("state", ["waiting", "leaving", "problem"])
async def test_page_of_320_pixels_has_no_sideways_scrolling(
    state: str, gate: FakeGate, visit: Visit
) -> None:
    gate.wait_at(12_345_678, title="Willkommen-im-Donaudampfschifffahrtsgesellschaftsladen")
    page = await visit(viewport=PHONE)
    if state == "leaving":
        await page.get_by_text("Leave the line").click()
    if state == "problem":
        body = gate.pages.problem(
            status=504, title="x" * 60, message="y" * 300, retry_after_s=5
        ).body.decode()
        await page.route(
            "**/problem", lambda route: route.fulfill(body=body, content_type="text/html")
        )
        await page.goto(gate.url + "/problem")
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]


async def test_controls_are_44_pixels_high(visit: Visit) -> None:
    page = await visit(viewport=PHONE)
    await page.get_by_text("Leave the line").click()
    for target in await page.locator(
        "button:visible, summary:visible, .button:visible, label:visible"
    ).all():
        box = await target.bounding_box()
        assert box is not None
        assert box["height"] >= 44


FOCUSED = """
() => {
    const { name, tagName } = document.activeElement;
    return [name || tagName, getComputedStyle(document.activeElement).outlineWidth];
}
"""


async def test_keyboard_reaches_all_controls_with_visible_focus(
    gate: FakeGate, visit: Visit
) -> None:
    gate.wait_at(7, message="Hall B opens at nine.")
    page = await visit()
    reached = []
    for _ in range(8):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate(FOCUSED))
    names = ["sound", "notice", "awake", "aloud", "BUTTON", "SUMMARY", "BUTTON", "ASIDE"]
    assert reached == [[name, "3px"] for name in names]
    for _ in range(2):
        await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Yes, leave")).to_be_visible()


async def test_dark_scheme_has_a_dark_background(visit: Visit) -> None:
    page = await visit(color_scheme="dark")
    red, green, blue = await page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert max(red, green, blue) < 64


async def test_reduced_motion_has_no_animation(gate: FakeGate, visit: Visit) -> None:
    page = await visit(reduced_motion="reduce")
    gate.wait_at(900)
    await poll(page)
    await expect(position(page)).to_have_text("900")
    assert await page.evaluate("document.getAnimations().length") == 0


# Animations run by a clock that no test stops, so those that the script starts are kept.
STARTED = """
window.started = [];
const animate = Element.prototype.animate;
Element.prototype.animate = function (...rest) {
    const animation = animate.apply(this, rest);
    window.started.push(animation.effect);
    return animation;
};
"""


async def test_response_pulses_the_dot_and_nothing_else_moves(gate: FakeGate, visit: Visit) -> None:
    page = await visit(reduced_motion="no-preference", script=STARTED)
    started = "started.map((each) => [each.target.parentElement.className, each.pseudoElement])"
    assert await page.evaluate("document.getAnimations().length") == 0
    assert await page.evaluate(started) == []
    gate.wait_at(900)
    await poll(page)
    await expect(position(page)).to_have_text("900")
    assert await page.evaluate(started) == [["live stack", "::before"]]
