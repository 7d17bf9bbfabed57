"""The waiting page in a frame on another site, where the browser may refuse cookies."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
import trustme
from aiohttp import web
from playwright.async_api import Browser, Frame, expect

from gatekeeper.config.types import RoomName
from tests.browser.app_site import AppSite
from tests.browser.conftest import launch_options, launched_browser
from tests.gates import Gate, running_gate
from tests.servers import eventually
from tests.web_app import serving

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(60)]

ENTER_MS = 30_000
PARTNER, SHOP = "partner.localhost", "127.0.0.1"  # two sites


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The keys of [server] for a certificate that the browser does not check."""
    folder = tmp_path_factory.mktemp("tls")
    pair = trustme.CA().issue_cert(SHOP)
    pair.private_key_and_cert_chain_pem.write_to_path(folder / "pair.pem")
    return f'tls_cert = "{folder}/pair.pem"\ntls_key = "{folder}/pair.pem"\n'


@asynccontextmanager
async def shop(
    room: RoomName, store_url: str, *, server: str = "", tokens: str = "", keys: str = ""
) -> AsyncIterator[Gate]:
    toml = f'[server]\nshutdown_timeout = "500ms"\n{server}[tokens]\n{tokens}'
    toml += f'[[room]]\nname = "{room}"\nrate = 0\n{keys}'
    async with (
        AppSite() as origin,
        running_gate(toml, store_url=store_url, origin_url=origin.url) as gate,
    ):
        yield gate


@asynccontextmanager
async def partner(frame: str) -> AsyncIterator[str]:
    """Another site with the shop in a frame."""

    async def page(_: web.Request) -> web.Response:
        text = f'<!doctype html><title>Partner</title><iframe src="{frame}" width=600 height=600>'
        return web.Response(text=text, content_type="text/html")

    async with serving(web.get("/", page)) as url:
        yield url.replace("127.0.0.1", PARTNER) + "/"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict_browser() -> AsyncIterator[Browser]:
    """A browser that blocks third-party cookies, except for partitioned ones."""
    options = launch_options()
    options["args"] = [*options["args"], "--test-third-party-cookie-phaseout"]
    async with launched_browser(options) as browser:
        yield browser


@asynccontextmanager
async def framed(browser: Browser, gate: Gate) -> AsyncIterator[Frame]:
    """The waiting page of `gate` in a frame of the partner's page."""
    context = await browser.new_context(ignore_https_errors=True, locale="en-US")
    context.set_default_timeout(ENTER_MS)
    try:
        async with partner(gate.url + "/tickets?day=1") as address:
            page = await context.new_page()
            await page.goto(address)
            frame = page.frames[1]
            await frame.wait_for_selector("html[data-state]")
            yield frame
    finally:
        await context.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_frame_without_cookies_offers_a_tab_of_its_own(
    scheme: str,
    store_url: str,
    room_name: RoomName,
    strict_browser: Browser,
    certificate: str,
) -> None:
    server = certificate if scheme == "https" else ""
    keys = 'frame_ancestors = ["*"]\n'
    async with (
        shop(room_name, store_url, server=server, keys=keys) as gate,
        framed(strict_browser, gate) as frame,
    ):
        requests: list[str] = []
        frame.page.on("request", lambda request: requests.append(request.url))
        root = frame.locator("html")
        await expect(root).to_have_attribute("data-state", "no_cookies", timeout=ENTER_MS)
        seen = len(requests)
        await expect(frame.get_by_text("We cannot keep your place here").first).to_be_visible()
        await frame.page.wait_for_timeout(2500)
        assert len(requests) == seen <= 2  # no reload, no further poll
        assert (await gate.room(room_name).queue.read_state()).queue_length == 0
        link = frame.get_by_role("link", name="Open in a new tab")
        assert await link.get_attribute("rel") == "noopener"
        context = frame.page.context
        polls = context.expect_event("response", lambda each: "/.gatekeeper/status" in each.url)
        async with polls as polled, context.expect_page() as opened:
            await link.click()
        tab = await opened.value
        await expect(tab.locator("#position")).to_be_visible()
        assert tab.url == gate.url + "/tickets?day=1"
        assert (await (await polled.value).json())["state"] == "waiting"


async def test_partitioned_cookie_keeps_the_place_in_a_frame(
    store_url: str, room_name: RoomName, strict_browser: Browser, certificate: str
) -> None:
    async with (
        shop(
            room_name,
            store_url,
            server=certificate,
            tokens="partitioned = true\n",
            keys='frame_ancestors = ["*"]\n',
        ) as gate,
        framed(strict_browser, gate) as frame,
    ):

        async def is_in_line() -> bool:  # by a poll that returned the cookie
            return (await gate.room(room_name).queue.read_state()).queue_length == 1

        await eventually(is_in_line)
        await expect(frame.locator("html")).to_have_attribute("data-state", "held")
        await expect(frame.locator("#position")).to_have_text("1")


async def test_site_that_is_not_named_embeds_nothing(
    store_url: str, room_name: RoomName, browser: Browser
) -> None:
    for keys, is_shown in (
        ("", False),
        ('frame_ancestors = ["\'self\'", "http://other.localhost:*"]\n', False),
        (f'frame_ancestors = ["\'self\'", "http://{PARTNER}:*"]\n', True),
    ):
        context = await browser.new_context()
        async with shop(room_name, store_url, keys=keys) as gate, partner(gate.url) as address:
            page = await context.new_page()
            await page.goto(address)
            shown = page.frames[1].locator("#position")
            await expect(shown).to_have_count(int(is_shown))
        await context.close()
