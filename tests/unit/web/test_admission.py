"""The outcome of a request without a place, and of a request with several tickets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast, get_args

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.pages.renderer import Pages
from gatekeeper.policy.decision import (
    LineFull,
    QueuePosition,
    SlotGrant,
    Standing,
    VoidToken,
    WaitWithoutPlace,
)
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.routing import InRoom
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Keyring, Pass, Ticket, Tokens, VisitorId
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.view import ReplicaView
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest
from gatekeeper.web.admission import Admission
from gatekeeper.web.credentials import Credentials, PresentedToken
from gatekeeper.web.outcome import Admit, Deny, Newcomers, Wait
from gatekeeper.web.pipeline import RoomGate, Visit, response_without_place
from gatekeeper.web.responses import Responses
from tests.builders import SECRET, make_pass, make_ticket

ROOM = RoomName("sale")
CONFIG = RoomConfig(name=ROOM)
RESPONSES = Responses(Pages())


@dataclass
class FakeRoom:
    """A room whose store replies as told, and that records what it was asked."""

    rules: Rules = field(default_factory=lambda: Rules.of(CONFIG))
    view: ReplicaView = field(default_factory=ReplicaView)
    place: SlotGrant | QueuePosition | LineFull | None = field(
        default_factory=lambda: QueuePosition(1, 0)
    )
    standings: dict[VisitorId, Standing | None] = field(default_factory=dict)
    has_room: bool | None = False
    share: bool = True  # this replica's own admission, without the store
    replies: bool = True  # the store, to polls
    loses_reply_to: VisitorId | None = None
    asked: list[str] = field(default_factory=list)

    async def arrive(self, _request: ArrivalRequest) -> SlotGrant | QueuePosition | LineFull | None:
        self.asked.append("arrive")
        return self.place

    async def poll(self, request: PollRequest) -> Standing | None:
        self.asked.append("attend" if request.connected else "poll")
        if not self.replies or request.visitor == self.loses_reply_to:
            self.view.lose_store()
            return None
        return self.standings.get(request.visitor, VoidToken())

    async def take_admission(self) -> bool | None:
        self.asked.append("take")
        return self.has_room

    def stamp_arrival(self, *, came_s: float) -> int:
        self.asked.append("stamp")
        return round(came_s * 1e6)

    def place_soon(self, _request: PollRequest) -> None:
        self.asked.append("place")

    def take_share(self) -> bool:
        return self.share

    def touch_soon(self, pass_: Pass) -> None:
        self.asked.append("touch" if pass_.confirmed else "touch unconfirmed")

    async def leave_line(
        self, visitors: Sequence[VisitorId], _devices: Sequence[str | None]
    ) -> bool:
        self.asked += [f"leave {each}" for each in visitors]
        return True

    def leave_line_soon(self, tickets: Sequence[Ticket]) -> None:
        self.asked += [f"leave {each.visitor}" for each in tickets]


def admission(room: FakeRoom) -> Admission:
    return Admission(cast(RoomReplica, room), CONFIG)


def set_view(
    room: FakeRoom,
    *,
    store_up: bool = True,
    phase: Phase = Phase.RUNNING,
    has_room: bool = True,
    queue_length: int = 0,
) -> None:
    room.view.decisive = replace(
        room.view.decisive,
        store_up=store_up,
        phase=phase,
        has_room=has_room,
        queue_length=queue_length,
        knows_clock=True,
    )


def ticket(room: FakeRoom, letter: str, *, ago_s: float) -> Ticket:
    made = make_ticket(ROOM, now_s=room.view.now_s(), ago_s=ago_s)
    return made._replace(visitor=VisitorId(letter * 22))


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
    """No pass, no place and no stamp, and a store trip only where there may be room."""
    room = FakeRoom(has_room=reply)
    set_view(room, store_up=store_up, phase=phase, has_room=view_has_room)
    outcome = await admission(room).admit(None, newcomers="once")
    assert outcome == (Admit(None, changed=False) if is_admitted else WaitWithoutPlace())
    assert room.asked == (["take"] if store_up and view_has_room else [])


TURNED_AWAY = WaitWithoutPlace("queue_full")
LIMITED = replace(Rules.of(CONFIG), queue_limit=100)


async def test_newcomer_whom_the_store_turns_away_gets_no_place() -> None:
    """The line became full since this replica received its state."""
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


def expired_pass(room: FakeRoom) -> Pass:
    return make_pass(ROOM, now_s=room.view.now_s(), ago_s=2000, expires_in_s=-1)


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
    """Unreachable before the request, or by its own call: no stamp, no place, no other token."""
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
    """The same visitor in the same session: a slot that is held stays theirs."""
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
async def test_session_that_ended_is_that_of_a_newcomer_without_the_store(phase: Phase) -> None:
    room = FakeRoom()
    set_view(room, store_up=False, phase=phase)
    held = expired_pass(room)._replace(ends_at_s=room.view.now_s() - 1)
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
    passes = [expired_pass(room)._replace(visitor=VisitorId(each * 22)) for each in "AB"[:count]]
    request = visit(room, (), passes=passes)
    request = request._replace(facts=replace(request.facts, accept=accept, method=method))
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


@pytest.mark.parametrize("in_line", [True, False])
async def test_ticket_beside_an_expired_pass_keeps_both_without_the_store(in_line: bool) -> None:
    """A void ticket hides no pass of which the store says nothing any more."""
    room = FakeRoom()
    set_view(room, store_up=not in_line)
    [held], ended = crowd_of_tickets(room, 1), expired_pass(room)
    room.loses_reply_to = ended.visitor
    outcome = await visit(room, [held], passes=[ended]).admit()
    if in_line:
        assert isinstance(outcome, Wait)
        assert not outcome.changed
    else:  # the store said that the ticket is void, and nothing of the pass
        assert outcome == UNKNOWN


@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.RUNNING])
async def test_newcomer_admitted_without_the_store_is_a_guess(phase: Phase) -> None:
    """By the local share, or into an open room: unconfirmed until the pass is used again."""
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


# Several tickets in one request.


def visit(
    room: FakeRoom, tickets: Sequence[Ticket], *, passes: Sequence[Pass] = (), path: str = "/"
) -> Visit:
    """A request whose tickets are in the order of their arrivals, and whose passes have expired."""
    gate = RoomGate(
        admission(room), Credentials(Tokens(Keyring([SECRET]), ROOM), cookie="g", room=ROOM)
    )
    facts = RequestFacts(Client("192.0.2.1", "http", "shop.example"), "GET", path)
    first, *others = tickets or passes[:1]
    held = PresentedToken(
        first,
        others=tuple(each for each in others if isinstance(each, Ticket)),
        ended=tuple(passes if tickets else passes[1:]),
    )
    return Visit(facts, InRoom(ROOM), gate, held)


def crowd_of_tickets(room: FakeRoom, count: int) -> list[Ticket]:
    """The first one arrived first."""
    made = make_ticket(ROOM, now_s=room.view.now_s(), ago_s=1000)
    return [
        made._replace(visitor=VisitorId(f"{at:022}"), arrival_us=made.arrival_us + at)
        for at in range(count)
    ]


def admitted(outcome: object) -> VisitorId:
    assert isinstance(outcome, Admit)
    assert outcome.pass_ is not None
    return outcome.pass_.visitor


async def test_earliest_ticket_is_kept_and_the_others_leave() -> None:
    room = FakeRoom()
    set_view(room)
    first, second, third = crowd_of_tickets(room, 3)
    room.standings = {first.visitor: QueuePosition(first.arrival_us, 4)}
    outcome = await visit(room, (first, second, third)).admit()
    assert isinstance(outcome, Wait)
    assert outcome.ticket.visitor == first.visitor
    assert outcome.changed  # the cookie is set, whichever the browser holds
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
    # Two calls of the store besides the one that a single ticket costs, and the batch of one turn.
    leaving = [f"leave {each.visitor}" for each in tickets if each is not mine]
    assert room.asked == ["poll", *["attend"] * 199, "poll", *leaving]


async def test_void_tickets_alone_make_one_newcomer() -> None:
    room = FakeRoom()
    set_view(room)
    assert isinstance(await visit(room, crowd_of_tickets(room, 12)).admit(), Wait)
    assert room.asked == ["poll", *["attend"] * 11, "arrive"]


async def test_ticket_of_an_ended_session_yields_to_the_next_one() -> None:
    """The slot is not swept yet, so that it does not look void before it is claimed."""
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
    passes = [expired_pass(room)._replace(visitor=VisitorId(f"{at:021}p")) for at in range(50)]
    mine = passes[valid_at]
    room.standings = {mine.visitor: SlotGrant(1, confirmed=True)}
    planted = crowd_of_tickets(room, tickets)
    assert admitted(await visit(room, planted, passes=passes).admit()) == mine.visitor
    assert room.asked.count("arrive") == 0
    assert not [each for each in room.asked if each.startswith("leave")]


async def test_valid_ticket_counts_before_expired_passes() -> None:
    room = FakeRoom()
    set_view(room)
    passes, [mine] = [expired_pass(room)], crowd_of_tickets(room, 1)
    room.standings = {
        passes[0].visitor: SlotGrant(1, confirmed=True),
        mine.visitor: QueuePosition(mine.arrival_us, 7),
    }
    outcome = await visit(room, [mine], passes=passes).admit()
    assert isinstance(outcome, Wait)
    assert outcome.ticket.visitor == mine.visitor


# Without the store


@pytest.mark.parametrize("fails", ["before", "at the first", "at the others", "full"])
async def test_several_tickets_are_kept_without_the_store(fails: str) -> None:
    """Nothing tells which of them are void, so that none is overwritten and none given up."""
    room = FakeRoom(replies=fails in {"at the others", "full"})
    set_view(room, store_up=fails != "before")
    tickets = crowd_of_tickets(room, 9)
    if fails == "at the others":  # the first one is void
        room.loses_reply_to = tickets[5].visitor
    if fails == "full":  # a full store replies to what it need not write
        room.standings = dict.fromkeys([each.visitor for each in tickets[3:]], None)
    outcome = await visit(room, tickets).admit()
    assert isinstance(outcome, Wait)
    assert not outcome.changed
    assert set(room.asked) <= {"poll", "attend", "place"}
    assert room.asked.count("place") >= 6  # each is queued later, unless the store knows it as void


@pytest.mark.parametrize("released_at", [0, 1, 9])
async def test_any_released_ticket_enters_without_the_store(released_at: int) -> None:
    room = FakeRoom(replies=False)
    set_view(room, store_up=False)
    tickets = crowd_of_tickets(room, 10)
    released = tickets[released_at]
    room.view.decisive = replace(room.view.decisive, watermark_us=released.arrival_us)
    too_old = room.view.now_s() - room.rules.session_absolute_timeout_s
    tickets[:released_at] = [each._replace(issued_at_s=too_old) for each in tickets[:released_at]]
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
    """There is nothing to give back. What is solved, or not challenged, is given back."""
    room = FakeRoom()
    set_view(room)
    made = admission(room)
    made.rules = replace(made.rules, challenge="work", challenge_noscript="refuse")
    unsolved = ticket(room, "A", ago_s=5)._replace(confirmed=False)
    solved = ticket(room, "B", ago_s=5)
    await made.leave(unsolved)
    made.give_up([unsolved, unsolved._replace(visitor=VisitorId("C" * 22))])
    assert room.asked == []
    await made.leave(solved)
    made.give_up([unsolved, solved])
    assert room.asked == [f"leave {solved.visitor}"] * 2
