"""Visitors leave while a replica keeps as many revocations as it can."""

from dataclasses import replace

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room import leaving
from gatekeeper.room import view as room_view
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.replica import RoomReplica
from gatekeeper.web.admission import Admission
from tests.builders import make_pass, make_ticket
from tests.contract.grounds import EmulatedGround

CONFIG = RoomConfig(name=RoomName("sale"))
KNOWN = [VisitorId("a" * 22), VisitorId("b" * 22)]
ANN = VisitorId("A" * 22)


@pytest.fixture(autouse=True)
def few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replica keeps two, and one more for a session ended by the origin."""
    monkeypatch.setattr(leaving, "MAX_LEFT", 2)
    monkeypatch.setattr(leaving, "MAX_LEFT_WITHOUT_STORE", 1)
    monkeypatch.setattr(room_view, "MAX_REVOKED", 3)


async def full_replica(*, store_up: bool = True) -> RoomReplica:
    room = RoomReplica(
        EmulatedGround(CONFIG.name).connect(), NoEvents(), Rules.of(CONFIG), replica="1"
    )
    await room._tick()
    for visitor in KNOWN:
        await room.leave([visitor])
    if not store_up:
        room.view.note_store_down()
    return room


@pytest.mark.parametrize("store_up", [True, False])
async def test_revocation_by_an_origin_is_always_obeyed(*, store_up: bool) -> None:
    room = await full_replica(store_up=store_up)
    room.leave_soon(ANN)  # `Gatekeeper-Command: revoke`
    await room.close()
    assert [*room.view.revoked()] == [*KNOWN, ANN]
    assert await room.leave([VisitorId("c" * 22)])
    assert [*room.view.revoked()] == [KNOWN[1], ANN, "c" * 22]  # bounded: the oldest is removed


async def test_forgotten_revocation_is_refused_at_the_next_renewal() -> None:
    room = await full_replica()
    await room.leave([ANN])
    await room.leave([VisitorId("c" * 22)])
    assert KNOWN[0] not in room.view.revoked()
    until_us = round(room.view.now_s() + 600) * 1_000_000
    await room._touch(KNOWN[0], until_us=until_us, ends_us=until_us)
    assert KNOWN[0] in room.view.revoked()


@pytest.mark.parametrize("store_up", [True, False])
async def test_visitor_learns_that_leaving_was_not_possible(*, store_up: bool) -> None:
    room = await full_replica(store_up=store_up)
    admission, left = Admission(room, CONFIG), list[VisitorId]()
    admission.on_left = left.append
    pass_ = make_pass(CONFIG.name, now_s=room.view.now_s())
    assert not await admission.leave(pass_)
    assert pass_.visitor not in room.view.revoked()
    ticket = replace(make_ticket(CONFIG.name, now_s=room.view.now_s(), ago_s=1), visitor=ANN)
    assert await admission.leave(ticket) is store_up  # the store keeps any number of them
    assert left == [ANN] * store_up


async def test_ticket_of_a_device_stays_while_the_store_is_unreachable() -> None:
    room = await full_replica(store_up=False)
    room.view._revoked.clear()
    ticket = make_ticket(CONFIG.name, now_s=room.view.now_s(), ago_s=1)
    assert not await room.leave_line([ticket.visitor], ["D" * 8])
    assert await room.leave_line([ticket.visitor], [None])
