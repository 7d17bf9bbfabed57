"""The endpoint by which a visitor leaves: places move up, tokens are void, slots are free."""

from gatekeeper.config.types import RoomName
from tests.gates import HTML, GateStarter

TOKEN = "X-Queue-Token"


async def test_leave_moves_up_later_visitors(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    first = gate.visitor()
    second = gate.visitor()
    assert (await first.join())["position"] == 1
    assert (await second.join())["position"] == 2
    response = await first.leave()
    assert response.json == {"state": "none"}
    assert first.cookies() == {}
    assert (await second.status())["position"] == 1
    assert (await first.status()) == {"state": "none"}


async def test_returned_ticket_is_void(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    await visitor.get()
    [(name, ticket)] = visitor.cookies().items()
    await visitor.leave()
    await gate.allow(1)
    visitor.set_cookie(name, ticket)
    response = await visitor.request("GET", "/.gatekeeper/status")
    assert response.json == {"state": "none"}
    assert "Set-Cookie" not in response.headers  # another tab may have a new place by now


async def test_leave_of_admitted_visitor_frees_the_slot(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="60000/min", burst=100, max_active=1)
    admitted = gate.visitor()
    waiting_visitor = gate.visitor()
    assert (await admitted.get())[0] == 200
    assert (await waiting_visitor.get())[0] == 503
    assert (await admitted.leave()).status == 200
    await waiting_visitor.wait_until_admitted()
    assert (await waiting_visitor.get())[0] == 200
    assert (await admitted.get())[0] == 503


async def test_leave_by_form_returns_page_with_link_back(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0", path="/shop/")
    visitor = gate.visitor()
    await visitor.get("/shop/")
    response = await visitor.request(
        "POST", f"/.gatekeeper/leave?room={room_name}", data={}, headers=HTML
    )
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert "Content-Security-Policy" in response.headers
    assert 'href="/shop/"' in response.text
    assert visitor.cookies() == {}


async def test_leave_without_token_sets_no_cookie(
    start_gate: GateStarter,
) -> None:
    """A form on another site sends no cookie (SameSite=Lax), and must not remove it."""
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    for headers in (HTML, {"Accept": "*/*"}):
        response = await visitor.request("POST", "/.gatekeeper/leave", data={}, headers=headers)
        assert response.status == 200
        assert "Set-Cookie" not in response.headers
