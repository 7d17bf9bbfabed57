"""`/admin/find`, `/admin/admit` and `/admin/revoke`: one visitor, by id or by reference."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.reference import reference_of
from gatekeeper.policy.tokens import VisitorId, new_visitor_id
from gatekeeper.room import visitor_search
from tests.admin import running_admin
from tests.builders import room_toml
from tests.gates import Gate, Visitor
from tests.gates.gate import running_gate

STRANGER = "AAAAAAAAAAAAAAAAAAAAAA"


@dataclass
class Support:
    """The operator's listener and a gate with two visitors in line."""

    gate: Gate
    operator: Visitor
    room: RoomName
    ann: Visitor
    bob: Visitor
    ids: list[VisitorId]

    async def find(self, visitor: str, *, query: str = "") -> list[dict[str, Any]]:
        path = f"/admin/find?visitor={visitor}{query}"
        response = await self.operator.request("GET", path)
        assert response.status == 200, response.text
        visitors: list[dict[str, Any]] = response.json["visitors"]
        return visitors

    async def post(self, action: str, visitor: str) -> tuple[int, Any]:
        path = f"/admin/{action}?room={self.room}&visitor={visitor}"
        response = await self.operator.request("POST", path)
        return response.status, response.json

    async def audit(self) -> list[dict[str, Any]]:
        response = await self.operator.request("GET", f"/admin/audit?room={self.room}")
        entries: list[dict[str, Any]] = response.json["entries"]
        return entries


@asynccontextmanager
async def support_of(store_url: str, room: RoomName) -> AsyncIterator[Support]:
    toml = room_toml(room, rate="0")
    async with (
        running_gate(toml, store_url=store_url, origin_url="http://127.0.0.1:9") as gate,
        running_admin(store_url, room, "side") as operator,
        Visitor(gate) as ann,
        Visitor(gate) as bob,
    ):
        ids = []
        for each in (ann, bob):
            reference = (await each.join())["reference"]
            [found] = (await operator.request("GET", f"/admin/find?visitor={reference}")).json[
                "visitors"
            ]
            ids.append(VisitorId(found["visitor"]))
        yield Support(gate, operator, room, ann, bob, ids)


@pytest.fixture
async def support(store_url: str, room_name: RoomName) -> AsyncIterator[Support]:
    async with support_of(store_url, room_name) as support:
        yield support


async def test_visitor_is_found_by_id_and_by_every_spelling(support: Support) -> None:
    status = await support.bob.status()
    reference, bob = status["reference"], support.ids[1]
    assert reference == reference_of(bob)
    [found] = await support.find(bob)
    assert found["room"] == support.room
    assert (found["visitor"], found["reference"]) == (bob, reference)
    assert (found["state"], found["position"], found["draw"]) == ("waiting", 2, None)
    assert found["arrived_at"].startswith(status["arrived_at"].removesuffix("Z"))
    for spelled in (reference.lower(), reference.replace("-", ""), reference.replace("-", "%20")):
        assert await support.find(spelled) == [found]
    assert await support.find(reference, query=f"&room={support.room}") == [found]


async def test_unknown_visitor_has_the_state_unknown(support: Support) -> None:
    [found] = await support.find(STRANGER)
    assert (found["state"], found["room"], found["visitor"]) == ("unknown", None, STRANGER)
    reference = reference_of(new_visitor_id())
    [found] = await support.find(reference)
    assert (found["state"], found["visitor"], found["reference"]) == ("unknown", None, reference)
    [found] = await support.find(support.ids[0], query="&room=side")
    assert found["state"] == "unknown", "in another room"


async def test_visitor_is_admitted_by_reference_out_of_turn(support: Support) -> None:
    reference = reference_of(support.ids[1])
    status, body = await support.post("admit", reference)
    assert (status, body["visitor"]) == (200, support.ids[1])
    assert (body["was"], body["state"]) == ("waiting", "released")
    [found] = await support.find(reference)
    assert (found["state"], found["position"]) == ("released", None)
    await support.bob.wait_until_admitted()
    [found] = await support.find(reference)
    assert found["state"] == "admitted"
    assert found["ends_at"] > found["until"]
    assert (await support.ann.status())["position"] == 1
    status, body = await support.post("admit", support.ids[1])
    assert (status, body["was"], body["state"]) == (200, "admitted", "admitted")
    again, first = await support.audit()
    assert (first["what"], first["visitor"]) == ("admit", support.ids[1])
    assert (first["from"], first["to"], first["outcome"]) == ("waiting", "released", "done")
    assert (again["from"], again["to"]) == ("admitted", "admitted")


async def test_visitor_is_revoked_by_reference(support: Support) -> None:
    status, body = await support.post("revoke", reference_of(support.ids[0]))
    assert (status, body["visitor"], body["held"]) == (200, support.ids[0], "place")
    assert (await support.ann.status())["state"] == "none"
    [found] = await support.find(support.ids[0])
    assert found["state"] == "void"
    assert (await support.bob.status())["position"] == 1


@pytest.mark.parametrize("mode", ["hold", "ended"])
async def test_closed_room_admits_nobody(support: Support, mode: str) -> None:
    await support.operator.request("POST", f"/admin/mode?mode={mode}&room={support.room}")
    status, body = await support.post("admit", support.ids[0])
    assert (status, "admits no visitor now" in body["error"]) == (409, True)
    assert (await support.find(support.ids[0]))[0]["state"] == "waiting"
    newest = (await support.audit())[0]
    assert (newest["what"], newest["outcome"]) == ("admit", "failed")


async def test_shared_reference_changes_nothing(
    support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visitor_search, "reference_of", lambda _: "4Q7K-92ZD")
    found = await support.find("4Q7K-92ZD")
    assert [each["visitor"] for each in found] == support.ids
    for action in ("admit", "revoke"):
        status, body = await support.post(action, "4Q7K-92ZD")
        assert status == 409
        assert "is the reference of 2 visitors: " in body["error"]
        assert all(visitor in body["error"] for visitor in support.ids)
    assert [(await each.status())["position"] for each in (support.ann, support.bob)] == [1, 2]


async def test_bad_or_unknown_visitor_changes_nothing(support: Support) -> None:
    for action in ("admit", "revoke"):
        for visitor in ("", "x", "4Q7K-92Z", "4Q7K-92ZDX", STRANGER + "A", "%00" * 8, "ü" * 8):
            status, body = await support.post(action, visitor)
            assert (status, body["error"].startswith("visitor: ")) == (400, True), visitor
        status, body = await support.post(action, reference_of(new_visitor_id()))
        assert (status, "is not in line" in body["error"]) == (404, True)
        path = f"/admin/{action}?room={support.room}"
        assert (await support.operator.request("POST", path)).status == 400
    assert (await support.post("admit", STRANGER))[0] == 404
    assert (await support.post("revoke", STRANGER))[1]["held"] == "nothing"
    response = await support.operator.request("GET", "/admin/find?visitor=x")
    assert response.status == 400
    assert [(await each.status())["position"] for each in (support.ann, support.bob)] == [1, 2]
