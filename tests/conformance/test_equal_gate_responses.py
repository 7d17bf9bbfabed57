"""The gate's own responses are the same on the fast path and by aiohttp, byte for byte.

No visitor is admitted here, so both gates report the same queue. Values that always differ are
masked: the date, a new token, and a newcomer's number and time.
"""

import gzip
import re
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from gatekeeper.pages.renderer import PUBLIC_ASSET_PREFIX, Pages
from gatekeeper.policy.tokens import Keyring, Pass, Ticket, Token, Tokens, VisitorId
from tests.builders import SECRET
from tests.conformance.gate_pair import ROOM, Stage, running_stage
from tests.integration.proxy.forwarding import responding, until
from tests.servers import StoreServer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NOW_S = time.time()
# Neither is renewed or expires while the tests run, e.g. between two requests.
ISSUED_S, ENDS_S = NOW_S + 3600, NOW_S + 7200
TICKET = Ticket(ROOM, VisitorId("B" * 22), round(NOW_S * 1e6), ISSUED_S, ENDS_S)
PASS = Pass(ROOM, VisitorId("C" * 22), round(NOW_S * 1e6), ISSUED_S, ENDS_S, ENDS_S)
STATUS = b"GET /.gatekeeper/status?room=" + ROOM.encode()
HTML = b"Accept: text/html,application/xhtml+xml;q=0.9"
GZIP = b"Accept-Encoding: gzip, deflate, br"
SHOP = b"Origin: https://shop.example"
PATH = Pages().asset_url("waiting.css").encode()


def holding(token: Token) -> bytes:
    return f"Cookie: a=b; gatekeeper-{ROOM}={Tokens(Keyring([SECRET]), ROOM).mint(token)}".encode()


