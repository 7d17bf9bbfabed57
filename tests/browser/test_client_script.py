"""`client.js` in a single-page app: to the waiting page and back, and the end of a session."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from gatekeeper.config.types import RoomName
from gatekeeper.pages.renderer import Pages
from tests.browser.app_site import AppSite
from tests.browser.axe import complaints
from tests.browser.conftest import NewPage
from tests.browser.stage import is_handled, pass_time, set_stage
from tests.gates import Gate, running_gate
from tests.servers import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(60)]

ENTER_MS = 30_000
WHERE = "/app/list?tab=2&kind={kind}#/cart/7"
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


@asynccontextmanager
async def gated(app: AppSite, room: RoomName, store_url: str, keys: str) -> AsyncIterator[Gate]:
    toml = f'[server]\nshutdown_timeout = "500ms"\n[[room]]\nname = "{room}"\nrate = 0\n{keys}\n'
    async with running_gate(toml, store_url=store_url, origin_url=app.url) as gate:
        yield gate


@asynccontextmanager
async def api_on_another_host(
    room: RoomName, store_url: str
) -> AsyncIterator[tuple[AppSite, AppSite, Gate]]:
    """An API, an app that uses it, and the gate of the API, which names the app's origin."""
    async with (
        AppSite() as api,
        AppSite() as app,
        gated(api, room, store_url, f'cors_origins = ["{app.url}"]') as gate,
    ):
        yield api, app, gate


