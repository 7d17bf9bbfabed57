"""Each proxy with its configuration: a visitor from arrival to end of session, and requests that
must not pass.

Rules: one file, so that the tests share one gate, one origin and one process of each proxy.
"""

import asyncio
from collections.abc import Mapping

import aiohttp
import pytest
from multidict import CIMultiDictProxy
from yarl import URL

from gatekeeper.policy.tokens import Pass
from tests.builders import read_token
from tests.gates.http_visitor import HTML
from tests.integration.forward_auth.auth_stage import RunningProxy
from tests.integration.forward_auth.browserlike import PRIVATE, ProxyVisitor
from tests.integration.forward_auth.proxies import (
    CLAIMING_FIELDS,
    PROXIES,
)
from tests.servers import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(90)]


def gate_cookies(headers: CIMultiDictProxy[str]) -> list[str]:
    lines = headers.getall("Set-Cookie", ())
    return [line for line in lines if line.startswith("gatekeeper")]


async def test_newcomer_under_the_rate_enters_with_a_pass(served: RunningProxy) -> None:
    async with ProxyVisitor(served, "open") as visitor:
        first = await visitor.get("/cart?a=b%20c")
        assert (first.status, first.json["path"]) == (200, "/cart?a=b%20c")
        assert first.json["visitor"] == visitor.pass_.visitor
        assert first.json["room"] == visitor.room
        assert "shop=1; Path=/" in first.headers.getall("Set-Cookie")
        assert len(gate_cookies(first.headers)) == 1
        if served.proxy.replaces_cache_control:
            assert first.headers.getall("Cache-Control") == [PRIVATE]
        await visitor.get("/cart")  # confirms the visitor, with a longer pass
        again = await visitor.get("/cart")
        assert again.json["visitor"] == visitor.pass_.visitor
        assert again.headers.getall("Set-Cookie") == ["shop=1; Path=/"]
        assert again.headers.getall("Cache-Control") == ["public, max-age=60"]


async def test_newcomer_in_line_waits_polls_and_enters(served: RunningProxy) -> None:
    gate, origin = served.stage.gate, served.stage.origin
    before = len(origin.requests)
    async with ProxyVisitor(served, "line") as visitor:
        page = await visitor.page("/cart?a=b")
        assert page.status == served.proxy.waiting_status, page.text
        assert page.headers["X-Gatekeeper-State"] == "waiting"
        assert "<title>" in page.text
        assert int(page.headers["Retry-After"]) > 0
        assert page.headers.getall("Cache-Control") == ["no-store"]
        assert len(gate_cookies(page.headers)) == 1
        first = visitor.ticket
        assert (await visitor.status())["position"] == 1
        json = await visitor.get("/cart")
        assert (json.status, json.json["position"]) == (served.proxy.waiting_status, 1)
        assert visitor.ticket.visitor == first.visitor
        style = page.text.partition('href="/.gatekeeper/static/')[2].partition('"')[0]
        if style:
            assert (await visitor.get(f"/.gatekeeper/static/{style}")).status == 200
        assert len(origin.requests) == before
        await gate.allow(1, room=visitor.room)
        await eventually(lambda: _is_admitted(visitor))
        entered = await visitor.page("/cart?a=b")
        assert (entered.status, entered.json["visitor"]) == (200, first.visitor)


async def _is_admitted(visitor: ProxyVisitor) -> bool:
    return str((await visitor.status())["state"]) == "admitted"


async def test_released_visitor_enters_by_reloading(served: RunningProxy) -> None:
    """Without a poll: the check itself claims, and its response contains the pass."""
    async with ProxyVisitor(served, "line") as visitor:
        await visitor.page()
        await visitor.status()
        await served.stage.gate.allow(1, room=visitor.room)

        async def reloaded() -> bool:
            return (await visitor.page("/cart")).status == 200

        await eventually(reloaded)
        assert isinstance(visitor.token, Pass)


async def test_renewed_pass_reaches_the_browser(served: RunningProxy) -> None:
    async with ProxyVisitor(served, "line") as visitor:
        held = visitor.hold_pass(ago_s=1000)
        response = await visitor.page("/cart")
        assert (response.status, response.json["visitor"]) == (200, held.visitor)
        assert visitor.pass_.visitor == held.visitor
        assert visitor.pass_.expires_at_s > held.expires_at_s
        if served.proxy.replaces_cache_control:
            assert response.headers.getall("Cache-Control") == [PRIVATE]


