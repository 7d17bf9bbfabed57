"""A real browser waits and enters behind each proxy that asks the gate (forward auth)."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from playwright.async_api import expect

from tests.browser.conftest import NewPage
from tests.browser.stage import position
from tests.integration.forward_auth.auth_stage import RunningProxy, Stage, running_stage
from tests.integration.forward_auth.proxies import PROXIES
from tests.servers import StoreServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(90)]


async def test_visitor_waits_and_enters_behind_each_proxy(
    new_page: NewPage, private_store: StoreServer
) -> None:
    """All proxies at the same time, since each waits for a poll."""
    async with running_stage(private_store) as stage, AsyncExitStack() as stack:
        served = [await stack.enter_async_context(stage.running(each)) for each in PROXIES]
        await asyncio.gather(*(_wait_and_enter(new_page, stage, each) for each in served))


async def _wait_and_enter(new_page: NewPage, stage: Stage, served: RunningProxy) -> None:
    name, room = served.proxy.name, stage.room(served.proxy, "line")
    page = await new_page()
    port = served.url.rpartition(":")[2]
    response = await page.goto(f"http://line.{name}.localhost:{port}/cart?a=b")
    assert response is not None
    assert response.status == served.proxy.waiting_status, name
    await expect(position(page)).to_have_text("1", timeout=30_000)
    await stage.gate.allow(1, room=room)
    await expect(page.locator("body")).to_contain_text('"path": "/cart?a=b"', timeout=40_000)
    await expect(page.locator("body")).to_contain_text(f'"room": "{room}"')
