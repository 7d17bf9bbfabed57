"""A browser reaches a real origin through two real replicas: it waits in line and is admitted."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, Request, Route, expect

from gatekeeper.config.types import RoomName
from gatekeeper.demo.shop import start_origin
from gatekeeper.policy.phase import Mode
from gatekeeper.web import stream
from tests.browser.app_visitors import line_up, poll
from tests.browser.conftest import NewPage
from tests.gates import Gate, running_gate
from tests.servers import StoreServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(90)]

_ENTER_MS = 30_000
_POLLS_EACH_SECOND = 'heartbeat_timeout = "3s"\nconfirm_timeout = "2s"\n'


@asynccontextmanager
async def two_replicas(
    room: RoomName, rate: str, *, store_url: str, events_url: str, keys: str = ""
) -> AsyncIterator[tuple[Gate, Gate]]:
    """Two replicas of one room in front of the sample shop, with a burst of 1."""
    # The shop's page holds an event stream open, which a gate that ends waits for.
    toml = '[server]\nshutdown_timeout = "500ms"\n'
    toml += f'[[room]]\nname = "{room}"\nrate = "{rate}"\nburst = 1\n{keys}'
    shop = await start_origin()
    try:
        async with (
            running_gate(
                toml, store_url=store_url, events_url=events_url, origin_url=shop.url
            ) as one,
            running_gate(
                toml, store_url=store_url, events_url=events_url, origin_url=shop.url
            ) as other,
        ):
            yield one, other
    finally:
        await shop.stop()


async def spread_over(page: Page, *gates: Gate) -> list[str]:
    """Send each request of the page to the next replica; returns the list of their addresses."""
    ports = cycle([urlsplit(gate.url).netloc for gate in gates])
    netlocs: list[str] = []

    async def to_the_next(route: Route) -> None:
        netloc = next(ports)
        netlocs.append(netloc)
        await route.continue_(url=urlsplit(route.request.url)._replace(netloc=netloc).geturl())

    await page.route("**/*", to_the_next)
    return netlocs


async def test_position_falls_and_visitor_enters_at_any_replica(
    store_url: str, events_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    async with two_replicas(room_name, "0", store_url=store_url, events_url=events_url) as gates:
        ahead = await line_up(gates[0], 5)
        page = await new_page()
        netlocs = await spread_over(page, *gates)
        response = await page.goto(gates[0].url + "/?ticket=yes#top")
        assert response is not None
        assert response.status == 503
        position = page.locator("#position")
        await expect(position).to_have_text("6")
        await gates[1].allow(4, room=room_name)
        await expect(position).to_have_text("2", timeout=_ENTER_MS)
        assert urlsplit(page.url).query == "ticket=yes"  # the requested address
        await gates[1].allow(2, room=room_name)
        await expect(page).not_to_have_title(re.compile("line"), timeout=_ENTER_MS)
        await expect(page.locator("h1").first).to_be_visible()
        assert urlsplit(page.url).query == "ticket=yes"
        assert len(set(netlocs)) == 2
        assert [await poll(gates[1], token) for token in ahead] == ["admitted"] * 5


@pytest.mark.parametrize("most", [1, 0], ids=["streamed", "refused"])
async def test_stream_updates_the_page_or_polls_replace_it(
    most: int,
    store_url: str,
    events_url: str,
    room_name: RoomName,
    new_page: NewPage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "MAX_STREAMS", most)
    async with two_replicas(
        room_name,
        "1/h",
        store_url=store_url,
        events_url=events_url,
        keys='updates = "stream"\n',
    ) as (here, there):
        await line_up(here, 3)  # the first of them takes the burst
        page = await new_page()
        kinds: list[str] = []

        def on_request(request: Request) -> None:
            if "/.gatekeeper/status" in request.url:
                kinds.append(request.resource_type)

        page.on("request", on_request)
        await page.goto(here.url)
        position = page.locator("#position")
        await expect(position).to_have_text("3")
        await there.allow(1, room=room_name)
        await expect(position).to_have_text("2", timeout=_ENTER_MS)
        polls = kinds.count("fetch")
        assert polls == 1 or most == 0  # the first one confirms the visitor
        await there.allow(2, room=room_name)
        await expect(page).not_to_have_title(re.compile("line"), timeout=_ENTER_MS)
        assert kinds.count("eventsource") == 1
        assert kinds.count("fetch") == 2 or most == 0  # the last response has the pass


async def test_two_tabs_share_one_place(
    store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    async with two_replicas(room_name, "1/h", store_url=store_url, events_url="off") as gates:
        await line_up(gates[0], 3)
        page = await new_page()
        await page.goto(gates[0].url)
        place = await page.locator("#position").inner_text()
        other = await page.context.new_page()
        await other.goto(gates[1].url + "/elsewhere")
        assert await other.locator("#position").inner_text() == place
        state = await gates[0].room(room_name).queue.read_state()
        assert state.queue_length == 3


async def test_reopened_browser_returns_to_its_place(
    store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    async with two_replicas(room_name, "1/h", store_url=store_url, events_url="off") as gates:
        await line_up(gates[0], 3)
        page = await new_page()
        await page.goto(gates[0].url)
        place = await page.locator("#position").inner_text()
        kept = await page.context.storage_state()
        await page.context.close()
        await line_up(gates[0], 2)
        again = await new_page(storage_state=kept)
        await again.goto(gates[1].url)
        assert await again.locator("#position").inner_text() == place


async def test_message_reaches_waiting_and_new_visitors(
    store_url: str, events_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    async with two_replicas(
        room_name, "1/h", store_url=store_url, events_url=events_url, keys=_POLLS_EACH_SECOND
    ) as gates:
        await line_up(gates[0], 1)
        page = await new_page()
        await page.goto(gates[0].url)
        await gates[1].room(room_name).queue.set_message("Hall <B> opens at nine.")
        await expect(page.get_by_text("Hall <B> opens at nine.").first).to_be_visible()
        late = await new_page(locale="ar", java_script_enabled=False)
        await late.goto(gates[0].url)
        await expect(late.get_by_text("Hall <B> opens at nine.")).to_be_visible()


async def test_unreachable_store_shows_reconnecting_and_keeps_place(
    private_store: StoreServer, room_name: RoomName, new_page: NewPage
) -> None:
    async with two_replicas(
        room_name, "1/h", store_url=private_store.url, events_url="off", keys=_POLLS_EACH_SECOND
    ) as gates:
        await line_up(gates[0], 3)
        page = await new_page()
        await page.goto(gates[0].url)
        arrived = await page.locator("#since").get_attribute("datetime")
        html = page.locator("html")
        private_store.pause()
        await expect(html).to_have_attribute("data-state", "reconnecting", timeout=_ENTER_MS)
        await expect(page.locator("#position")).to_have_text(re.compile("[123]"))
        private_store.resume()
        await expect(html).to_have_attribute("data-state", "waiting", timeout=_ENTER_MS)
        await page.reload()
        await expect(page.locator("#since")).to_have_attribute("datetime", arrived or "")


async def test_page_without_script_reloads_until_admitted(
    store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    async with two_replicas(room_name, "1/h", store_url=store_url, events_url="off") as gates:
        await line_up(gates[0], 2)
        page = await new_page(java_script_enabled=False)
        await page.goto(gates[0].url)
        assert await page.locator("#position").inner_text() == "2"
        await gates[1].room(room_name).queue.set_mode(Mode.OPEN)
        await expect(page).not_to_have_title(re.compile("line"), timeout=_ENTER_MS)
