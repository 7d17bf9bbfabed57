"""The page of a visitor with a proof of work, in a real Chromium before a real gate.

Rules: no test waits for a fixed time, since a slow machine computes longer.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Page, Route, expect

from gatekeeper.config.settings import parse_changes
from gatekeeper.config.types import RoomName
from gatekeeper.policy.proof_of_work import WorkChallenges
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.operator import Operator
from tests.browser.conftest import NewPage
from tests.browser.test_one_visitor import held_by, running_shop
from tests.gates import Gate
from tests.patient_store import PatientStore
from tests.servers import eventually
from tests.web_app import serving

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(90)]

PATIENCE_MS = 45_000
ENDLESS = 10**10  # numbers to try; no solution is among them
TRIED = """() => JSON.parse(sessionStorage.getItem(
    Object.keys(sessionStorage).find((name) => name.endsWith(":challenge"))
))"""


@asynccontextmanager
async def working_gate(room: RoomName, *, store_url: str, more: str = "") -> AsyncIterator[Gate]:
    keys = f'rate = "6000/min"\nchallenge = "work"\nchallenge_difficulty = 2000\n{more}'
    async with running_shop(room, keys, store_url=store_url) as (gate, _):
        yield gate


async def switch_off(gate: Gate, store_url: str) -> None:
    """Switch the challenge off, as an operator does; returns when it is in force."""
    store = PatientStore(store_url)
    [config] = gate.worker.site.parts.config.rooms
    operator = Operator(store, NoEvents(), config)
    await operator.change_settings(parse_changes({"challenge": "off"}))
    await operator.close()
    await store.close()
    await eventually(lambda: gate.worker.site.gates[config.name].challenges is None)


async def is_let_in(page: Page) -> None:
    await expect(page.get_by_text("The shop")).to_be_visible(timeout=PATIENCE_MS)


async def test_page_solves_the_challenge_and_enters(
    store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    """Also if a proof is lost in transit, and if the gate refuses one."""
    async with working_gate(room_name, store_url=store_url) as gate:
        page = await new_page()
        statuses = [0, 503, 403]

        async def interfere(route: Route) -> None:
            if not statuses:
                await route.continue_()
            elif status := statuses.pop(0):
                await route.fulfill(status=status, json={"error": "no"})
            else:
                await route.abort()

        await page.route("**/.gatekeeper/challenge?*", interfere)
        await page.goto(gate.url)
        await is_let_in(page)
        assert statuses == []
        assert await held_by(page.context, gate) is not None


@pytest.fixture
def endless_challenges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Challenges that no browser can solve."""
    made = WorkChallenges.challenge

    def challenge(*args: Any, **kwargs: Any) -> dict[str, object]:
        return made(*args, **kwargs) | {"challenge": "0" * 64, "maxnumber": ENDLESS}

    monkeypatch.setattr(WorkChallenges, "challenge", challenge)


@pytest.mark.usefixtures("endless_challenges")
async def test_work_goes_on_after_a_reload_and_shows_its_progress(
    store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    """And it ends when an operator switches the challenge off."""
    async with working_gate(room_name, store_url=store_url) as gate:
        page = await new_page()
        await page.goto(gate.url)
        root = page.locator("html")
        await expect(root).to_have_attribute("data-state", "challenge")
        bar = page.get_by_role("progressbar", name="Progress of the check")
        await expect(bar).not_to_have_js_property("value", 0, timeout=PATIENCE_MS)
        await expect(page.locator("#left")).to_have_text(
            re.compile(r"\d+ minutes"), timeout=PATIENCE_MS
        )
        before = await page.evaluate(TRIED)
        await page.reload()
        await page.wait_for_function(
            f"(next) => ({TRIED})().next > next", arg=before["next"], timeout=PATIENCE_MS
        )
        after = await page.evaluate(TRIED)
        assert (after["salt"], after["signature"]) == (before["salt"], before["signature"])
        await switch_off(gate, store_url)
        await page.evaluate("document.dispatchEvent(new Event('slept'))")  # it polls now
        await is_let_in(page)


async def test_visitor_without_script_reads_what_happens(
    store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    async with working_gate(room_name, store_url=store_url) as gate:
        page = await new_page(java_script_enabled=False)
        await page.goto(gate.url)
        without = page.locator("#challenge noscript p")
        await expect(without).to_contain_text("Without JavaScript the check takes one minute.")
        await expect(page.locator("#tried")).to_be_hidden()


async def test_browser_without_the_worker_shows_it(
    store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    more = 'challenge_noscript = "refuse"\n'
    async with working_gate(room_name, store_url=store_url, more=more) as gate:
        page = await new_page()
        await page.route("**/solver.*.js", lambda route: route.abort())
        await page.goto(gate.url)
        await expect(page.locator("#unsolved")).to_have_text(
            "The check does not work in this browser."
        )
        silent = await new_page(java_script_enabled=False)
        await silent.goto(gate.url)
        without = silent.locator("#challenge noscript p")
        await expect(without).to_contain_text("The check needs JavaScript.")


WIDGET = """
const box = document.querySelector(".cf-turnstile");
const button = document.createElement("button");
button.textContent = "I am here";
button.onclick = () => window.gatekeeperSolved("good " + box.dataset.sitekey);
box.append(button);
window.turnstile = { reset: () => { button.textContent = "Once more"; } };
"""


async def test_widget_of_a_provider_brings_the_proof(
    store_url: str, room_name: RoomName, new_page: NewPage, tmp_path: Path
) -> None:
    """A real page with its real policy, and a fake of the provider's script and verifier."""
    secret = tmp_path / "provider"
    secret.write_text("s" * 40)
    replies = [False, True]

    async def verify(_: web.Request) -> web.Response:
        return web.json_response({"success": replies.pop(0), "hostname": "127.0.0.1"})

    async with serving(web.post("/verify", verify)) as url:
        keys = (
            'rate = "6000/min"\nchallenge = "turnstile"\nchallenge_site_key = "0x4AAA"\n'
            f'challenge_secret_file = "{secret}"\nchallenge_verify_url = "{url}/verify"\n'
        )
        async with running_shop(room_name, keys, store_url=store_url) as (gate, _):
            page = await new_page()
            await page.route(
                "https://challenges.cloudflare.com/turnstile/v0/api.js",
                lambda route: route.fulfill(body=WIDGET, content_type="text/javascript"),
            )
            await page.goto(gate.url)
            await page.get_by_role("button", name="I am here").click()
            await page.get_by_role("button", name="Once more").click(timeout=PATIENCE_MS)
            await is_let_in(page)
    assert replies == []
