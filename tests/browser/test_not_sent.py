"""A form that is sent to a waiting visitor's gate: the gate does not forward it, and afterwards its
address is opened by GET."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import NewPage
from tests.browser.scripted_gate import FakeGate

pytestmark = pytest.mark.asyncio(loop_scope="session")

_FORM = """
const form = document.body.appendChild(document.createElement("form"));
form.method = "post";
form.action = "/cart?item=7";
form.appendChild(document.createElement("input")).name = "note";
form.submit();
"""


async def test_form_is_sent_once_and_its_address_is_opened_by_get(
    gate: FakeGate, new_page: NewPage
) -> None:
    page = await new_page()
    methods: list[tuple[str, str]] = []
    gate.open = True
    await page.goto(gate.url + "/form")
    page.on("request", lambda request: methods.append((request.method, request.url)))
    gate.open, gate.without_place = False, True
    async with page.expect_navigation():
        await page.evaluate(_FORM)
    await expect(page.locator("h1")).to_have_text("Your form was not sent")
    gate.without_place = False
    await page.get_by_role("link", name="Join the line").click()
    await expect(page.locator("#position")).to_be_visible()
    address = gate.url + "/cart?item=7"
    assert page.url == address
    assert methods[:2] == [("POST", address), ("GET", address)]
    gate.admit()
    await expect(page.locator("h1")).to_have_text("Welcome to the shop")
    assert [method for method, _ in methods].count("POST") == 1