@pytest.mark.parametrize(
    ("kind", "path"),
    [("fetch", "/api/"), ("xhr", "/api/"), ("xhr", "/")],
    ids=["fetch-api-in-a-room", "xhr-api-in-a-room", "xhr-all-in-a-room"],
)
async def test_app_that_meets_the_gate_waits_and_comes_back(
    kind: str, path: str, store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    async with AppSite() as app, gated(app, room_name, store_url, f'path = "{path}"') as gate:
        page = await new_page()
        where = gate.url + WHERE.format(kind=kind)
        await page.goto(where)
        if path == "/":  # first in line for the app itself; then the visit ends
            await gate.allow(1, room=room_name)
            await expect(page.locator("#shown")).to_have_text("three items", timeout=ENTER_MS)
            assert app.calls == 1
            await page.context.clear_cookies()
            await page.evaluate("kind => load(kind)", kind)
        await expect(page.locator("#position")).to_have_text("1", timeout=ENTER_MS)
        assert page.url.startswith(gate.url + "/.gatekeeper/wait?for=%2Fapi%2Fitems&return=%2Fapp")
        before = app.calls
        await gate.allow(1, room=room_name)
        await page.wait_for_url(where, timeout=ENTER_MS)
        await expect(page.locator("#shown")).to_have_text("three items")
        assert app.calls == before + 1


async def test_api_on_another_host_leads_back_to_the_app(
    store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    async with api_on_another_host(room_name, store_url) as (api, app, gate):
        app.point_at(gate.url)
        page = await new_page()
        await page.goto(app.url + WHERE.format(kind="fetch"))
        await expect(page.locator("#position")).to_have_text("1", timeout=ENTER_MS)
        assert page.url.startswith(gate.url + "/.gatekeeper/wait?")
        await gate.allow(1, room=room_name)
        await page.wait_for_url(app.url + WHERE.format(kind="fetch"), timeout=ENTER_MS)
        await expect(page.locator("#shown")).to_have_text("three items")
        assert api.calls == 1


JOIN_AND_POLL = """
async ([gate, room]) => {
  const joined = await fetch(`${gate}/.gatekeeper/enqueue?room=${room}`, { method: "POST" });
  const headers = { "X-Queue-Token": (await joined.json()).token };
  const status = await fetch(`${gate}/.gatekeeper/status?room=${room}`, { headers });
  return (await status.json()).position;
}
"""


async def test_app_of_a_named_origin_polls_with_its_token(
    store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    """A field of the gate causes a preflight, and the browser has to accept its response."""
    async with api_on_another_host(room_name, store_url) as (_, app, gate):
        page = await new_page()
        await page.goto(app.url + "/api/items")
        assert await page.evaluate(JOIN_AND_POLL, [gate.url, room_name]) == 1


# A scripted gate.


class Script:
    """Serves `client.js`, and the API and the waiting page as the test scripts them."""

    def __init__(self, page: Page, *, lang: str = "en") -> None:
        self.page = page
        self.script = Pages().client_script(lang).body
        self.headers = {"X-Gatekeeper-State": "waiting", "Retry-After": "2"}
        self.status = 503
        self.opened = self.calls = 0
        self.polls = 0
        self.ends_at = NOW + timedelta(minutes=8)

    async def start(self) -> None:
        await self.page.route("**/.gatekeeper/client.js", self._file)
        await self.page.route("**/.gatekeeper/status?*", self._poll)
        await self.page.route("**/.gatekeeper/wait?*", self._open)
        await self.page.route("**/api/items", self._api)

    async def _file(self, route: Route) -> None:
        await route.fulfill(body=self.script, content_type="text/javascript")

    async def _poll(self, route: Route) -> None:
        self.polls += 1
        body = {"state": "admitted", "expires_at": "", "ends_at": self.ends_at.isoformat()}
        await route.fulfill(json=body, headers={"Date": format_datetime(NOW, usegmt=True)})

    async def _open(self, route: Route) -> None:
        """The waiting page returns to the app at once, although the visitor was not admitted."""
        self.opened += 1
        query = parse_qs(urlsplit(route.request.url).query)
        await route.fulfill(status=303, headers={"Location": query["return"][0]})

    async def _api(self, route: Route) -> None:
        self.calls += 1
        await route.fulfill(status=self.status, headers=self.headers, body="wait")


@pytest_asyncio.fixture(loop_scope="session")
async def app() -> AsyncIterator[AppSite]:
    async with AppSite() as app:
        yield app


@pytest_asyncio.fixture(loop_scope="session")
async def script(new_page: NewPage) -> Script:
    """The script on a page that shows nothing yet."""
    script = Script(await new_page())
    await script.start()
    return script


async def test_gate_that_admits_nobody_causes_no_loop(new_page: NewPage) -> None:
    async with AppSite() as app:
        page = await new_page()
        await set_stage(page)
        script = Script(page)
        await script.start()
        await page.goto(app.url + WHERE.format(kind="fetch"))

        async def is_refused(*, calls: int) -> None:
            await eventually(lambda: script.calls == calls)
            await expect(page.locator("#shown")).to_have_text("wait")

        await is_refused(calls=1)
        await pass_time(page, 0.1)
        await is_refused(calls=2)
        await pass_time(page, 1.8)
        assert script.opened == 1  # Retry-After
        await pass_time(page, 0.3)
        await is_refused(calls=3)
        await pass_time(page, 50)
        assert script.opened == 2
        await expect(page.locator("#shown")).to_have_text("wait")


async def test_waiting_response_opens_the_page_at_any_status(app: AppSite, script: Script) -> None:
    page = script.page
    for opened, script.status in enumerate((200, 202, 429, 503), start=1):
        await page.goto(app.url + "/")
        await page.evaluate("sessionStorage.clear()")
        async with page.expect_navigation():  # there and back
            await page.evaluate("load('xhr')")
        assert script.opened == opened


OTHER_HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Retry-After": "1"},
    {"X-Gatekeeper-State": "admitted"},
    {"X-Gatekeeper-State": "error"},
    {"X-Gatekeeper-State": "Waiting"},
    {"X-Gatekeeper-State": "waiting, waiting"},
    {"Gatekeeper-State": "waiting"},
)


async def test_response_without_the_state_changes_nothing(app: AppSite, script: Script) -> None:
    page = script.page
    await page.goto(app.url + "/")
    for script.headers in OTHER_HEADERS:
        for kind in ("fetch", "xhr"):
            await page.evaluate("kind => { show(''); load(kind); }", kind)
            await expect(page.locator("#shown")).to_have_text("wait")
    await page.wait_for_timeout(300)
    assert script.opened == 0


async def test_event_that_is_cancelled_opens_no_page(app: AppSite, script: Script) -> None:
    page = script.page
    await page.goto(app.url + "/?cancel&kind=fetch")
    await expect(page.locator("#events")).to_have_text("waiting;")
    await page.evaluate("load('xhr')")
    await expect(page.locator("#events")).to_have_text("waiting;waiting;")
    assert script.opened == 0


async def test_api_that_is_not_named_is_not_looked_at(new_page: NewPage) -> None:
    """A request of the app to the gate itself is not inspected either."""
    async with AppSite() as app, AppSite(api=app.url + "/api/items") as other:
        page = await new_page()
        script = Script(page)
        script.headers |= {
            "Access-Control-Allow-Origin": other.url,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Expose-Headers": "X-Gatekeeper-State",
        }
        await script.start()
        for kind in ("fetch", "xhr"):
            await page.goto(other.url + WHERE.format(kind=kind))
            await expect(page.locator("#shown")).to_have_text("wait")
        await page.route("**/.gatekeeper/x", script._api)
        assert await page.evaluate("fetch('/.gatekeeper/x').then((r) => r.status)") == 503
        await page.wait_for_timeout(200)
        assert script.opened == 0


# Replaced as by monitoring tools, before and after the script is loaded.
WRAP = """
{
  const fetched = window.fetch;
  window.fetch = (...all) => fetched(...all).then((response) => response);
  const open = XMLHttpRequest.prototype.open;
  XMLHttpRequest.prototype.open = function (...all) { return open.apply(this, all); };
}
null;
"""


@pytest.mark.parametrize("kind", ["fetch", "xhr"])
async def test_script_works_among_other_wrappers(kind: str, app: AppSite, script: Script) -> None:
    page = script.page
    await page.add_init_script(WRAP)
    await page.goto(app.url + "/?cancel")
    await page.evaluate(WRAP)
    await page.add_script_tag(url="/.gatekeeper/client.js")  # a second time
    await page.evaluate("kind => load(kind)", kind)
    await expect(page.locator("#shown")).to_have_text("wait")
    await expect(page.locator("#events")).to_have_text("waiting;")


async def test_fetch_behaves_as_before(app: AppSite, script: Script) -> None:
    """Arguments, results and errors are those of the browser's own function."""
    page = script.page
    await page.goto(app.url + "/")
    found = await page.evaluate("""async () => [
        await fetch(new Request("/api/x")).then((r) => r.text()),
        await fetch(new URL("/api/y", location)).then((r) => r.text()),
        await window.fetch.call(undefined, "/api/z", { method: "GET" }).then((r) => r.text()),
        await fetch("http://127.0.0.1:1/").catch((error) => error.constructor.name),
        await fetch("/x", { signal: AbortSignal.abort() }).catch((error) => error.name),
    ]""")
    assert found == ["three items"] * 3 + ["TypeError", "AbortError"]


# The end of a session.


async def in_session(page: Page, app: AppSite, *, lang: str = "en", at: str = "/") -> Script:
    """The app's page with a stopped clock, eight minutes before the session ends."""
    script = Script(page, lang=lang)
    await script.start()
    await set_stage(page, now=NOW)
    async with page.expect_response("**/.gatekeeper/status?*"):
        await page.goto(app.url + at)
    await is_handled(page)
    return script


async def test_end_of_the_session_is_announced_once(new_page: NewPage) -> None:
    async with AppSite() as app:
        page = await new_page()
        script = await in_session(page, app)
        await page.clock.run_for("02:50")
        notice = page.locator("#gatekeeper-ending [role=status]")
        await expect(page.locator("#events")).to_have_text("")
        await expect(notice).to_have_count(0)
        await page.clock.run_for("00:20")
        await expect(page.locator("#events")).to_have_text("ending;")
        await expect(notice).to_contain_text("Your visit here ends at 12:08")
        assert await complaints(page) == []
        await notice.get_by_role("button", name="Close").click()
        await expect(notice).to_have_count(0)
        await page.clock.run_for("10:00")
        await expect(page.locator("#events")).to_have_text("ending;")
        assert script.polls == 1


async def test_notice_is_in_the_language_of_the_visitor(new_page: NewPage) -> None:
    async with AppSite() as app:
        page = await new_page()
        await in_session(page, app, lang="de")
        await page.clock.run_for("03:10")
        notice = page.locator("#gatekeeper-ending [role=status]")
        await expect(notice).to_contain_text("Ihr Besuch hier endet um 12:08.")
        await page.clock.run_for("06:00")
        await expect(notice).to_have_count(0)  # the session is over


@pytest.mark.parametrize(
    ("attributes", "at", "events"),
    [
        ('data-notice="off"', "/", "ending;"),
        ("", "/?cancel", "ending;"),
        ('data-minutes="1"', "/", ""),
    ],
)
async def test_notice_can_be_switched_off(
    attributes: str, at: str, events: str, new_page: NewPage
) -> None:
    async with AppSite(attributes=attributes) as app:
        page = await new_page()
        await in_session(page, app, at=at)
        await page.clock.run_for("04:00")
        await expect(page.locator("#events")).to_have_text(events)
        await page.clock.run_for(1000)
        await expect(page.locator("#gatekeeper-ending")).to_have_count(0)


async def test_zero_minutes_ask_for_no_end(new_page: NewPage) -> None:
    async with AppSite(attributes='data-minutes="0"') as app:
        page = await new_page()
        script = Script(page)
        await script.start()
        await page.goto(app.url + "/")
        await page.wait_for_timeout(300)
        assert script.polls == 0
