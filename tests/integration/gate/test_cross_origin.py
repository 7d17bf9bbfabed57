"""Scripts of other origins: what they may read from the gate, and the return address for
`client.js`."""

from urllib.parse import quote

from tests.gates import HTML, Gate, GateStarter, Visitor

SHOP = "https://shop.example.com"
ALLOW = "Access-Control-Allow-Origin"


async def api(start_gate: GateStarter) -> Gate:
    return await start_gate(rate="0", cors_origins=[SHOP])


async def test_named_origin_reads_every_response_of_the_gate(start_gate: GateStarter) -> None:
    gate = await api(start_gate)
    room = f"?room={gate.room_name}"
    visitor = gate.visitor()
    for method, path in (
        ("GET", "/api/items"),
        ("POST", "/api/items"),
        ("GET", f"/.gatekeeper/status{room}"),
        ("POST", f"/.gatekeeper/enqueue{room}"),
        ("POST", f"/.gatekeeper/leave{room}"),
        ("GET", f"/.gatekeeper/leave{room}"),
        ("GET", "/.gatekeeper/nothing"),
        ("GET", "/.gatekeeper/health"),
    ):
        for origin, allowed in ((SHOP, SHOP), (SHOP + ".evil.example", None), ("null", None)):
            response = await visitor.request(method, path, headers={"Origin": origin})
            assert response.headers.get(ALLOW) == allowed, (method, path)
            assert "X-Gatekeeper-State" in response.headers, (method, path)
            assert "Origin" in response.headers.getall("Vary"), (method, path)


async def test_preflight_to_the_gate_is_for_named_origins_alone(start_gate: GateStarter) -> None:
    gate = await api(start_gate)
    asks = {"Access-Control-Request-Method": "POST"}
    for name, methods in (("status", "GET, HEAD"), ("enqueue", "POST"), ("leave", "POST")):
        path = f"/.gatekeeper/{name}?room={gate.room_name}"
        named = await gate.visitor().request("OPTIONS", path, headers=asks | {"Origin": SHOP})
        assert (named.status, named.headers[ALLOW]) == (204, SHOP)
        assert named.headers["Access-Control-Allow-Methods"] == methods
        assert "X-Queue-Token" in named.headers["Access-Control-Allow-Headers"]
        for headers in (asks, {"Origin": SHOP}, asks | {"Origin": SHOP + ":8443"}):
            other = await gate.visitor().request("OPTIONS", path, headers=headers)
            assert other.status == 405
            assert "Access-Control-Allow-Methods" not in other.headers


async def test_forwarded_response_has_no_field_of_the_gate(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="600/min", cors_origins=[SHOP])
    visitor = gate.visitor()
    await visitor.get()
    for _ in range(3):
        response = await visitor.request("GET", "/api", headers={"Origin": SHOP})
        assert response.status == 200
        assert ALLOW not in response.headers
        assert "Vary" not in response.headers


async def test_named_origin_may_give_back_a_place(start_gate: GateStarter) -> None:
    gate = await api(start_gate)
    path = f"/.gatekeeper/leave?room={gate.room_name}"
    for origin, status in ((SHOP, 200), ("https://evil.example", 403), ("null", 403)):
        headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
        assert (await gate.visitor().request("POST", path, headers=headers)).status == status


# The return address.


async def waits(gate: Gate, *, back: str) -> Visitor:
    """A visitor who opened the waiting page for an app."""
    visitor = gate.visitor()
    page = await visitor.request("GET", wait_path(back), headers=HTML)
    assert page.status == 503
    assert page.headers["Content-Type"].startswith("text/html")
    assert gate.origin.requests == []
    return visitor


def wait_path(back: str) -> str:
    return f"/.gatekeeper/wait?for=/api/items&return={quote(back, safe='')}"


WAYS_BACK = {
    "/app?tab=2#/cart/7": "/app?tab=2#/cart/7",
    "/a%20b/ü": "/a%20b/%C3%BC",
    SHOP + "/app#x": SHOP + "/app#x",
    "": "/",
    "//evil.example/": "/",
    "/\\evil.example/": "/",
    "\\\\evil.example/": "/",
    "https://evil.example/": "/",
    SHOP + ".evil.example/": "/",
    SHOP + "@evil.example/": "/",
    SHOP + "\\@evil.example/": "/",
    "http://shop.example.com/": "/",
    "javascript:alert(1)": "/",
    " /app": "/",
    "/app\r\nX-Evil: 1": "/",
    "\t//evil.example": "/",
    "https://[": "/",
}


async def test_admitted_visitor_returns_to_the_app_and_nowhere_else(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="6000/min", burst=100, cors_origins=[SHOP])
    for back, leads_to in WAYS_BACK.items():
        visitor = gate.visitor()
        response = await visitor.request("GET", wait_path(back), headers=HTML)
        assert (response.status, response.headers["Location"]) == (303, leads_to), back
        assert response.headers["X-Gatekeeper-State"] == "admitted"
        assert gate.origin.requests == []
    assert (await visitor.get())[0] == 200  # the redirect contained the pass


async def test_waiting_visitor_returns_when_admitted(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = await waits(gate, back="/app#x")
    await gate.allow(1)
    assert (await visitor.status())["state"] == "admitted"
    response = await visitor.request("GET", wait_path("/app#x"), headers=HTML)
    assert (response.status, response.headers["Location"]) == (303, "/app#x")


async def test_address_of_another_room_opens_that_room(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0", path="/api/")
    visitor = gate.visitor()
    response = await visitor.request("GET", "/.gatekeeper/wait?for=/&return=/", headers=HTML)
    assert response.status == 404
    await waits(gate, back="/")
