"""The outcome of a request with several tickets, or with several expired passes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatekeeper.policy.decision import (
    QueuePosition,
    SlotGrant,
)
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.web.outcome import Admit, Deny, Wait
from tests.unit.web.fake_room import (
    FakeRoom,
    admission,
    admitted,
    crowd_of_tickets,
    expired_pass,
    set_view,
    ticket,
    visit,
)


async def test_earliest_ticket_is_kept_and_the_others_leave() -> None:
    room = FakeRoom()
    set_view(room)
    first, second, third = crowd_of_tickets(room, 3)
    room.standings = {first.visitor: QueuePosition(first.arrival_us, 4)}
    outcome = await visit(room, (first, second, third)).admit()
    assert isinstance(outcome, Wait)
    assert outcome.ticket.visitor == first.visitor
    assert outcome.changed  # the cookie is set in any case
    assert room.asked == ["poll", f"leave {second.visitor}", f"leave {third.visitor}"]


async def test_tickets_are_given_up_once() -> None:
    room = FakeRoom()
    set_view(room)
    first, second = crowd_of_tickets(room, 2)
    room.standings = {first.visitor: QueuePosition(first.arrival_us, 4)}
    request = visit(room, (first, second))
    for _ in range(3):
        await request.admit()
    assert room.asked.count(f"leave {second.visitor}") == 1


@pytest.mark.parametrize("valid_at", [1, 8, 9, 49, 199])
@pytest.mark.parametrize("is_released", [True, False])
async def test_void_tickets_never_hide_a_valid_one(valid_at: int, is_released: bool) -> None:
    """A sibling host can plant as many as a request head holds."""
    room = FakeRoom()
    set_view(room)
    tickets = crowd_of_tickets(room, 200)
    mine = tickets[valid_at]
    room.standings = {
        mine.visitor: SlotGrant(mine.arrival_us, confirmed=True)
        if is_released
        else QueuePosition(mine.arrival_us, 7)
    }
    outcome = await visit(room, tickets).admit()
    if is_released:
        assert admitted(outcome) == mine.visitor
    else:
        assert isinstance(outcome, Wait)
        assert outcome.ticket.visitor == mine.visitor
    # Two calls of the store, in addition to that of a single ticket and the batch of one turn.
    leaving = [f"leave {each.visitor}" for each in tickets if each is not mine]
    assert room.asked == ["poll", *["attend"] * 199, "poll", *leaving]


async def test_void_tickets_alone_make_one_newcomer() -> None:
    room = FakeRoom()
    set_view(room)
    assert isinstance(await visit(room, crowd_of_tickets(room, 12)).admit(), Wait)
    assert room.asked == ["poll", *["attend"] * 11, "arrive"]


async def test_ticket_of_an_ended_session_yields_to_the_next_one() -> None:
    """The slot has not been removed yet, so the ticket does not look void before it is claimed."""
    room = FakeRoom()
    set_view(room)
    tickets = crowd_of_tickets(room, 4)
    ended = SlotGrant(1, confirmed=True, ends_at_us=round(room.view.now_s() * 1e6))
    room.standings = {each.visitor: ended for each in tickets[1:3]}
    room.standings[tickets[3].visitor] = SlotGrant(1, confirmed=True)
    assert admitted(await visit(room, tickets).admit()) == tickets[3].visitor


async def test_status_with_void_tickets_alone_takes_no_place() -> None:
    room = FakeRoom()
    set_view(room)
    outcome = await visit(room, crowd_of_tickets(room, 12)).admit_as("denied")
    assert isinstance(outcome, Deny)
    assert "arrive" not in room.asked


@pytest.mark.parametrize("tickets", [0, 9])
@pytest.mark.parametrize("valid_at", [0, 1, 9, 49])
async def test_void_passes_never_hide_the_one_of_a_held_slot(tickets: int, valid_at: int) -> None:
    room = FakeRoom()
    set_view(room)
    passes = [replace(expired_pass(room), visitor=VisitorId(f"{at:021}p")) for at in range(50)]
    mine = passes[valid_at]
    room.standings = {mine.visitor: SlotGrant(1, confirmed=True)}
    planted = crowd_of_tickets(room, tickets)
    assert admitted(await visit(room, planted, passes=passes).admit()) == mine.visitor
    assert room.asked.count("arrive") == 0
    assert not [each for each in room.asked if each.startswith("leave")]


@pytest.mark.parametrize("is_held", [True, False])
@pytest.mark.parametrize("is_released", [True, False])
async def test_expired_pass_with_a_slot_takes_precedence_over_tickets(
    is_held: bool, is_released: bool
) -> None:
    """A visitor with a stream is admitted, no matter which ticket a frozen tab sends."""
    room = FakeRoom()
    set_view(room)
    passes, tickets = [expired_pass(room)], crowd_of_tickets(room, 2)
    room.standings = {
        each.visitor: SlotGrant(each.arrival_us, confirmed=True)
        if is_released
        else QueuePosition(each.arrival_us, 7)
        for each in tickets
    }
    if is_held:
        room.standings[passes[0].visitor] = SlotGrant(1, confirmed=True)
    outcome = await visit(room, tickets, passes=passes).admit()
    if is_held:
        assert admitted(outcome) == passes[0].visitor
        assert [each for each in room.asked if each.startswith("leave")] == []
    elif is_released:
        assert admitted(outcome) == tickets[0].visitor
    else:
        assert isinstance(outcome, Wait)
        assert outcome.ticket.visitor == tickets[0].visitor


# Without the store


@pytest.mark.parametrize("fails", ["before", "at the first", "at the others", "full"])
async def test_several_tickets_are_kept_without_the_store(fails: str) -> None:
    """It is unknown which of them are void, so none is overwritten or given up."""
    room = FakeRoom(replies=fails in {"at the others", "full"})
    set_view(room, store_up=fails != "before")
    tickets = crowd_of_tickets(room, 9)
    if fails == "at the others":  # the first one is void
        room.loses_reply_to = tickets[5].visitor
    if fails == "full":  # a full store replies to calls without a write
        room.standings = dict.fromkeys([each.visitor for each in tickets[3:]], None)
    outcome = await visit(room, tickets).admit()
    assert isinstance(outcome, Wait)
    assert not outcome.changed
    assert set(room.asked) <= {"poll", "attend", "place"}
    assert room.asked.count("place") >= 6  # each is placed later, unless the store knows it as void


@pytest.mark.parametrize("released_at", [0, 1, 9])
async def test_any_released_ticket_enters_without_the_store(released_at: int) -> None:
    room = FakeRoom(replies=False)
    set_view(room, store_up=False)
    tickets = crowd_of_tickets(room, 10)
    released = tickets[released_at]
    room.view.decisive = replace(room.view.decisive, watermark_us=released.arrival_us)
    too_old = room.view.now_s() - room.rules.session_absolute_timeout_s
    tickets[:released_at] = [replace(each, issued_at_s=too_old) for each in tickets[:released_at]]
    outcome = await visit(room, tickets).admit()
    assert admitted(outcome) == released.visitor
    assert isinstance(outcome, Admit)
    assert not outcome.changed
    assert not [each for each in room.asked if each.startswith("leave")]


async def test_ticket_sent_again_without_the_store_gives_one_end() -> None:
    room = FakeRoom()
    set_view(room, store_up=False)
    held = ticket(room, "A", ago_s=100)
    room.view.decisive = replace(room.view.decisive, watermark_us=held.arrival_us)
    ends = set()
    for _ in range(3):
        outcome = await admission(room).admit(held)
        assert admitted(outcome) == held.visitor
        assert isinstance(outcome, Admit)
        assert outcome.pass_ is not None
        ends.add(outcome.pass_.ends_at_s)
    [end_s] = ends
    expected_s = held.issued_at_s + room.rules.session_absolute_timeout_s
    assert end_s == pytest.approx(expected_s, abs=1e-5)


async def test_unsolved_ticket_is_given_back_without_the_store() -> None:
    """It has no place to give back. A solved ticket, or one without a challenge, is given back."""
    room = FakeRoom()
    set_view(room)
    made = admission(room)
    made.rules = replace(made.rules, challenge="work", challenge_noscript="refuse")
    unsolved = replace(ticket(room, "A", ago_s=5), confirmed=False)
    solved = ticket(room, "B", ago_s=5)
    await made.leave(unsolved)
    made.give_up([unsolved, replace(unsolved, visitor=VisitorId("C" * 22))])
    assert room.asked == []
    await made.leave(solved)
    made.give_up([unsolved, solved])
    assert room.asked == [f"leave {solved.visitor}"] * 2
