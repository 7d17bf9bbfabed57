"""The outcome of a request without a place, and of one with an expired pass."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args

import pytest

from gatekeeper.policy.decision import (
    LineFull,
    QueuePosition,
    SlotGrant,
    VoidToken,
    WaitWithoutPlace,
)
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.web.outcome import Admit, Deny, Newcomers, Wait
from gatekeeper.web.pipeline import response_without_place
from tests.builders import make_pass
from tests.unit.web.fake_room import (
    CONFIG,
    RESPONSES,
    ROOM,
    FakeRoom,
    admission,
    admitted,
    crowd_of_tickets,
    expired_pass,
    set_view,
    ticket,
    visit,
)


@pytest.mark.parametrize(
    ("view_has_room", "reply", "store_up", "phase", "is_admitted"),
    [
        (True, True, True, Phase.RUNNING, True),
        (True, False, True, Phase.RUNNING, False),  # another replica took it
        (True, None, True, Phase.RUNNING, False),  # no reply
        (True, None, True, Phase.OPEN, True),
        (False, True, True, Phase.RUNNING, False),
        (False, True, True, Phase.HELD, False),
        (True, True, False, Phase.RUNNING, False),
        (True, True, False, Phase.HELD, False),
        (False, True, False, Phase.OPEN, True),
    ],
)
async def test_request_without_place_takes_one_admission_or_none(
    view_has_room: bool, reply: bool | None, store_up: bool, phase: Phase, is_admitted: bool
) -> None:
    """No pass, no place and no stamp, and a call of the store only if there may be room."""
    room = FakeRoom(has_room=reply)
    set_view(room, store_up=store_up, phase=phase, has_room=view_has_room)
    outcome = await admission(room).admit(None, newcomers="once")
    assert outcome == (Admit(None, changed=False) if is_admitted else WaitWithoutPlace())
    assert room.asked == (["take"] if store_up and view_has_room else [])


TURNED_AWAY = WaitWithoutPlace("queue_full")
LIMITED = replace(Rules.of(CONFIG), queue_limit=100)


async def test_newcomer_whom_the_store_turns_away_gets_no_place() -> None:
    """The line became full after this replica received its state."""
    room = FakeRoom(rules=LIMITED, place=LineFull())
    set_view(room, queue_length=99)
    assert await admission(room).admit(None) == TURNED_AWAY
    assert room.asked == ["arrive"]


@pytest.mark.parametrize("store_up", [True, False])
async def test_full_line_costs_a_newcomer_no_store_trip(store_up: bool) -> None:
    room = FakeRoom(rules=LIMITED)
    set_view(room, store_up=store_up, queue_length=100)
    assert await admission(room).admit(None) == TURNED_AWAY
    assert room.asked == []


async def test_full_line_keeps_a_ticket() -> None:
    room = FakeRoom(rules=LIMITED)
    held = ticket(room, "A", ago_s=5)
    room.standings = {held.visitor: QueuePosition(held.arrival_us, 100)}
    for store_up in (True, False):
        set_view(room, store_up=store_up, queue_length=101)
        assert isinstance(await admission(room).admit(held), Wait)
    assert room.asked == ["poll", "place"]


async def test_void_ticket_of_a_request_without_place_creates_none() -> None:
    room = FakeRoom()
    set_view(room)
    outcome = await admission(room).admit(ticket(room, "A", ago_s=5), newcomers="once")
    assert outcome == WaitWithoutPlace()
    assert room.asked == ["poll", "take"]


async def test_ticket_keeps_its_place_whatever_the_request() -> None:
    room = FakeRoom()
    set_view(room)
    held = ticket(room, "A", ago_s=5)
    room.standings = {held.visitor: QueuePosition(held.arrival_us, 3)}
    outcome = await admission(room).admit(held, newcomers="once")
    assert isinstance(outcome, Wait)
    assert room.asked == ["poll"]


@pytest.mark.parametrize("store_up", [True, False])
async def test_poll_without_a_token_creates_nothing(store_up: bool) -> None:
    room = FakeRoom()
    set_view(room, store_up=store_up)
    assert isinstance(await admission(room).admit(None, newcomers="denied"), Deny)
    assert room.asked == []


async def test_poll_with_a_revoked_pass_creates_nothing() -> None:
    room = FakeRoom()
    set_view(room)
    held = make_pass(ROOM, now_s=room.view.now_s())
    room.view.revoke([held.visitor], until_s=room.view.now_s() + 60, count=1)
    assert isinstance(await admission(room).admit(held, newcomers="denied"), Deny)
    assert room.asked == []


@pytest.mark.parametrize("is_held", [True, False])
async def test_expired_pass_asks_whether_its_slot_is_held(is_held: bool) -> None:
    """A stream or WebSocket may have kept it."""
    room = FakeRoom()
    set_view(room)
    held = expired_pass(room)
    room.standings = {held.visitor: SlotGrant(1, confirmed=True) if is_held else VoidToken()}
    for newcomers in get_args(Newcomers):
        room.asked.clear()
        outcome = await admission(room).admit(held, newcomers=newcomers)
        assert isinstance(outcome, Admit) is is_held
        assert room.asked[0] == "poll"


UNKNOWN = WaitWithoutPlace("reconnecting")


@pytest.mark.parametrize("newcomers", get_args(Newcomers))
@pytest.mark.parametrize("store_up", [True, False])
async def test_expired_pass_waits_for_the_store(newcomers: Newcomers, store_up: bool) -> None:
    """Unreachable before the request, or at its own call: no stamp, no place, no other token."""
    room = FakeRoom(replies=False)
    set_view(room, store_up=store_up)
    assert await admission(room).admit(expired_pass(room), newcomers=newcomers) == UNKNOWN
    assert room.asked == (["poll"] if store_up else [])


@pytest.mark.parametrize("newcomers", get_args(Newcomers))
@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.RUNNING])
@pytest.mark.parametrize("has_share", [True, False])
async def test_room_that_fails_open_goes_on_with_the_expired_pass(
    newcomers: Newcomers, phase: Phase, has_share: bool
) -> None:
    """The same visitor continues the same session, and keeps a held slot."""
    room = FakeRoom(rules=replace(Rules.of(CONFIG), store_failure_mode="open"), share=has_share)
    set_view(room, store_up=False, phase=phase)
    held = expired_pass(room)
    outcome = await admission(room).admit(held, newcomers=newcomers)
    if phase is Phase.RUNNING and not has_share:
        assert outcome == UNKNOWN
        assert room.asked == []
        return
    assert admitted(outcome) == held.visitor
    assert isinstance(outcome, Admit)
    assert outcome.pass_ is not None
    assert outcome.pass_.ends_at_s == held.ends_at_s
    assert outcome.pass_.expires_at_s > room.view.now_s()
    assert room.asked == ["touch"]


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.OPEN])
async def test_ended_session_is_a_newcomer_without_the_store(phase: Phase) -> None:
    room = FakeRoom()
    set_view(room, store_up=False, phase=phase)
    held = replace(expired_pass(room), ends_at_s=room.view.now_s() - 1)
    outcome = await admission(room).admit(held)
    if phase is Phase.OPEN:
        assert admitted(outcome) != held.visitor
    else:
        assert isinstance(outcome, Wait)
        assert outcome.ticket.visitor != held.visitor


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("count", [1, 2])
async def test_page_of_an_expired_pass_renews_itself_and_sets_nothing(
    accept: str, method: str, count: int
) -> None:
    room = FakeRoom()
    set_view(room, store_up=False)
    passes = [replace(expired_pass(room), visitor=VisitorId(each * 22)) for each in "AB"[:count]]
    request = visit(room, (), passes=passes)
    request = replace(request, facts=replace(request.facts, accept=accept, method=method))
    outcome = await request.admit()
    assert outcome == UNKNOWN
    response = response_without_place(RESPONSES, request, outcome)
    names = {name for name, _ in response.headers}
    assert response.status == 503
    assert names.isdisjoint({"Set-Cookie", "X-Queue-Token"})
    assert "Retry-After" in names
    if accept == "text/html" and method == "GET":
        assert b"reconnecting" in response.body
        assert "Refresh" in names or b"Refresh" in response.body or b"refresh" in response.body
    if accept != "text/html":
        status = json.loads(response.body)
        assert (status["state"], status["reason"]) == ("waiting", "reconnecting")
        assert status["position"] is None
    assert room.asked == []


@pytest.mark.parametrize("fails", ["before", "at the pass", "at the pass alone"])
async def test_ticket_and_expired_pass_are_kept_without_the_store(fails: str) -> None:
    """The store does not reply about the pass, with any reply about the ticket."""
    room = FakeRoom()
    set_view(room, store_up=fails != "before")
    [held], ended = crowd_of_tickets(room, 1), expired_pass(room)
    room.standings[held.visitor] = QueuePosition(held.arrival_us, 7)
    if fails == "at the pass":
        room.loses_reply_to = ended.visitor
    if fails == "at the pass alone":
        room.standings[ended.visitor] = None
    outcome = await visit(room, [held], passes=[ended]).admit()
    assert isinstance(outcome, Wait)
    assert outcome.ticket.visitor == held.visitor
    assert not outcome.changed


async def test_void_ticket_hides_no_pass_with_an_unknown_slot() -> None:
    room = FakeRoom()
    set_view(room)
    [void], ended = crowd_of_tickets(room, 1), expired_pass(room)
    room.standings[ended.visitor] = None
    assert await visit(room, [void], passes=[ended]).admit() == UNKNOWN


@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.RUNNING])
async def test_newcomer_admitted_without_the_store_is_a_guess(phase: Phase) -> None:
    """Admitted by the local share, or into an open room: unconfirmed until the pass is used
    again."""
    room = FakeRoom(rules=replace(Rules.of(CONFIG), store_failure_mode="open"))
    set_view(room, store_up=False, phase=phase)
    gate = admission(room)
    outcome = await gate.admit(None)
    assert isinstance(outcome, Admit)
    assert outcome.pass_ is not None
    assert not outcome.pass_.confirmed
    assert room.asked == ["touch unconfirmed"]
    again = await gate.admit(outcome.pass_)
    assert isinstance(again, Admit)
    assert again.pass_ is not None
    assert again.pass_.confirmed
    assert room.asked == ["touch unconfirmed", "touch"]


async def test_stamped_newcomer_is_placed_when_the_ticket_returns() -> None:
    room = FakeRoom()
    set_view(room, store_up=False)
    gate = admission(room)
    outcome = await gate.admit(None)
    assert isinstance(outcome, Wait)
    assert room.asked == ["stamp"]
    await gate.admit(outcome.ticket, newcomers="denied")
    assert room.asked == ["stamp", "place"]
