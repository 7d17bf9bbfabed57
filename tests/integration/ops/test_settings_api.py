"""`GET` and `POST /admin/settings`: displayed values, refusals, and the audit log."""

import json
from typing import Any

import pytest

from gatekeeper.config.schema import LIVE_KEYS
from gatekeeper.config.types import RoomName
from tests.admin import running_admin
from tests.gates import Visitor


async def settings_of(operator: Visitor, room: RoomName) -> dict[str, Any]:
    response = await operator.request("GET", f"/admin/settings?room={room}")
    assert response.status == 200
    [shown] = response.json["rooms"]
    assert shown["room"] == room
    settings: dict[str, Any] = shown["settings"]
    return settings


async def change(operator: Visitor, room: RoomName, body: object) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = await operator.request("POST", f"/admin/settings?room={room}", data=data)
    return response.status, response.json


async def test_settings_show_value_file_and_live(store_url: str, room_name: RoomName) -> None:
    async with running_admin(store_url, room_name, max_active=7) as operator:
        shown = await settings_of(operator, room_name)
        assert list(shown) == list(LIVE_KEYS)
        assert shown["max_active"] == {"value": 7, "file": 7, "live": False}
        assert shown["rate"] == {"value": "0", "file": "0", "live": False}
        assert shown["challenge_difficulty"]["note"] == "0.2 s on a phone, on average"
        status, after = await change(
            operator, room_name, {"rate": "480/h", "max_active": 300, "message": "Soon"}
        )
        assert status == 200
        settings = after["rooms"][0]["settings"]
        assert settings["rate"] == {"value": "8/min", "file": "0", "live": True}
        assert settings["max_active"] == {"value": 300, "file": 7, "live": True}
        assert settings["message"] == {"value": "Soon", "file": "", "live": True}
        assert await settings_of(operator, room_name) == settings
        status_ = await operator.request("GET", "/admin/status")
        [room] = status_.json["rooms"]
        assert (room["max_active"], room["rate_per_minute"], room["message"]) == (300, 8, "Soon")


async def test_short_forms_and_settings_are_one_truth(store_url: str, room_name: RoomName) -> None:
    async with running_admin(store_url, room_name) as operator:
        await operator.request("POST", f"/admin/rate?rate=9/min&room={room_name}")
        await operator.request("POST", f"/admin/message?text=Soon&room={room_name}")
        shown = await settings_of(operator, room_name)
        assert (shown["rate"]["value"], shown["message"]["value"]) == ("9/min", "Soon")
        assert (await change(operator, room_name, {"rate": None, "message": None}))[0] == 200
        [room] = (await operator.request("GET", "/admin/status")).json["rooms"]
        assert (room["rate_per_minute"], room["message"]) == (0, "")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "body: not JSON"),
        (b"{", "body: not JSON"),
        (b"\xff", "body: not JSON"),
        (b"[" * 50_000, "body: not JSON"),
        ([], "body: not an object"),
        ("rate", "body: not an object"),
        ({}, "no setting; expected at least one"),
        ({"rate": "fast", "max_active": 3}, 'rate: "fast" is not a rate'),
        ({"max_active": 3, "rates": 3}, "rates: unknown setting; expected rate"),
        ({"max_active": 1.5}, "max_active: 1.5 is not a whole number"),
        ({"max_active": [3]}, "max_active: a list is not a whole number"),
        ({"title": {"a": 1}}, "title: not a text"),
        ({"title": "x" * 201}, "title: too long; expected at most 200"),
        ({"message": "x" * 501}, "message: 501 characters are too many"),
        ({"store_failure_mode": "open"}, "store_failure_mode: cannot be changed here"),
        ({"session_idle_timeout": "5h", "burst": 3}, "session_absolute_timeout: "),
        (b'{"burst": 3, "burst": 4}', "burst: given twice in the body"),
        (b'{"burst": 3, "\\u0062urst": 3}', "burst: given twice in the body"),
        (b'{"title": {"a": 1, "a": 1}}', "a: given twice in the body"),
        (b'{"x y": 3, "x y": 4}', '"x y": given twice in the body'),
        (b'{"max_active": NaN}', "body: not JSON"),
        (b'{"max_active": -Infinity}', "body: not JSON"),
        ({"claim_timeout": "1ms", "burst": 3}, 'claim_timeout: "1ms" is too short'),
        ({"heartbeat_timeout": "3h", "burst": 3}, 'place_ttl: "2h" is shorter than'),
        ({"title": "x" * 70_000}, "body: longer than 65536 bytes"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_bad_body_changes_nothing(
    store_url: str, room_name: RoomName, body: object, problem: str
) -> None:
    async with running_admin(store_url, room_name) as operator:
        before = await settings_of(operator, room_name)
        status, result = await change(operator, room_name, body)
        assert status == 400
        assert result["error"].startswith(problem)
        assert "; expected" in result["error"]
        assert await settings_of(operator, room_name) == before


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (
            "rate?rate=9/min&rate=8/min&room={room}",
            "rate: given twice in the query; expected it once",
        ),
        ("rate?rate=9/min&room={room}&room={room}", "room: given twice in the query; expected it"),
        ("message?text=a&te%78t=b&room={room}", "text: given twice in the query; expected it once"),
        ("message?text=%ff&room={room}", "query: not UTF-8; expected percent-encoded UTF-8"),
    ],
)
async def test_repeated_query_parameter_changes_nothing(
    store_url: str, room_name: RoomName, path: str, problem: str
) -> None:
    async with running_admin(store_url, room_name) as operator:
        before = await settings_of(operator, room_name)
        response = await operator.request("POST", f"/admin/{path.format(room=room_name)}")
        assert response.status == 400
        assert response.json["error"].startswith(problem)
        assert await settings_of(operator, room_name) == before


async def test_change_of_an_unknown_room_is_refused(store_url: str, room_name: RoomName) -> None:
    async with running_admin(store_url, room_name) as operator:
        status, result = await change(operator, RoomName("nowhere"), {"burst": 3})
        assert (status, result["error"]) == (
            400,
            f'room: "nowhere" is unknown; expected one of {room_name}',
        )
        assert (await operator.request("GET", "/admin/settings?room=nowhere")).status == 400


async def test_audit_log_has_an_entry_for_each_key(store_url: str, room_name: RoomName) -> None:
    async with running_admin(store_url, room_name) as operator:
        await change(operator, room_name, {"burst": 3, "rate": "6/min"})
        await change(operator, room_name, {"burst": None})
        await change(operator, room_name, {"burst": 0})  # no change was attempted
        entries = (await operator.request("GET", "/admin/audit?limit=10")).json["entries"]
        assert [
            (entry["what"], entry["from"], entry["to"], entry["outcome"], entry["room"])
            for entry in entries
        ] == [
            ("set burst", 3, 10, "done", room_name),
            ("set rate", "0", "6/min", "done", room_name),
            ("set burst", 10, 3, "done", room_name),
        ]