async def test_session_ends_by_command_or_operator(served: RunningProxy) -> None:
    gate = served.stage.gate
    async with ProxyVisitor(served, "line") as visitor:
        held = visitor.hold_pass()
        done = await visitor.get("/done")
        assert (done.status, done.text) == (200, "done")
        assert "Gatekeeper-Command" not in done.headers
        if not served.proxy.runs_commands:  # here the site calls POST /admin/revoke
            await gate.room(visitor.room).leave([held.visitor])
        after = ""

        async def is_out() -> bool:
            nonlocal after
            response = await visitor.get("/cart", {"Sec-Fetch-Dest": "image"})
            after = response.text
            return response.status == served.proxy.waiting_status

        await eventually(is_out)
        assert "visitor" not in after


@pytest.mark.parametrize(
    "served",
    [proxy for proxy in PROXIES if proxy.runs_commands],
    ids=lambda proxy: proxy.name,
    indirect=True,
    scope="module",
)
@pytest.mark.parametrize("kind", ["app", "newcomer", "newcomer with an app's field"])
async def test_command_ends_the_session_however_the_token_came(
    served: RunningProxy, kind: str
) -> None:
    """In the field of an app, or for the first time in the response that ends the session."""
    async with ProxyVisitor(served, "open" if kind.startswith("newcomer") else "line") as visitor:
        room = served.stage.gate.room(visitor.room)
        fields = {} if kind == "newcomer" else {"X-Queue-Token": ""}
        if kind == "app":
            held = visitor.hold_pass()
            fields["X-Queue-Token"], visitor.cookie = visitor.cookie, ""
        done = await visitor.get("/done", fields)
        assert (done.status, done.text) == (200, "done")
        if kind == "newcomer":
            held = visitor.pass_
        elif kind != "app":
            token = read_token(
                done.headers["X-Queue-Token"], room=visitor.room, now_s=served.stage.gate.now_s()
            )
            assert isinstance(token, Pass)
            held = token
        await eventually(lambda: held.visitor in room.view.decisive.revoked)


async def test_body_of_an_admitted_visitor_arrives(served: RunningProxy) -> None:
    async with ProxyVisitor(served, "line") as visitor:
        held = visitor.hold_pass()
        for size in (0, 1, 300_000, 2_000_000):
            response = await visitor.send("POST", "/pay", data=b"x" * size)
            assert (response.status, response.json["method"]) == (200, "POST")
            assert (response.json["length"], response.json["visitor"]) == (size, held.visitor)
        assert (await visitor.send("PUT", "/pay", data=b"xy")).json["length"] == 2
        assert (await visitor.send("HEAD", "/pay")).status == 200


async def test_token_of_an_app_does_not_reach_the_site(served: RunningProxy) -> None:
    async with ProxyVisitor(served, "line") as visitor:
        held = visitor.hold_pass()
        token, visitor.cookie = visitor.cookie, ""
        response = await visitor.get("/cart", {"X-Queue-Token": token})
        assert (response.status, response.json["visitor"]) == (200, held.visitor)
    assert "X-Queue-Token" not in served.stage.origin.requests[-1].headers


async def test_line_streams_unbuffered(served: RunningProxy) -> None:
    """After requests with a body: the gate streams only on connections without earlier bodies, so
    polls have separate connections."""
    async with ProxyVisitor(served, "stream") as visitor:
        for _ in range(5):
            posted = await visitor.send("POST", "/pay", HTML, data=b"x" * 100)
            assert posted.status == served.proxy.waiting_status
            enqueue = f"/.gatekeeper/enqueue?room={visitor.room}"
            assert (await visitor.send("POST", enqueue, data=b"x")).status in {200, 201}
        await visitor.page()
        assert (await visitor.status())["position"] is not None
        status = f"{served.url}/.gatekeeper/status?room={visitor.room}"
        fields = visitor.fields({"Accept": "text/event-stream"})
        async with visitor.session.get(status, headers=fields) as stream, asyncio.timeout(40):
            assert stream.headers["Content-Type"] == "text/event-stream"
            assert await stream.content.readline()  # the stream stays open


