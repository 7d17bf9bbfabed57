"""A payment returns to the shop from another site, by a POST without the shop's Lax cookie.

Rules: the gate and its shop are at 127.0.0.1, the bank at localhost: two sites to the browser. What
the shop receives is compared with a payment without the gate.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import escape

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Page, expect

from gatekeeper.config.types import RoomName
from gatekeeper.policy.phase import Mode
from tests.browser.conftest import NewPage
from tests.gates import Gate, running_gate
from tests.web_app import serving

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(60)]

_ORDER = "order=7&amount=12.50&text=Gr%C3%BC%C3%9Fe"
_ORIGIN_NEEDS = 'name="order" value="7"', 'name="amount" value="12.50"', 'name="text" value="Grüße"'
BYPASS = """
[[rule]]
name = "payment"
action = "bypass"
method = ["POST"]
path = "/return"
"""


@dataclass
class Shop:
    """The shop behind the gate, and the bank of another site that sends its buyers back to it."""

    url: str = ""
    bank_url: str = ""
    returned: list[tuple[bytes, str | None]] = field(default_factory=list)  # body and cookies
    visitors: list[str | None] = field(default_factory=list)  # of the pages

    async def page(self, request: web.Request) -> web.Response:
        if "text/html" in request.headers.get("Accept", ""):  # no favicon
            self.visitors.append(request.headers.get("X-Gatekeeper-Visitor"))
        return html("<h1>shop</h1>")

    async def paid(self, request: web.Request) -> web.Response:
        self.returned.append((await request.read(), request.headers.get("Cookie")))
        return html("<h1>paid</h1>")

    async def pay(self, request: web.Request) -> web.Response:
        fields = "".join(f"<input type='hidden' {each}>" for each in _ORIGIN_NEEDS)
        to = escape(request.query["to"])
        return html(f"<form method='post' action='{to}'>{fields}<button>Pay</button></form>")


def html(text: str) -> web.Response:
    return web.Response(text=f"<!DOCTYPE html><title>t</title>{text}", content_type="text/html")


@pytest_asyncio.fixture(loop_scope="session")
async def shop() -> AsyncIterator[Shop]:
    made = Shop()
    routes = (
        web.get("/bank", made.pay),
        web.post("/return", made.paid),
        web.get("/{path:.*}", made.page),
    )
    async with serving(*routes) as made.url:
        made.bank_url = made.url.replace("127.0.0.1", "localhost") + "/bank"
        yield made


@asynccontextmanager
async def gate_of(
    shop: Shop, room: RoomName, *, store_url: str, toml: str = ""
) -> AsyncIterator[Gate]:
    text = f'{toml}[[room]]\nname = "{room}"\n'
    async with running_gate(text, store_url=store_url, origin_url=shop.url) as gate:
        gate.room_name = room
        yield gate


async def pay(page: Page, shop: Shop, shop_url: str) -> None:
    """The buyer is in the shop, goes to the bank, and pays there."""
    await page.goto(f"{shop_url}/basket")
    await expect(page.locator("h1")).to_have_text("shop")
    await page.goto(f"{shop.bank_url}?to={shop_url}/return")
    await page.get_by_role("button", name="Pay").click()
    await page.wait_for_url(f"{shop_url}/return")


async def gate_cookie(page: Page, gate: Gate) -> str:
    """The value of the gate's one cookie."""
    cookies = [each for each in await page.context.cookies() if each["name"] == gate.cookie_name]
    assert len(cookies) == 1
    return cookies[0]["value"]


async def pay_in_a_held_room(page: Page, shop: Shop, gate: Gate) -> str:
    """The pass of the buyer, who was admitted before."""
    for _ in range(2):
        await page.goto(f"{gate.url}/")
    held = await gate_cookie(page, gate)
    await gate.queue.set_mode(Mode.HOLD)
    await pay(page, shop, gate.url)
    return held


async def test_payment_request_is_unchanged_and_keeps_the_pass(
    shop: Shop, store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    direct = await new_page()
    await pay(direct, shop, shop.url)
    async with gate_of(shop, room_name, store_url=store_url) as gate:
        page = await new_page()
        await page.goto(f"{gate.url}/")
        held = await gate_cookie(page, gate)
        await page.goto(f"{gate.url}/")  # confirms it
        held = await gate_cookie(page, gate)
        await pay(page, shop, gate.url)
        await expect(page.locator("h1")).to_have_text("paid")
        assert shop.returned[1] == shop.returned[0] == (_ORDER.encode(), None)
        assert await gate_cookie(page, gate) == held
        await page.goto(f"{gate.url}/order")
        assert shop.visitors[-1] is not None
        assert shop.visitors[-1] == shop.visitors[-2]


async def test_payment_that_is_turned_away_costs_no_pass(
    shop: Shop, store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    """The room is held: the page shows that the form was not sent, and the buyer stays admitted."""
    async with gate_of(shop, room_name, store_url=store_url) as gate:
        page = await new_page()
        held = await pay_in_a_held_room(page, shop, gate)
        await expect(page.get_by_text("not sent").first).to_be_visible()
        assert shop.returned == []
        assert await gate_cookie(page, gate) == held
        await page.goto(f"{gate.url}/order")
        await expect(page.locator("h1")).to_have_text("shop")
        assert shop.visitors[-1] == shop.visitors[-2]


async def test_payment_with_a_bypass_rule_passes_a_held_room(
    shop: Shop, store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    async with gate_of(shop, room_name, store_url=store_url, toml=BYPASS) as gate:
        page = await new_page()
        held = await pay_in_a_held_room(page, shop, gate)
        await expect(page.locator("h1")).to_have_text("paid")
        assert shop.returned == [(_ORDER.encode(), None)]
        assert await gate_cookie(page, gate) == held
