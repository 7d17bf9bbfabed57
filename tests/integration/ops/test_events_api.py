"""`/admin/events`: creating, moving and cancelling events, refusals, and the audit log."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gatekeeper.config.types import RoomName
from tests.admin import running_admin
from tests.gates import Visitor


class Events:
    """The events of one room, through the listener."""

    def __init__(self, operator: Visitor, room: RoomName) -> None:
        self.operator = operator
        self.room = room

    async def all(self) -> list[dict[str, Any]]:
        response = await self.operator.request("GET", f"/admin/events?room={self.room}")
        assert response.status == 200
        events: list[dict[str, Any]] = response.json["events"]
        return events

    async def post(self, **body: object) -> tuple[int, Any]:
        data = json.dumps({"room": self.room, **body}).encode()
        response = await self.operator.request("POST", "/admin/events", data=data)
        return response.status, response.json

    async def cancel(self, name: str) -> tuple[int, Any]:
        path = f"/admin/events?room={self.room}&name={name}"
        response = await self.operator.request("DELETE", path)
        return response.status, response.json

    async def room_status(self) -> dict[str, Any]:
        response = await self.operator.request("GET", f"/admin/status?room={self.room}")
        [shown] = response.json["rooms"]
        status: dict[str, Any] = shown
        return status

    async def audit(self) -> list[dict[str, Any]]:
        response = await self.operator.request("GET", f"/admin/audit?room={self.room}")
        entries: list[dict[str, Any]] = response.json["entries"]
        return entries


@pytest.fixture
async def events(store_url: str, room_name: RoomName) -> AsyncIterator[Events]:
    async with running_admin(store_url, room_name, "default") as operator:
        yield Events(operator, room_name)


BEGIN = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(autouse=True)
def at_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test uses the time of its own start, since the file is imported minutes before."""
    monkeypatch.setitem(globals(), "BEGIN", datetime.now(UTC).replace(microsecond=0))


def soon(minutes: float, *, hours: int = 0) -> str:
    """The time in `minutes` from now, at the UTC offset `hours`."""
    at = BEGIN + timedelta(minutes=minutes)
    offset = f"+{hours:02}:00" if hours else "Z"
    return (at + timedelta(hours=hours)).isoformat().removesuffix("+00:00") + offset


async def test_event_is_made_with_a_commitment_and_listed(events: Events) -> None:
    status, made = await events.post(
        name="sale",
        prequeue=soon(10, hours=1),
        start=soon(40, hours=1),
        end=soon(160, hours=1),
        rate="2000/min",
        title="Autumn sale",
    )
    assert status == 201
    assert (made["prequeue"], made["start"], made["end"]) == (soon(10), soon(40), soon(160))
    assert (made["order"], made["before"], made["after"]) == ("draw", "normal", "ended")
    assert (made["rate"], made["title"]) == ("2000/min", "Autumn sale")
    assert (made["stage"], made["drawn"], made["file"]) == ("planned", False, False)
    assert len(made["commitment"]) == 64
    assert await events.all() == [made]
    [entry] = await events.audit()
    assert (entry["what"], entry["to"]) == (
        "event add",
        f"sale start {soon(40)}, end {soon(160)}",
    )
    assert entry["note"] == f"commitment {made['commitment']}"


async def test_event_is_delayed_moved_opened_and_ended(events: Events) -> None:
    _, made = await events.post(name="sale", prequeue=soon(0), start=soon(30))
    status, moved = await events.post(name="sale", delay="10m")
    assert (status, moved["start"]) == (200, soon(40))
    assert (moved["announced"], moved["commitment"]) == (soon(30), made["commitment"])
    assert moved["prequeue"] == made["prequeue"]
    status, moved = await events.post(name="sale", start=soon(20))
    assert (status, moved["start"], moved["commitment"]) == (200, soon(20), made["commitment"])
    status, opened = await events.post(name="sale", start="now")
    assert (status, opened["stage"]) == (200, "running")
    assert opened["start"] < soon(20)
    shown = await events.room_status()
    assert (shown["phase"], shown["event"]["stage"]) == ("running", "running")
    status, refused = await events.post(name="sale", delay="10m")
    assert (status, refused["error"][:18]) == (409, '"sale" has started')
    status, ended = await events.cancel("sale")
    assert (status, ended["stage"]) == (200, "ended")
    status, refused = await events.cancel("sale")
    assert (status, "has ended" in refused["error"]) == (409, True)
    done = [(each["what"], each["outcome"]) for each in reversed(await events.audit())]
    assert done == [
        ("event add", "done"),
        ("event delay", "done"),
        ("event delay", "done"),
        ("event open", "done"),
        ("event delay", "failed"),
        ("event cancel", "done"),
        ("event cancel", "failed"),
    ]