async def test_form_of_a_visitor_in_line_is_refused(served: RunningProxy) -> None:
    before = len(served.stage.origin.requests)
    async with ProxyVisitor(served, "line") as visitor:
        json = await visitor.send("POST", "/pay", data=b"x" * 5000)
        assert (json.status, json.json["state"]) == (served.proxy.waiting_status, "waiting")
        page = await visitor.send("POST", "/pay", HTML, data=b"x" * 5000)
        assert (page.status, "<title>" in page.text) == (served.proxy.waiting_status, True)
        assert (await visitor.send("HEAD", "/pay")).status == served.proxy.waiting_status
        assert visitor.cookie == ""
    assert len(served.stage.origin.requests) == before


async def test_websocket_is_tunnelled_for_the_admitted(served: RunningProxy) -> None:
    async with ProxyVisitor(served, "line") as visitor:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await visitor.session.ws_connect(f"{served.url}/ws", headers=visitor.fields())
        assert refused.value.status == served.proxy.waiting_status
        assert refused.value.headers is not None
        assert "Set-Cookie" not in refused.value.headers
        visitor.hold_pass()
        async with visitor.session.ws_connect(
            f"{served.url}/ws", headers=visitor.fields()
        ) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str(timeout=10) == "echo hello"


@pytest.mark.parametrize(
    "path", ["/list?page=2", "/list?page=2&nginx", "/list?nginx=1", "/list?nginx", "/list?page"]
)
async def test_query_of_the_visitor_is_the_sites(served: RunningProxy, path: str) -> None:
    """Not that of the check, which has its own `?nginx` and `?page`."""
    async with ProxyVisitor(served, "line") as visitor:
        page = await visitor.page(path)
        assert (page.status, "<title>" in page.text) == (served.proxy.waiting_status, True)
        visitor.hold_pass()
        for _ in range(2):
            response = await visitor.page(path)
            assert (response.status, response.json["path"]) == (200, path)


async def test_address_is_that_of_the_visitor(served: RunningProxy) -> None:
    """A rule for one address applies to that client, and not to clients that claim the address."""
    async with ProxyVisitor(served, "line", address="127.0.0.9") as near:
        assert (await near.get("/cart")).status == 200
    async with ProxyVisitor(served, "line") as other:
        claims = {"X-Forwarded-For": "127.0.0.9", "X-Real-IP": "127.0.0.9"}
        assert (await other.get("/cart", claims)).status == served.proxy.waiting_status


async def test_rule_bypasses_and_forged_fields_are_removed(served: RunningProxy) -> None:
    forged = {"X-Gatekeeper-Visitor": "forged", "X-Gatekeeper-Room": "forged"}
    for name in list(forged):  # many sites read "_" in a name as "-"
        forged |= {name.replace("-", "_"): "forged", name.replace("-", "_", 1): "forged"}
        forged |= {"_".join(name.rsplit("-", 1)): "forged"}
    origin = served.stage.origin
    async with ProxyVisitor(served, "line") as visitor:
        free = await visitor.get("/free/x", forged)
        assert (free.status, free.json["visitor"], free.json["room"]) == (200, None, None)
        assert "forged" not in origin.requests[-1].headers.values()
        assert visitor.cookie == ""
        held = visitor.hold_pass()
        own = await visitor.get("/cart", forged)
        assert own.json["visitor"] == held.visitor
        assert own.json["room"] == visitor.room
        assert "forged" not in origin.requests[-1].headers.values()
        banned = await visitor.get("/banned")
        assert banned.status == 403


@pytest.mark.parametrize("claims", CLAIMING_FIELDS, ids=lambda fields: next(iter(fields)))
async def test_claims_of_a_client_do_not_reach_the_site(
    served: RunningProxy, claims: Mapping[str, str]
) -> None:
    """A site that trusts them would serve another path than the one that the gate checked."""
    origin = served.stage.origin
    async with ProxyVisitor(served, "line") as visitor:
        for path in ("/free/x", "/cart"):
            response = await visitor.get(path, claims)
            assert (response.status, response.json["path"]) == (200, path)
            assert "/claim" not in origin.requests[-1].headers.values()
            visitor.hold_pass()


