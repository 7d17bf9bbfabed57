"""The sample shop has every kind of response that an origin can send."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gatekeeper.config.types import split_listen
from gatekeeper.demo.shop import RECORDS, RunningOrigin, start_origin
from gatekeeper.errors import StartError

TIMEOUT = aiohttp.ClientTimeout(total=10)


@pytest.fixture
async def origin() -> AsyncIterator[RunningOrigin]:
    origin = await start_origin()
    yield origin
    await origin.stop()


@pytest.fixture
async def browser(origin: RunningOrigin) -> AsyncIterator[aiohttp.ClientSession]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(origin.url, cookie_jar=jar, timeout=TIMEOUT) as session:
        yield session


async def text(browser: aiohttp.ClientSession, path: str, **headers: str) -> str:
    async with browser.get(path, headers=headers) as response:
        assert response.status == 200
        return await response.text()


async def stock_of(browser: aiohttp.ClientSession) -> dict[int, int]:
    stock = json.loads(await text(browser, "/api/stock"))["stock"]
    return {each["record"]: each["left"] for each in stock}


async def test_page_shows_every_record_without_external_files(
    browser: aiohttp.ClientSession,
) -> None:
    page = await text(browser, "/")

    for record in RECORDS:
        assert record.title in page
    assert page.count('<svg class="sleeve') == len(RECORDS)
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    assert ".sleeve" in await text(browser, "/assets/shop.css")


async def test_page_shows_shortened_visitor_id(browser: aiohttp.ClientSession) -> None:
    page = await text(browser, "/", **{"X-Gatekeeper-Visitor": "Ab3dEf9hIJklmnopqrstuv"})

    assert "<code>Ab3dEf9h</code>" in page
    assert "Ab3dEf9hI" not in page
    assert "No gate in front" in await text(browser, "/")


async def test_page_escapes_visitor_id(browser: aiohttp.ClientSession) -> None:
    assert "<b>" not in await text(browser, "/", **{"X-Gatekeeper-Visitor": "<b>me</b>"})


async def test_cart_takes_record_from_stock(browser: aiohttp.ClientSession) -> None:
    before = await stock_of(browser)
    async with browser.post("/cart", data={"record": "2"}) as response:
        page = await response.text()

    after = await stock_of(browser)
    assert before[2] - after[2] == 1
    assert before | {2: 0} == after | {2: 0}
    assert "1 record, <strong>€31</strong>" in page


async def test_cart_is_limited(browser: aiohttp.ClientSession) -> None:
    before = await stock_of(browser)
    for _ in range(10):
        async with browser.post("/cart", data={"record": "1"}) as response:
            assert response.status == 200

    assert before[1] - (await stock_of(browser))[1] == 8


@pytest.mark.parametrize("record", ["0", "7", "two", "", "²"])
async def test_cart_unknown_record_is_400(browser: aiohttp.ClientSession, record: str) -> None:
    async with browser.post("/cart", data={"record": record}) as response:
        assert response.status == 400


async def test_cart_invalid_cookie_is_empty(browser: aiohttp.ClientSession) -> None:
    assert "Your cart is empty" in await text(browser, "/", Cookie="cart=x..9.²")


@pytest.mark.parametrize(
    ("method", "text_shown"), [("GET", "See you soon"), ("POST", "Thanks for your")]
)
async def test_leave_sends_revoke_command(
    browser: aiohttp.ClientSession, method: str, text_shown: str
) -> None:
    async with browser.request(method, "/leave") as response:
        page = await response.text()

    assert response.headers["Gatekeeper-Command"] == "revoke"
    assert text_shown in page


async def test_events_stream_the_stock(browser: aiohttp.ClientSession) -> None:
    async with browser.get("/events") as response:
        assert response.content_type == "text/event-stream"
        first = await response.content.readuntil(b"\n\n")
        second = await response.content.readuntil(b"\n\n")

    name, data = first.decode().strip().split("\n")
    assert name == "event: stock"
    assert json.loads(data.removeprefix("data: "))["1"] == 300
    assert second == first


async def test_websocket_echoes_text_and_bytes(browser: aiohttp.ClientSession) -> None:
    async with browser.ws_connect("/ws") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str(timeout=5) == "hello"
        await socket.send_bytes(b"\x00\xff")
        assert await socket.receive_bytes(timeout=5) == b"\x00\xff"


async def test_slow_response_takes_given_time(browser: aiohttp.ClientSession) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await text(browser, "/slow?s=0.3")

    assert loop.time() - began_s >= 0.3


@pytest.mark.parametrize("seconds", ["-1", "31", "nan", "inf", "long"])
async def test_slow_response_out_of_range_is_400(
    browser: aiohttp.ClientSession, seconds: str
) -> None:
    async with browser.get(f"/slow?s={seconds}") as response:
        assert response.status == 400


async def test_stats_count_all_other_requests(
    browser: aiohttp.ClientSession, origin: RunningOrigin
) -> None:
    async with asyncio.timeout(40), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(text(browser, "/slow?s=0.2"))
    stats = json.loads(await text(browser, "/stats"))

    assert stats == {"concurrent": 0, "peak": 3, "total": 3}
    assert origin.traffic.total == 3


async def test_shop_stops_with_open_streams() -> None:
    origin = await start_origin()
    async with (
        aiohttp.ClientSession(origin.url, timeout=TIMEOUT) as session,
        session.get("/events") as events,
        session.ws_connect("/ws") as socket,
    ):
        await events.content.readuntil(b"\n\n")
        async with asyncio.timeout(40):
            await origin.stop()
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_port_in_use_is_start_error(origin: RunningOrigin) -> None:
    host, port = split_listen(origin.url.removeprefix("http://"))
    with pytest.raises(StartError, match=f"cannot listen on {host}:{port}"):
        await start_origin(host, port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_shop_process_ends_on_signal(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gatekeeper.demo.shop", "--listen", "127.0.0.1:0"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(40):
            url = (await process.stdout.readline()).decode().split()[-1]
            async with aiohttp.ClientSession(url, timeout=TIMEOUT) as session:
                assert "Undertow Records" in await text(session, "/")
            process.send_signal(number)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
