"""Several rooms behind one gate: by host, by path, each with its own line."""

import asyncio

import pytest

from gatekeeper.config.types import RoomName
from tests.gates import HTML, SECRET, Gate, Origin, Visitor, minted, room, running_gate
from tests.integration.gate.passes import pass_issued, token_in
from tests.servers import StoreServer

TIMEOUT_S = 5


async def raw_exchange(gate: Gate, request: bytes) -> bytes:
    """The bytes that answer `request` until the gate closes; for what no client would send."""
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.worker.port)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()


async def test_each_room_has_its_own_line_cookie_title_and_status(
    store_url: str, room_name: RoomName
) -> None:
    tickets, shop = f"{room_name}-tickets", f"{room_name}-shop"
    toml = (
        room(tickets, rate="0", host="tickets.example.com", title="Tickets soon", status=429)
        + room(shop, rate="0", path="/shop/", title="Shop soon", status=200)
        + room(room_name, rate="600/min")
    )
    async with (
        Origin.running() as origin,
        running_gate(toml, store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        answer = await visitor.ask("GET", "/x", headers=HTML | {"Host": "tickets.example.com"})
        assert (answer.status, "Tickets soon" in answer.text) == (429, True)
        answer = await visitor.ask("GET", "/shop/item", headers=HTML)
        assert (answer.status, "Shop soon" in answer.text) == (200, True)
        answer = await visitor.ask("GET", "/about")
        assert (answer.status, answer.json["room"]) == (200, room_name)
        assert set(visitor.cookies()) == {
            f"gatekeeper-{tickets}",
            f"gatekeeper-{shop}",
            f"gatekeeper-{room_name}",
        }
        assert (await visitor.status(room=shop))["rate_per_minute"] == 0
        assert [request.path for request in origin.requests] == ["/about"]
        assert "Cookie" not in origin.requests[0].headers

        await gate.allow(shop, 1)
        assert (await visitor.status(room=shop))["state"] == "admitted"
        assert (await visitor.status(room=tickets))["state"] == "waiting"
        answer = await visitor.ask("GET", "/shop/item")
        assert (answer.status, answer.json["room"]) == (200, shop)


async def test_the_default_rooms_cookie_has_no_rooms_name(private_store: StoreServer) -> None:
    async with (
        Origin.running() as origin,
        running_gate("", store_url=private_store.url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        answer = await visitor.ask("GET")
        assert answer.json["room"] == "default"
        assert list(visitor.cookies()) == ["gatekeeper"]


async def test_a_path_in_no_room_passes_straight_through(
    store_url: str, room_name: RoomName
) -> None:
    async with (
        Origin.running() as origin,
        running_gate(
            room(room_name, rate="0", path="/checkout/"), store_url=store_url, origin_url=origin.url
        ) as gate,
        Visitor(gate) as visitor,
    ):
        made_up = {
            "X-Gatekeeper-Visitor": "me",
            "X-Gatekeeper-Room": "mine",
            "x_gatekeeper_visitor": "me",
            "X-Queue-Token": "mine",
            "Cookie": f"gatekeeper-{room_name}=mine; theirs=1",
        }
        for method in ("GET", "POST"):
            answer = await visitor.ask(method, "/free", headers=made_up)
            assert answer.status == 200
            assert (answer.json["visitor"], answer.json["room"]) == (None, None)
            assert "Set-Cookie" not in answer.headers
        for request in origin.requests:
            assert not [name for name in request.headers if "gatekeeper" in name.lower()]
            assert "X-Queue-Token" not in request.headers
            assert request.headers["Cookie"] == "theirs=1"
        assert (await visitor.ask("GET", "/checkout/pay")).status == 503
        assert (await visitor.ask("GET", "/checkout")).status == 503


@pytest.mark.parametrize(
    "target",
    [
        "/checkout/pay",
        "//checkout/pay",
        "/./checkout/pay",
        "/free/../checkout/pay",
        "/%63heckout/pay",
        "/%2563heckout/pay",
        "/checkout%2fpay",
        "/free/..%2fcheckout/pay",
        "/free\\..\\checkout\\pay",
        "/checkout;v=1/pay",
        "http://shop.test/checkout/pay",
        "http://shop.test//checkout/pay",
    ],
)
async def test_no_spelling_of_its_path_leads_around_a_room(
    store_url: str, room_name: RoomName, target: str
) -> None:
    async with (
        Origin.running() as origin,
        running_gate(
            room(room_name, rate="0", path="/checkout/"), store_url=store_url, origin_url=origin.url
        ) as gate,
    ):
        request = f"GET {target} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
        answer = await raw_exchange(gate, request.encode())
        assert answer.startswith(b"HTTP/1.1 503 "), answer[:200]
        assert b'"state": "waiting"' in answer
        assert origin.requests == []


@pytest.mark.parametrize("target", ["http://shop.test?/free/", "http://shop.test?a=/free/b"])
async def test_a_query_is_no_path_however_the_target_is_written(
    store_url: str, room_name: RoomName, target: str
) -> None:
    """RFC 9112 section 3.2.2: an absolute-form may have a query and no path; the path is `/`."""
    free = f"{room_name}-free"
    async with (
        Origin.running() as origin,
        running_gate(
            room(room_name, rate="0") + room(free, path="/free/"),
            store_url=store_url,
            origin_url=origin.url,
        ) as gate,
    ):
        request = f"GET {target} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
        answer = await raw_exchange(gate, request.encode())
        assert answer.startswith(b"HTTP/1.1 503 "), answer[:200]
        assert origin.requests == []


async def test_a_pass_of_one_room_opens_no_other(store_url: str, room_name: RoomName) -> None:
    side = RoomName(f"{room_name}-side")
    async with (
        Origin.running() as origin,
        running_gate(
            room(room_name, rate="0") + room(side, rate="0", path="/side/"),
            store_url=store_url,
            origin_url=origin.url,
        ) as gate,
        Visitor(gate) as visitor,
    ):
        raw = minted(pass_issued(gate, side))
        assert token_in(raw, gate, side, secret=SECRET) is not None
        visitor.take_cookie(f"gatekeeper-{room_name}", raw)
        visitor.take_cookie(f"gatekeeper-{side}", raw)
        assert (await visitor.get("/"))[0] == 503
        assert (await visitor.get("/side/"))[0] == 200
        token = {"X-Queue-Token": raw}
        assert (await visitor.ask("GET", "/", headers=token)).status == 503
        assert [request.path for request in origin.requests] == ["/side/"]