@pytest.mark.parametrize(
    "fields",
    [
        {"X-Forwarded-Uri": "/free/x"},
        {"X-Forwarded-Method": "OPTIONS", "Access-Control-Request-Method": "GET"},
        {"X-Forwarded-Host": "open.{name}.localhost"},
        {"X-Original-URL": "http://open.{name}.localhost/free/x"},
        {"X-Original-URL": "http://line.{name}.localhost/free/x", "X-Original-Method": "GET"},
        {"X-Original-Method": "OPTIONS"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9;host=open.{name}.localhost"},
        {"X_Forwarded_Uri": "/free/x", "X_Forwarded_For": "203.0.113.9"},
        {"X-Gatekeeper-Visitor": "v" * 22, "X-Gatekeeper-State": "admitted"},
        {"Connection": "X-Forwarded-Uri, X-Forwarded-Host, X-Forwarded-For, Cookie"},
    ],
    ids=str,
)
async def test_client_that_sends_trusted_fields_is_not_believed(
    served: RunningProxy, fields: dict[str, str]
) -> None:
    before = len(served.stage.origin.requests)
    async with ProxyVisitor(served, "line") as visitor:
        sent = {name: value.format(name=served.proxy.name) for name, value in fields.items()}
        response = await visitor.get("/cart", sent)
        assert response.status in {400, served.proxy.waiting_status}, response.text
        if visitor.cookie:
            assert visitor.ticket  # of the room of this host, or the gate would ignore it
        polled = await visitor.get(f"/.gatekeeper/status?room={visitor.room}", sent)
        assert polled.status == 400 or polled.json["state"] != "admitted"
    assert len(served.stage.origin.requests) == before


@pytest.mark.parametrize(
    "path",
    [
        "/.gatekeeper/auth",
        "/.gatekeeper/auth?nginx",
        "/.gatekeeper/auth?page",
        "/.gatekeeper/auth/",
        "/.gatekeeper/auth/free/x",
        "/.gatekeeper//auth",
        "/.gatekeeper/./auth",
        "/.gatekeeper/x/../auth",
        "//.gatekeeper/auth",
        "/x/../.gatekeeper/auth",
        "/%2egatekeeper/auth",
        "/.gatekeeper/%61uth",
        "/.gatekeeper%2fauth",
        "/.gatekeeper/auth/../auth",
        "/.gatekeeper/auth;x",
        "/.GATEKEEPER/auth",
    ],
)
async def test_no_client_reaches_the_check(served: RunningProxy, path: str) -> None:
    """Such a check would come from the proxy's address, with fields of the client."""
    async with ProxyVisitor(served, "line") as visitor:
        visitor.hold_pass()
        sent = {"X-Forwarded-Uri": "/free/x", "X-Forwarded-Method": "GET"}
        url = URL(served.url + path, encoded=True)
        async with visitor.session.get(
            url, headers=visitor.fields(sent), allow_redirects=False
        ) as response:
            body = await response.text()
            assert "X-Gatekeeper-Visitor" not in response.headers
            is_forwarded = response.status == 200 and '"path"' in body  # as an ordinary path
            assert is_forwarded or response.status in {301, 307, 308, 400, 403, 404}, path


async def test_unreachable_store_keeps_the_admitted(served: RunningProxy) -> None:
    stage = served.stage
    async with ProxyVisitor(served, "line") as admitted, ProxyVisitor(served, "line") as waiting:
        admitted.hold_pass()
        await waiting.page()
        assert (await waiting.status())["position"] is not None
        stage.store.stop()
        try:
            assert (await admitted.get("/cart")).status == 200
            page = await waiting.page("/cart")
            assert (page.status, "<title>" in page.text) == (served.proxy.waiting_status, True)
            async with ProxyVisitor(served, "line") as newcomer:
                stamped = await newcomer.page("/cart")
                assert stamped.status == served.proxy.waiting_status
                assert newcomer.ticket.visitor
        finally:
            stage.store.start()

        async def is_back() -> bool:
            return (await waiting.status())["position"] is not None

        await eventually(is_back, timeout_s=30)
        # Between the tests of another file the gate's event loop does not run.
        stage.store.note_steady()