def get(line: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([line + b" HTTP/1.1", b"Host: shop.example", *fields, b"", b""])


WAITS = holding(TICKET)
TOKEN = WAITS.rpartition(b"=")[2]
LATER = replace(TICKET, visitor=VisitorId("E" * 22), arrival_us=TICKET.arrival_us + 5)
CASES = {
    "the status of a waiting visitor": get(STATUS, WAITS),
    "the status, asked by a browser": get(STATUS, b"Accept: application/json", GZIP, WAITS),
    "the status of the room on this host": get(b"GET /.gatekeeper/status", WAITS),
    "the status of a ticket that is due": get(
        STATUS, holding(replace(TICKET, issued_at_s=NOW_S - 100))
    ),
    "the status of an expired ticket": get(
        STATUS, holding(replace(TICKET, expires_at_s=NOW_S - 1))
    ),
    "the status of an admitted visitor": get(STATUS, holding(PASS)),
    "the status without a token": get(STATUS),
    "the status of a forger": get(STATUS, WAITS[:-3] + b"abc"),
    "the status of another room": get(b"GET /.gatekeeper/status?room=nowhere", WAITS),
    "the status by header": get(STATUS, b"X-Queue-Token: " + TOKEN),
    "the status of a page with its own ticket": get(STATUS, b"X-Queue-Ticket: " + TOKEN, WAITS),
    "the status of a page without cookies": get(STATUS, b"X-Queue-Ticket: " + TOKEN),
    "the status of a page with an earlier ticket": get(
        STATUS, b"X-Queue-Ticket: " + TOKEN, holding(LATER)
    ),
    "the head of the status": get(b"HEAD" + STATUS[3:], WAITS),
    "the page of a waiting visitor": get(b"GET /page?a=b", HTML, GZIP, WAITS),
    "the page, uncompressed": get(b"GET /", HTML, WAITS),
    "the page in two fields": get(b"GET /", b"Accept: a/b", HTML, b"accept-encoding: gzip", WAITS),
    "the page in a language": get(b"GET /", HTML, b"Accept-Language: de-DE,de;q=0.9", WAITS),
    "the page of a newcomer": get(b"GET /page", HTML, GZIP),
    "the page with an unrelated cookie": get(b"GET /page", HTML, b"Cookie: a=b"),
    "no page": get(b"GET /page", b"Accept: application/json", WAITS),
    "no page for a newcomer": get(b"GET /page"),
    "a navigation": get(b"GET /page", HTML, b"Sec-Fetch-Mode: navigate"),
    "an image": get(b"GET /a.png", b"Sec-Fetch-Mode: no-cors", b"Sec-Fetch-Dest: image"),
    "an image of a waiting visitor": get(b"GET /a.png", b"Sec-Fetch-Dest: image", WAITS),
    "a font, twice": get(b"GET /a", b"sec-fetch-dest: font", b"Sec-Fetch-Dest: empty"),
    "a prefetch": get(b"GET /page", HTML, b"Sec-Purpose: prefetch;prerender"),
    "a prefetch of an old browser": get(b"GET /page", HTML, b"X-Moz: prefetch", GZIP),
    "the head of a page": get(b"HEAD /page", HTML),
    "an asset": get(b"GET " + PATH),
    "an asset, compressed": get(b"GET " + PATH, GZIP),
    "no asset": get(b"GET " + PUBLIC_ASSET_PREFIX.encode() + b"none.css", HTML),
    "the status for a named origin": get(STATUS, WAITS, SHOP),
    "the status for another origin": get(STATUS, WAITS, SHOP + b".evil.example"),
    "the page for a named origin": get(b"GET /api", SHOP, WAITS),
    "the page for a newcomer of a named origin": get(b"GET /api", SHOP),
    "the client script": get(b"GET /.gatekeeper/client.js", GZIP),
    "the client script, unchanged": get(b"GET /.gatekeeper/client.js", b"If-None-Match: *"),
    "health for a named origin": get(b"GET /.gatekeeper/health", SHOP),
    "nothing for a named origin": get(b"GET /.gatekeeper/nothing", SHOP),
    "health": get(b"GET /.gatekeeper/health"),
    "nothing": get(b"GET /.gatekeeper/nothing"),
    "nothing, for a person": get(b"GET /.gatekeeper/nothing", HTML),
    "nothing but the prefix": get(b"GET /.gatekeeper/"),
}
_LONG_WAY = {
    "the head of the status",
    "the head of a page",
    "the status by header",
    "the status of another room",
}
LAST = get(b"GET /.gatekeeper/health", b"Connection: close")


@pytest.fixture
async def stages(store_url: str) -> AsyncIterator[tuple[Stage, Stage]]:
    """A gate with the fast path, and one without."""

    def stage(*, fast_path: bool) -> AbstractAsyncContextManager[Stage]:
        toml = '[admission]\nrate = 0\nconfirm_timeout = "10m"\n'
        toml += '[waiting]\ncors_origins = ["https://shop.example"]'
        return running_stage(responding(OK), store_url=store_url, fast_path=fast_path, toml=toml)

    async with stage(fast_path=True) as on_fast_path, stage(fast_path=False) as on_aiohttp:
        yield on_fast_path, on_aiohttp


@pytest.mark.parametrize("name", CASES)
async def test_both_paths_send_same_gate_response(name: str, stages: tuple[Stage, Stage]) -> None:
    for sent in (CASES[name] + LAST, CASES[name].replace(b"\r\n", b"\r\nConnection: close\r\n", 1)):
        on_fast_path, on_aiohttp = [masked(await responses(stage, sent)) for stage in stages]
        assert on_fast_path == on_aiohttp
        assert len(on_fast_path) > 100


async def test_cached_head_serves_every_visitor_correctly(
    stages: tuple[Stage, Stage],
) -> None:
    """After the first request the fast path knows the head, except for the cookie."""
    speakers = [
        WAITS,
        holding(replace(TICKET, visitor=VisitorId("D" * 22), arrival_us=TICKET.arrival_us + 1)),
        holding(PASS),
        WAITS + b"abc",
        b"Cookie: a=b\tc; =; \xff",
        b"cookie: a=b\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.2",
        WAITS + b"\r\nx-forwarded-for: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2",
        b"Cookie: a=b\x01c",
        b"Cookie: " + b"a" * 9000,
        WAITS + b"\r\nCookie: a=b",
        b"Cookie:  " + WAITS[8:],
        b"Cookie: " + WAITS[8:] + b" ",
    ]
    for line in (STATUS, b"GET /page"):
        for speaker in speakers * 2:
            sent = get(line, HTML, speaker) + LAST
            on_fast_path, on_aiohttp = [masked(await responses(stage, sent)) for stage in stages]
            assert on_fast_path == on_aiohttp, speaker


async def test_fast_path_serves_gate_responses(stages: tuple[Stage, Stage]) -> None:
    on_fast_path, _ = stages
    wire = await on_fast_path.connect()
    for name in CASES.keys() - _LONG_WAY:
        wire.send(CASES[name])
        await wire.message()
        assert (on_fast_path.fast_path_connections, on_fast_path.aiohttp_connections) == (1, 0), (
            name
        )


async def test_pipelined_gate_requests_are_served_in_order(
    stages: tuple[Stage, Stage],
) -> None:
    on_fast_path, _ = stages
    wire = await on_fast_path.connect()
    health = CASES["health"]
    wire.send(b"".join([CASES["the status of a waiting visitor"], health * 2000, LAST]))
    rest = await wire.rest()
    assert rest.index(b'"waiting"') < rest.index(b'"ok"')
    assert rest.count(b'{"status": "ok"}') == 2001


async def test_disconnect_during_store_call_leaves_nothing_behind(
    stages: tuple[Stage, Stage],
) -> None:
    on_fast_path, _ = stages
    wires = [await on_fast_path.connect() for _ in range(20)]
    for wire in wires:
        wire.send(CASES["the status of a waiting visitor"])
        wire.abort()
    await until(lambda: on_fast_path.fast_path_connections == 0)


async def test_admitted_visitor_is_handed_over_with_store_result(
    private_store: StoreServer,
) -> None:
    """The store is called once for the newcomer; aiohttp does not call it again."""

    async with running_stage(
        responding(OK),
        store_url=private_store.url,
        fast_path=True,
        toml='[admission]\nrate = "60000/min"',
    ) as stage:
        room = next(iter(stage.worker.rooms.values()))
        before = (await room.queue.read_state()).arrived_total
        wire = await stage.connect()
        wire.send(get(b"GET /", b"Connection: close"))
        response = await wire.rest()
        assert response.startswith(b"HTTP/1.1 200 OK")
        assert b"Set-Cookie: gatekeeper-" in response
        assert (await room.queue.read_state()).arrived_total == before + 1


async def responses(stage: Stage, sent: bytes) -> bytes:
    wire = await stage.connect()
    wire.send(sent)
    return await wire.rest()


def masked(response: bytes) -> bytes:
    for body in re.findall(rb"\x1f\x8b.*?(?=HTTP/1.1 200|$)", response, re.DOTALL):
        response = response.replace(body, gzip.decompress(body))
    newcomer = b"Set-Cookie" in response and b"Max-Age=0" not in response
    for pattern in (
        rb"\r\nDate: [^\r]*",
        rb"(?<=[= \"])eyJ[A-Za-z0-9_.-]+",
        rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|\d\d:\d\d UTC",
        *([rb"\b[0-9A-Z]{4}-[0-9A-Z]{4}\b", rb"\b[\d,]+\b"] if newcomer else []),
    ):
        response = re.sub(pattern, b"#", response)
    return response
