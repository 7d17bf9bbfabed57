"""A room whose store replies as configured, and requests for its admission."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.pages.renderer import Pages
from gatekeeper.policy.decision import (
    LineFull,
    QueuePosition,
    SlotGrant,
    Standing,
    VoidToken,
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
from gatekeeper.web.outcome import Admit
from gatekeeper.web.pipeline import Visit
from gatekeeper.web.responses import Responses
from gatekeeper.web.room_gate import RoomGate
from tests.builders import SECRET, make_pass, make_ticket

ROOM = RoomName("sale")
CONFIG = RoomConfig(name=ROOM)
RESPONSES = Responses(Pages())


@dataclass
class FakeRoom:
    """A room whose store replies as configured. Records the calls."""

    rules: Rules = field(default_factory=lambda: Rules.of(CONFIG))
    view: ReplicaView = field(default_factory=ReplicaView)
    place: SlotGrant | QueuePosition | LineFull | None = field(
        default_factory=lambda: QueuePosition(1, 0)
    )
    standings: dict[VisitorId, Standing | None] = field(default_factory=dict)
    has_room: bool | None = False
    share: bool = True  # this replica's own admission, without the store
    replies: bool = True  # whether the store replies to polls
    loses_reply_to: VisitorId | None = None
    asked: list[str] = field(default_factory=list)

    async def arrive(self, _request: ArrivalRequest) -> SlotGrant | QueuePosition | LineFull | None:
        self.asked.append("arrive")
        return self.place

    async def poll(self, request: PollRequest) -> Standing | None:
        self.asked.append("attend" if request.connected else "poll")
        if not self.replies or request.visitor == self.loses_reply_to:
            self.view.note_store_down()
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
    return replace(made, visitor=VisitorId(letter * 22))


def visit(
    room: FakeRoom, tickets: Sequence[Ticket], *, passes: Sequence[Pass] = (), path: str = "/"
) -> Visit:
    """A request with tickets in the order of their arrivals, and expired passes."""
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
    """Tickets in the order of arrival."""
    made = make_ticket(ROOM, now_s=room.view.now_s(), ago_s=1000)
    return [
        replace(made, visitor=VisitorId(f"{at:022}"), arrival_us=made.arrival_us + at)
        for at in range(count)
    ]


def admitted(outcome: object) -> VisitorId:
    assert isinstance(outcome, Admit)
    assert outcome.pass_ is not None
    return outcome.pass_.visitor


def expired_pass(room: FakeRoom) -> Pass:
    return make_pass(ROOM, now_s=room.view.now_s(), ago_s=2000, expires_in_s=-1)
