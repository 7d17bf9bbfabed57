"""Pages of an event as a gate serves them: before it, in the prequeue, and its calendar file."""

import time

from gatekeeper.config.event_schema import spell_time
from gatekeeper.config.types import RoomName
from tests.gates import HTML, GateStarter
from tests.gates.gate import Gate


def event_toml(room: str, name: str, **seconds_from_now: float | str) -> str:
    lines = [f'[[event]]\nname = "{name}"\nroom = "{room}"']
    for key, value in seconds_from_now.items():
        spelled = value
        if not isinstance(value, str):
            spelled = spell_time(round((time.time() + value) * 1_000_000))
        lines.append(f'{key} = "{spelled}"')
    return "\n".join(lines) + "\n"


async def gate_with(start_gate: GateStarter, room: RoomName, **event: float | str) -> Gate:
    rooms = f'[[room]]\nname = "{room}"\n' + event_toml(room, "autumn-sale", **event)
    return await start_gate(rooms=rooms)


async def test_closed_room_shows_its_opening_and_gives_no_place(
    start_gate: GateStarter, room_name: RoomName
) -> None:
    gate = await gate_with(
        start_gate, room_name, prequeue=200.0, start=400.0, end=900.0, before="closed"
    )
    visitor = gate.visitor()
    page = await visitor.request("GET", "/checkout", headers=HTML)
    assert page.status == 503
    assert 'data-state="before"' in page.text
    assert "Set-Cookie" not in page.headers
    assert visitor.cookies() == {}
    again_s = int(page.headers["Retry-After"])
    assert 190 <= again_s <= 200 + 37  # at the begin of the prequeue, spread over the poll interval
    assert f'<meta http-equiv="refresh" content="{again_s}">' in page.text
    app = await visitor.request("GET", "/checkout")
    assert app.json["reason"] == "before"
    assert 390 <= app.json["starts_in_seconds"] <= 400
    assert app.json["starts_at"].endswith("Z")
    enqueued = await visitor.request("POST", "/.gatekeeper/enqueue")
    assert enqueued.status == 503
    assert enqueued.json["reason"] == "before"
    assert "token" not in enqueued.json
    assert (await visitor.status())["state"] == "none"
    assert gate.origin.requests == []


async def test_prequeue_page_and_status_count_down_to_the_start(
    start_gate: GateStarter, room_name: RoomName
) -> None:
    gate = await gate_with(start_gate, room_name, prequeue=-60.0, start=300.0, end=900.0)
    visitor = gate.visitor()
    status, page = await visitor.get("/")
    assert status == 503
    assert 'data-event="autumn-sale"' in page
    assert 'data-state="joining"' in page  # only a ticket that was returned takes part
    place = await visitor.status()
    assert (place["reason"], place["phase"], place["position"]) == ("prequeue", "prequeue", None)
    assert 280 <= place["starts_in_seconds"] <= 300
    assert place["event"] == "autumn-sale"
    assert len(place["commitment"]) == 64
    assert place["commitment"] in page
    assert place["reference"] in page
    assert "draw" not in place
    _, page = await visitor.get("/")
    assert 'data-state="prequeue"' in page
    assert "when you came does not matter" in page


async def test_opening_is_served_as_a_calendar_file(
    start_gate: GateStarter, room_name: RoomName
) -> None:
    gate = await gate_with(start_gate, room_name, start=300.0, end=900.0)
    visitor = gate.visitor()
    path = f"/.gatekeeper/calendar/autumn-sale.ics?room={room_name}"
    file = await visitor.request("GET", path, headers={"Accept-Language": "de"})
    assert file.status == 200
    assert file.headers["Content-Type"] == "text/calendar; charset=utf-8"
    assert file.headers["Content-Disposition"] == 'inline; filename="autumn-sale.ics"'
    assert file.headers["Cache-Control"] == "no-store"
    assert "SUMMARY:autumn-sale: Beginn\r\n" in file.text
    assert f"URL:{gate.url}/\r\n" in file.text
    assert "Set-Cookie" not in file.headers
    for other in (
        "autumn-sale",
        "autumn-sale.ics.ics",
        "spring-sale.ics",
        "..%2fautumn-sale.ics",
        "AUTUMN-SALE.ics",
        "autumn-sale.ics/",
        ".ics",
    ):
        missing = await visitor.request("GET", f"/.gatekeeper/calendar/{other}?room={room_name}")
        assert missing.status == 404, other
    wrong = await visitor.request("POST", path)
    assert (wrong.status, wrong.headers["Allow"]) == (405, "GET, HEAD")
    assert (await visitor.request("GET", path.replace(room_name, "attic"))).status == 404
    assert gate.origin.requests == []