async def test_planned_event_is_cancelled_without_a_trace(events: Events) -> None:
    await events.post(name="sale", prequeue=soon(10), start=soon(30))
    status, cancelled = await events.cancel("sale")
    assert (status, cancelled["stage"]) == (200, "cancelled")
    assert await events.all() == []
    assert (await events.room_status())["event"] is None
    assert (await events.post(name="sale", start=soon(50)))[0] == 201, "the name is free"


async def test_status_counts_down_to_the_next_change(events: Events) -> None:
    await events.post(name="sale", prequeue=soon(10), start=soon(30), end=soon(90))
    shown = await events.room_status()
    assert shown["phase"] == "running"
    event = shown["event"]
    assert (event["name"], event["stage"], event["next"]) == ("sale", "planned", "prequeue")
    assert (event["starts_at"], event["ends_at"]) == (soon(30), soon(90))
    assert 500 <= event["seconds"] <= 600


async def test_setting_of_a_running_event_changes_the_event(events: Events) -> None:
    await events.post(name="sale", start=soon(10), end=soon(90), rate="60/min", burst=3)
    await events.post(name="sale", start="now")
    path = f"room={events.room}"
    operator = events.operator
    assert (await events.room_status())["rate_per_minute"] == 60
    response = await operator.request("POST", f"/admin/rate?rate=90/min&{path}")
    assert response.json["rooms"][0]["rate_per_minute"] == 90
    body = json.dumps({"burst": 4, "max_active": 9, "rate": "80/min"}).encode()
    response = await operator.request("POST", f"/admin/settings?{path}", data=body)
    shown = response.json["rooms"][0]["settings"]
    values = [shown[key]["value"] for key in ("burst", "max_active", "rate")]
    assert values == [4, 9, "80/min"]
    [event] = await events.all()
    assert (event["rate"], event["burst"], "max_active" in event) == ("80/min", 4, False)
    response = await operator.request("POST", f"/admin/settings?{path}", data=b'{"rate": null}')
    assert response.json["rooms"][0]["settings"]["rate"]["value"] == "0", "the room's own"
    assert "rate" not in (await events.all())[0]
    await events.cancel("sale")
    response = await operator.request("GET", f"/admin/settings?{path}")
    shown = response.json["rooms"][0]["settings"]
    values = [shown[key]["value"] for key in ("burst", "max_active", "rate")]
    assert values == [10, 9, "0"], "the event's values ended with it"


async def test_conflict_with_settings_of_an_event_changes_nothing(events: Events) -> None:
    await events.post(name="sale", start=soon(10), session_idle_timeout="5m")
    await events.post(name="sale", start="now")
    body = json.dumps({"session_idle_timeout": "5h", "max_active": 9}).encode()
    path = f"/admin/settings?room={events.room}"
    response = await events.operator.request("POST", path, data=body)
    assert response.status == 400
    assert response.json["error"].startswith("session_absolute_timeout: ")
    assert (await events.room_status())["max_active"] == 7
    assert (await events.all())[0]["session_idle_timeout"] == "5m"


