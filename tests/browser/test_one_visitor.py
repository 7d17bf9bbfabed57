"""A browser stays one visitor: it confirms itself, and its token is not overwritten by accident.

Rules: a real gate before a small site whose pages load nothing else.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
from aiohttp import web
from playwright.async_api import BrowserContext, expect

from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import LineFull, QueuePosition, SlotGrant
from gatekeeper.policy.phase import Mode, Phase
from gatekeeper.policy.tokens import Pass, Token
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.visitor_calls import ArrivalRequest
from tests.browser.conftest import NewPage
from tests.gates import Gate, running_gate
from tests.servers import eventually
from tests.web_app import serving

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(60)]

# Policies of pages that may load nothing by a fetch.
_POLICIES = {
    "/image": "default-src 'none'; img-src 'self'",
    "/style": "default-src 'none'; style-src 'self'",
    "/font": "default-src 'none'; font-src 'self'",
    "/none": "default-src 'none'; base-uri 'none'; form-action 'none'",
}
# Pages that the browser caches and revalidates, and their policy.
_KEPT = {"/kept": "", "/kept-strictly": _POLICIES["/none"]}
_CLEARED = {"/logout": '"cookies"', "/forget": '"*"'}


@dataclass
class Site:
    """A site without subresources, and a bank on another site that sends its visitors back."""

    url: str = ""
    bodies: list[str] = field(default_factory=list)  # of POSTs

    async def respond(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            self.bodies.append(await request.text())
        if request.path == "/bank":
            form = f'<form method="post" action="{request.query["to"]}">'
            form += '<input name="paid" value="yes"></form>'
            script = "<script>document.forms[0].submit()</script>"
            return web.Response(text=form + script, content_type="text/html")
        if request.path == "/text":
            return web.Response(text="plain")
        response = web.Response(
            text='<!doctype html><link rel="icon" href="data:,"><h1>The shop</h1>',
            content_type="text/html",
        )
        if request.path == "/login":
            response.set_cookie("session", "secret", httponly=True)
            response.set_cookie("theme", "dark")
        if request.path in _POLICIES:
            response.text = "<!doctype html><h1>The shop</h1>"
            response.headers["Content-Security-Policy"] = _POLICIES[request.path]
        if request.path in _KEPT:
            if "If-None-Match" in request.headers:
                response = web.Response(status=304)
            response.headers.update({"ETag": '"1"', "Cache-Control": "no-cache"})
            if policy := _KEPT[request.path]:
                response.headers["Content-Security-Policy"] = policy
                if response.status == 200:
                    response.text = "<!doctype html><h1>The shop</h1>"
        if request.path in _CLEARED:
            response.headers["Clear-Site-Data"] = _CLEARED[request.path]
        return response


@asynccontextmanager
async def running_site() -> AsyncIterator[Site]:
    site = Site()
    async with serving(web.route("*", "/{rest:.*}", site.respond)) as site.url:
        yield site


@asynccontextmanager
async def running_shop(
    room: RoomName, keys: str, *, store_url: str
) -> AsyncIterator[tuple[Gate, Site]]:
    toml = '[server]\nshutdown_timeout = "500ms"\n' + f'[[room]]\nname = "{room}"\n{keys}'
    async with (
        running_site() as site,
        running_gate(toml, store_url=store_url, origin_url=site.url) as gate,
    ):
        gate.room_name = room
        yield gate, site


async def held_by(context: BrowserContext, gate: Gate) -> Token | None:
    """The token in the browser's cookie."""
    for cookie in await context.cookies(gate.url):
        if cookie["name"] == gate.cookie_name:
            return gate.token(cookie["value"])
    return None


async def is_confirmed(context: BrowserContext, gate: Gate) -> bool:
    token = await held_by(context, gate)
    return isinstance(token, Pass) and token.confirmed


async def until_confirmed(context: BrowserContext, gate: Gate) -> None:
    await eventually(partial(is_confirmed, context, gate))


_ROOMY = 'rate = "600/min"\nburst = 10\nconfirm_timeout = "5s"\n'


