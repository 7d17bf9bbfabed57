"""An EventSource of the site ends with the session, and stops there."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from gatekeeper.config.types import RoomName
from tests.browser.conftest import NewPage
from tests.gates import running_gate
from tests.web_app import serving

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(60)]

_STOPS_MS = 30_000
_PAGE = """<!DOCTYPE html><title>t</title><script>
window.events = new EventSource("/events");
window.failures = 0;
events.onerror = () => { failures += 1; };
</script>"""


class Site:
    """A page with an EventSource, whose stream is open until the connection ends."""

    def __init__(self) -> None:
        self.url = ""
        self.streams = 0

    async def page(self, _: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def events(self, request: web.Request) -> web.StreamResponse:
        self.streams += 1
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"retry: 100\n\ndata: hello\n\n")
        await asyncio.sleep(60)
        return stream


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Site]:
    made = Site()
    async with serving(web.get("/events", made.events), web.get("/", made.page)) as made.url:
        yield made


async def test_event_source_stops_when_the_session_has_ended(
    site: Site, store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    """At the absolute timeout it is closed, reconnects without a pass, and is refused once."""
    toml = f'[[room]]\nname = "{room_name}"\nsession_idle_timeout = "5s"\n'
    toml += 'session_absolute_timeout = "5s"\n'
    async with running_gate(toml, store_url=store_url, origin_url=site.url) as gate:
        gate.room_name = room_name
        page = await new_page()
        await page.goto(f"{gate.url}/")
        await page.wait_for_function(
            "events.readyState === EventSource.CLOSED", polling=100, timeout=_STOPS_MS
        )
        assert await page.evaluate("failures") == 2  # closed, then refused
        assert site.streams == 1
        await gate.queue.advance()
        state = gate.room().view.state
        assert state is not None
        assert (state.arrived_total, state.queue_length) == (1, 0)
