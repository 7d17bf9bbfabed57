"""Numbers and spans of the script equal those of the server, in every language."""

from dataclasses import replace

import pytest
from playwright.async_api import expect

from gatekeeper.pages.languages import languages
from tests.browser.conftest import NewPage
from tests.browser.scripted_gate import FakeGate
from tests.browser.stage import poll, set_stage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_script_keeps_the_numbers_of_the_server(gate: FakeGate, new_page: NewPage) -> None:
    shown = ("#position", "#ahead", "#wait", "#rate")
    for language in languages().values():
        gate.wait_at(1_234_567, eta_seconds=90 * 60 if language.code < "m" else 190)
        page = await new_page(locale=language.code)
        await set_stage(page)
        await page.goto(gate.url)
        await expect(page.locator("html")).to_have_attribute("lang", language.code)
        without = await _without_script(gate, language.code)
        for name in shown:
            assert f">{await page.locator(name).inner_html()}<" in without, (language.code, name)
        await poll(page)
        for name in shown:
            assert f">{await page.locator(name).inner_html()}<" in without, (language.code, name)


async def _without_script(gate: FakeGate, lang: str) -> str:
    body = gate.pages.waiting(replace(gate.view, lang=lang)).body.decode()
    return body.replace("\xa0", "&nbsp;")  # as the browser writes it