async def test_page_without_subresources_confirms_its_visitor(
    store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    """A visitor who was admitted at once stays admitted, also if the line is held meanwhile."""
    async with running_shop(room_name, _ROOMY, store_url=store_url) as (gate, _):
        page, other = await new_page(), await new_page()
        await page.goto(gate.url + "/a")
        await other.goto(gate.url + "/text")
        await until_confirmed(page.context, gate)
        assert not await is_confirmed(other.context, gate)  # no page confirms this visitor
        await gate.queue.set_mode(Mode.HOLD)
        await asyncio.sleep(5.5)  # confirm_timeout
        await page.goto(gate.url + "/b")
        await expect(page.get_by_text("The shop")).to_be_visible()


async def test_page_with_a_strict_policy_confirms_its_visitor_too(
    store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    """Without a violation of the policy."""
    async with running_shop(room_name, _ROOMY, store_url=store_url) as (gate, _):
        said: list[str] = []
        for path in _POLICIES:
            page = await new_page()
            page.on("console", lambda message: said.append(message.text))
            await page.goto(gate.url + path)
            await until_confirmed(page.context, gate)
        assert said == []


@pytest.mark.parametrize("path", _KEPT)
async def test_page_that_the_browser_has_kept_confirms_its_visitor(
    path: str, store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    """The first response of a later visit is a 304, whose fields are those of the kept page."""
    async with running_shop(room_name, _ROOMY, store_url=store_url) as (gate, _):
        page = await new_page()
        await page.goto(gate.url + path)
        await until_confirmed(page.context, gate)
        await page.goto("about:blank")
        await page.goto(gate.url + path)  # without a new token, so that the browser caches it
        await page.context.clear_cookies()
        await page.goto("about:blank")
        async with page.expect_response(gate.url + path) as shown:
            await page.goto(gate.url + path)
        assert "gatekeeper/" in str(await (await shown.value).all_headers())  # of the 304
        await until_confirmed(page.context, gate)


@pytest.mark.parametrize("path", _CLEARED)
@pytest.mark.parametrize("by_fetch", [True, False], ids=["fetch", "navigation"])
async def test_clear_site_data_keeps_the_pass_alone(
    path: str, by_fetch: bool, store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    async with running_shop(room_name, _ROOMY, store_url=store_url) as (gate, _):
        page = await new_page()
        await page.goto(gate.url + "/login")
        await until_confirmed(page.context, gate)
        before = await held_by(page.context, gate)
        for name in ("a[b]", "a b", "a@b:/,{", '"a"', "ü"):  # browsers accept all of these as names
            await page.evaluate("name => document.cookie = name + '=1'", name)
        if by_fetch:
            await page.evaluate("path => fetch(path).then(response => response.text())", path)
        else:
            await page.goto(gate.url + path)

        async def is_left() -> bool:  # the browser clears after the response
            names = {cookie["name"] for cookie in await page.context.cookies()}
            return names == {gate.cookie_name}

        await eventually(is_left)
        await gate.queue.set_mode(Mode.HOLD)
        await page.goto(gate.url + "/b")
        await expect(page.get_by_text("The shop")).to_be_visible()
        after = await held_by(page.context, gate)
        assert before is not None
        assert after is not None
        assert after.visitor == before.visitor


@pytest.mark.parametrize("has_locks", [True, False], ids=["locks", "plain http"])
async def test_restored_tabs_end_with_the_earliest_place(
    has_locks: bool,
    store_url: str,
    room_name: RoomName,
    new_page: NewPage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_shop(room_name, 'rate = "1/h"\nburst = 1\n', store_url=store_url) as (
        gate,
        _,
    ):
        await gate.queue.set_mode(Mode.HOLD)
        first = await new_page()
        if not has_locks:
            await first.context.add_init_script(
                "Object.defineProperty(navigator, 'locks', { value: undefined });"
            )
        tabs = [first, *[await first.context.new_page() for _ in range(4)]]
        arrive_together(monkeypatch, len(tabs))
        pages = await asyncio.gather(*(tab.goto(f"{gate.url}/{at}") for at, tab in enumerate(tabs)))
        tickets = [gate.token(ticket_in(await page.text())) for page in pages if page is not None]
        arrivals = [ticket.arrival_us for ticket in tickets if ticket is not None]
        assert len(set(arrivals)) == len(tabs)  # no tab sent a cookie

        async def is_one_place() -> bool:
            held = await held_by(first.context, gate)
            state = await gate.queue.read_state()
            assert held is not None
            return held.arrival_us == min(arrivals) and state.queue_length == 1

        await eventually(is_one_place)
        for tab in tabs:
            await expect(tab.locator("html")).to_have_attribute("data-state", "held")
            await expect(tab.locator("#position")).to_have_text("1")


def arrive_together(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Delays the first newcomers at the gate until `count` have arrived."""
    there, left, arrive = asyncio.Event(), [count], RoomReplica.arrive

    async def held(
        room: RoomReplica, request: ArrivalRequest
    ) -> SlotGrant | QueuePosition | LineFull | None:
        left[0] -= 1
        if left[0] == 0:
            there.set()
        await there.wait()
        return await arrive(room, request)

    monkeypatch.setattr(RoomReplica, "arrive", held)


def ticket_in(page: str) -> str:
    found = re.search(r'data-ticket="([^"]+)"', page)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("has_room", [True, False], ids=["room", "none"])
async def test_payment_from_another_site_keeps_the_pass(
    has_room: bool, store_url: str, room_name: RoomName, new_page: NewPage
) -> None:
    """The browser does not send a Lax cookie with the bank's POST. The body arrives while there is
    room; the shop's response to it clears all cookies of the site."""
    async with running_shop(room_name, _ROOMY, store_url=store_url) as (gate, site):
        page = await new_page()
        await page.goto(gate.url + "/cart")
        await until_confirmed(page.context, gate)
        before = await page.context.cookies(gate.url)
        if not has_room:
            await gate.queue.set_mode(Mode.HOLD)
            await eventually(lambda: gate.room().view.decisive.phase is Phase.HELD)
        bank = site.url.replace("127.0.0.1", "localhost")  # another site, not only another port
        await page.goto(f"{bank}/bank?to={gate.url}/logout", wait_until="commit")
        await page.wait_for_url(re.compile(r"/logout$"))
        if has_room:
            await expect(page.get_by_text("The shop")).to_be_visible()
        assert site.bodies == (["paid=yes"] if has_room else [])
        assert await page.context.cookies(gate.url) == before
        await page.goto(gate.url + "/thanks")
        await expect(page.get_by_text("The shop")).to_be_visible()
        assert await page.context.cookies(gate.url) == before
