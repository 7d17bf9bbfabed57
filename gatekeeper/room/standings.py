"""Parses the scripts' replies about one visitor into values of the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from gatekeeper.errors import StoreError
from gatekeeper.policy.decision import (
    Elsewhere,
    LineFull,
    QueuePosition,
    SlotGrant,
    Standing,
    UsedInvitation,
    VoidToken,
)
from gatekeeper.room.state import RoomState
from gatekeeper.room.visitor_calls import PollRequest

NewcomerStanding = SlotGrant | QueuePosition | LineFull
InvitedStanding = QueuePosition | LineFull | Elsewhere | UsedInvitation
ArrivalStanding = NewcomerStanding | InvitedStanding


def standing_on_arrival(turn: bytes | int, standing: bytes | int) -> ArrivalStanding | None:
    """Parse the reply of `arrive` about one newcomer; None: no admission for a single request."""
    match standing:
        case b"in":
            return SlotGrant(int(turn), confirmed=False)
        case b"no":
            return None
        case b"full":
            return LineFull()
        case b"elsewhere":
            return Elsewhere()
        case b"used":
            return UsedInvitation()
        case ahead:
            if isinstance(turn, bytes) and b" " in turn:
                arrival_us, turn_us = map(int, turn.split())
                return QueuePosition(turn_us, int(ahead), confirmed=False, arrival_us=arrival_us)
            return QueuePosition(int(turn), int(ahead), confirmed=False)


def standing_of(reply: bytes | int, turn_us: int) -> Standing:
    """Parse the reply of `poll` about one visitor; `turn_us` is the turn of the token. Raises
    StoreError for an unexpected reply."""
    if isinstance(reply, int):  # first: nearly every poll
        return QueuePosition(turn_us, reply)
    match reply:
        case b"in":
            return SlotGrant(turn_us, confirmed=True)
        case b"void":
            return VoidToken()
        case b"elsewhere":
            return Elsewhere()
        case admitted if admitted.startswith(b"in "):
            return SlotGrant(turn_us, confirmed=True, ends_at_us=int(admitted[3:]))
        case moved if b" " in moved:  # at another turn than the token's
            ahead, turn = map(int, moved.split())
            return QueuePosition(turn, ahead, is_moved=True)
        case _:
            raise StoreError("unexpected reply from the store")


def standings_of(
    replies: Sequence[bytes | int], batch: Sequence[PollRequest], state: RoomState
) -> list[Standing]:
    """Parse the reply of `poll` about a batch, with the state."""
    return [
        standing_of(reply, request.turn_us)
        if request.turn_us > state.watermark_us  # nearly every poll
        else _standing_at_passed_turn(reply, request, state)
        for reply, request in zip(replies, batch, strict=True)
    ]


def _standing_at_passed_turn(
    reply: bytes | int, request: PollRequest, state: RoomState
) -> Standing:
    """A visitor who waits at or below the watermark missed the release and has returned to the
    turn. While a store recovers, they may instead have an open claim from before the loss."""
    standing = standing_of(reply, request.turn_us)
    if not isinstance(standing, QueuePosition) or standing.is_moved:
        return standing
    if state.has_open_claim(request.turn_us, returned_at=request.returned_at):
        has_returned = not state.is_recovering
    else:
        has_returned = request.returned_at is None
    return replace(standing, returned_at=state.released_total) if has_returned else standing


# What a leaving visitor gave back.

LeaveResult = Literal["slot", "place", "nothing"]


def leave_result_of(reply: bytes | int) -> LeaveResult:
    """Parse the reply of `leave` about one visitor."""
    return "slot" if reply == b"1" else "place" if reply == b"0" else "nothing"


# For operators: the standing of one visitor.

VisitorState = Literal["waiting", "released", "admitted", "unconfirmed", "void", "unknown"]
AdmitResult = Literal["released", "held", "closed", "unknown"]


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The standing of a visitor. `ahead` and `turn_us` while waiting; `until_us`: end of the claim
    window, of the slot, or of the time for which the tokens are void; `ends_us`: end of the
    session, if it is known. `unconfirmed`: went straight through and has not returned the pass yet.
    `void`: left, was revoked, or has spent the ticket.
    """

    state: VisitorState
    ahead: int | None = None
    turn_us: int | None = None
    until_us: int | None = None
    ends_us: int | None = None


def whereabouts_of(reply: bytes | int) -> Whereabouts:
    """Parse the reply of `find` about one visitor. Raises StoreError for an unexpected reply."""
    try:
        word, *numbers = str(reply, "ascii").split() if isinstance(reply, bytes) else []
        match word, [int(each) for each in numbers]:
            case "waiting", [ahead, turn_us]:
                return Whereabouts("waiting", ahead, turn_us)
            case "admitted", [until_us, ends_us]:
                return Whereabouts("admitted", until_us=until_us, ends_us=ends_us or None)
            case ("released" | "unconfirmed" | "void") as state, [until_us]:
                return Whereabouts(state, until_us=until_us)
            case "unknown", []:
                return Whereabouts("unknown")
            case _:
                raise StoreError("unexpected reply from the store")
    except ValueError as error:
        raise StoreError("unexpected reply from the store") from error


def admit_result_of(reply: bytes | int) -> AdmitResult:
    """Parse the reply of `admit`. Raises StoreError for an unexpected reply."""
    for result in get_args(AdmitResult):
        if isinstance(reply, bytes) and reply.decode() == result:
            found: AdmitResult = result
            return found
    raise StoreError("unexpected reply from the store")
