"""Several rooms behind one gate: by host, by path, each with its own queue."""

import asyncio

import pytest

from gatekeeper.config.types import RoomName
from tests.builders import read_token, room_toml, sign_token
from tests.gates import HTML, Gate, GateStarter
from tests.servers import StoreServer

TIMEOUT_S = 30


async def raw_exchange(gate: Gate, request: bytes) -> bytes:
    """All bytes of the response to `request`, which no HTTP client would send."""
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.worker.port)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()


async def test_each_room_has_its_own_queue_cookie_title_status(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    tickets, shop = f"{room_name}-tickets", f"{room_name}-shop"
    rooms = (
        room_toml(tickets, rate="0", host="tickets.example.com", title="Tickets soon", status=429)
        + room_toml(shop, rate="0", path="/shop/", title="Shop soon", status=200)
        + room_toml(room_name, rate="600/min")
    )
    gate = await start_gate(rooms=rooms)
    visitor = gate.visitor()
    response = await visitor.request("GET", "/x", headers=HTML | {"Host": "tickets.example.com"})
    assert (response.status, "Tickets soon" in response.text) == (429, True)
    response = await visitor.request("GET", "/shop/item", headers=HTML)
    assert (response.status, "Shop soon" in response.text) == (200, True)
    response = await visitor.request("GET", "/about")
    assert (response.status, response.json["room"]) == (200, room_name)
    assert set(visitor.cookies()) == {
        f"gatekeeper-{tickets}",
        f"gatekeeper-{shop}",
        gate.cookie_name,
    }
    assert (await visitor.status(room=shop))["rate_per_minute"] == 0
    assert [request.path for request in gate.origin.requests] == ["/about"]
    assert "Cookie" not in gate.origin.requests[0].headers

    await gate.allow(1, room=shop)
    assert (await visitor.status(room=shop))["state"] == "admitted"
    assert (await visitor.status(room=tickets))["state"] == "waiting"
    response = await visitor.request("GET", "/shop/item")
    assert (response.status, response.json["room"]) == (200, shop)


async def test_default_room_cookie_has_no_room_name(
    private_store: StoreServer, start_gate: GateStarter
) -> None:
    gate = await start_gate(rooms="")
    visitor = gate.visitor()
    response = await visitor.request("GET")
    assert response.json["room"] == "default"
    assert list(visitor.cookies()) == ["gatekeeper"]


async def test_path_outside_rooms_is_forwarded_without_token(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0", path="/checkout/")
    visitor = gate.visitor()
    made_up = {
        "X-Gatekeeper-Visitor": "me",
        "X-Gatekeeper-Room": "mine",
        "x_gatekeeper_visitor": "me",
        "X-Queue-Token": "mine",
        "Cookie": f"gatekeeper-{room_name}=mine; theirs=1",
    }
    for method in ("GET", "POST"):
        response = await visitor.request(method, "/free", headers=made_up)
        assert response.status == 200
        assert (response.json["visitor"], response.json["room"]) == (None, None)
        assert "Set-Cookie" not in response.headers
    for request in gate.origin.requests:
        assert not [name for name in request.headers if "gatekeeper" in name.lower()]
        assert "X-Queue-Token" not in request.headers
        assert request.headers["Cookie"] == "theirs=1"
    assert (await visitor.request("GET", "/checkout/pay")).status == 503
    assert (await visitor.request("GET", "/checkout")).status == 503


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
async def test_path_spelling_does_not_bypass_a_room(target: str, start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0", path="/checkout/")
    request = f"GET {target} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
    response = await raw_exchange(gate, request.encode())
    assert response.startswith(b"HTTP/1.1 503 "), response[:200]
    assert b'"state": "waiting"' in response
    assert gate.origin.requests == []


@pytest.mark.parametrize("target", ["http://shop.test?/free/", "http://shop.test?a=/free/b"])
async def test_query_of_absolute_form_is_not_a_path(
    room_name: RoomName, target: str, start_gate: GateStarter
) -> None:
    """RFC 9112 section 3.2.2: an absolute-form may have a query and no path; the path is `/`."""
    free = f"{room_name}-free"
    gate = await start_gate(room_toml(free, path="/free/"), rate="0")
    request = f"GET {target} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
    response = await raw_exchange(gate, request.encode())
    assert response.startswith(b"HTTP/1.1 503 "), response[:200]
    assert gate.origin.requests == []


async def test_pass_is_valid_in_its_room_only(room_name: RoomName, start_gate: GateStarter) -> None:
    side = RoomName(f"{room_name}-side")
    gate = await start_gate(room_toml(side, rate="0", path="/side/"), rate="0")
    visitor = gate.visitor()
    raw = sign_token(gate.issue_pass(room=side))
    assert read_token(raw, room=side, now_s=gate.now_s()) is not None
    visitor.set_cookie(gate.cookie_name, raw)
    visitor.set_cookie(f"gatekeeper-{side}", raw)
    assert (await visitor.get("/"))[0] == 503
    assert (await visitor.get("/side/"))[0] == 200
    token = {"X-Queue-Token": raw}
    assert (await visitor.request("GET", "/", headers=token)).status == 503
    assert [request.path for request in gate.origin.requests] == ["/side/"]


async def test_unknown_host_is_421_where_all_rooms_name_hosts(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rooms=room_toml(room_name, rate="600/min", host="shop.example.com"))
    for host, status in (("shop.example.com", 200), ("other.example.com", 421)):
        response = await gate.visitor().request("GET", "/", headers={"Host": host})
        assert response.status == status
    without_host = await raw_exchange(gate, b"GET / HTTP/1.0\r\n\r\n")
    assert without_host.split(b" ")[1] == b"421"
    assert len(gate.origin.requests) == 1


@pytest.mark.parametrize(
    "target",
    ["/Checkout/pay", "/CHECKOUT", "/index.php/checkout/", "/INDEX.php/CHECKOUT/x", "/%43heckout/"],
)
async def test_room_is_not_left_by_letter_case_or_front_controller(
    target: str, room_name: RoomName, start_gate: GateStarter
) -> None:
    rooms = f"""
[[room]]
name = "{room_name}"
path = ["/checkout/", "/index.php/checkout/"]
rate = 0
"""
    gate = await start_gate(rooms=rooms)
    response = await raw_exchange(
        gate, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    assert response.split(b" ")[1] == b"503"
    assert gate.origin.requests == []