def bad_values() -> list[tuple[dict[str, Any], str]]:
    return [
        ({}, "name: missing"),
        ({"name": "new"}, "start: missing"),
        ({"start": soon(60)}, "name: missing"),
        ({"name": "New", "start": soon(60)}, 'name: "New" is not an event name'),
        ({"name": 3, "start": soon(60)}, "name: 3 is not an event name"),
        ({"name": "new", "start": "10:00"}, 'start: "10:00" is not a time'),
        ({"name": "new", "start": "2030-01-01T10:00:00"}, "has no offset"),
        ({"name": "new", "start": 1_900_000_000}, "is not a time"),
        ({"name": "new", "start": None}, "is not a time"),
        ({"name": "new", "start": "Now"}, 'start: "Now" is not a time'),
        ({"name": "new", "start": soon(-1)}, "is not in the future"),
        ({"name": "new", "start": "2020-01-01T10:00:00Z", "rate": "1/s"}, "is not in the future"),
        ({"name": "new", "start": soon(60), "prequeue": soon(60)}, "prequeue: not before start"),
        ({"name": "new", "start": soon(60), "end": soon(60)}, "end: not after start"),
        ({"name": "new", "start": soon(60), "order": "lottery"}, "order: "),
        ({"name": "new", "start": soon(60), "order": "draw"}, "order: no prequeue to draw from"),
        ({"name": "new", "start": soon(60), "rates": "1/s"}, "rates: unknown"),
        ({"name": "new", "start": soon(60), "rate": "fast"}, 'rate: "fast" is not a rate'),
        ({"name": "new", "start": soon(60), "store_failure_mode": "open"}, "store_failure_mode: "),
        ({"name": "new", "start": soon(60), "settings": {"rate": "1/s"}}, "settings: "),
        ({"name": "new", "start": soon(60), "session_idle_timeout": "5h"}, "session_absolute_"),
        ({"name": "new", "start": soon(60), "commitment": "00"}, "commitment: unknown"),
        ({"name": "new", "start": soon(60), "beacon": "ftp://x"}, "beacon: "),
        ({"name": "new", "start": soon(60), "room": "nowhere"}, "nowhere"),
        ({"name": "new", "start": soon(60), "room": ["default"]}, "room: a list is unknown"),
        ({"name": "sale", "delay": "10 minutes"}, "delay: "),
        ({"name": "sale", "delay": "0"}, 'delay: "0" is not a delay'),
        ({"name": "sale", "delay": "-5m"}, "delay: "),
        ({"name": "sale", "delay": 600}, "delay: "),
        ({"name": "sale", "delay": "10m", "start": soon(60)}, "start: set together with delay"),
        ({"name": "sale", "delay": "10m", "rate": "1/s"}, "rate: set together with delay"),
        ({"name": "sale", "start": "now", "end": soon(60)}, "end: set together with start"),
        ({"name": "sale", "start": soon(5)}, "not after the prequeue"),
        ({"name": "sale", "start": soon(95)}, "not before the end"),
        ({"delay": "10m"}, "name: missing"),
        ({"start": "now"}, "name: missing"),
    ]


async def test_bad_value_is_400_and_changes_nothing(events: Events) -> None:
    await events.post(name="sale", prequeue=soon(10), start=soon(30), end=soon(90))
    before = await events.all()
    for body, problem in bad_values():
        status, refused = await events.post(**body)
        assert status == 400, body
        assert problem in refused["error"], body
    assert await events.all() == before


def refused_changes() -> list[tuple[int, dict[str, Any]]]:
    return [
        (404, {"name": "new", "delay": "10m"}),
        (404, {"name": "new", "start": "now"}),
        (404, {"name": "x" * 9000, "delay": "10m"}),
        (409, {"name": "sale", "start": soon(120), "rate": "1/s"}),
        (409, {"name": "new", "start": soon(20)}),
        (409, {"name": "new", "start": soon(60)}),
    ]


async def test_refused_change_is_404_or_409_and_changes_nothing(events: Events) -> None:
    await events.post(name="sale", prequeue=soon(10), start=soon(30), end=soon(90))
    before = await events.all()
    for status, body in refused_changes():
        found, refused = await events.post(**body)
        assert (found, len(refused["error"]) < 300) == (status, True), refused
    assert await events.all() == before


async def test_cancellation_without_a_known_name_is_refused(events: Events) -> None:
    assert (await events.cancel("nothing"))[0] == 404
    assert (await events.cancel(""))[0] == 400
    path = "/admin/events?room=nowhere&name=sale"
    assert (await events.operator.request("DELETE", path)).status == 400


async def test_room_in_query_and_body_must_be_the_same(events: Events) -> None:
    data = json.dumps({"name": "sale", "start": soon(60), "room": events.room}).encode()
    response = await events.operator.request("POST", "/admin/events?room=default", data=data)
    assert response.status == 400
    path = f"/admin/events?room={events.room}"
    response = await events.operator.request("POST", path, data=data)
    assert response.status == 201
