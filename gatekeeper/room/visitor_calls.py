"""Requests to the store about one visitor: an arrival, a poll, or the move after a draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gatekeeper.policy.lanes import Lane
from gatekeeper.policy.tokens import Ticket, Token, VisitorId
from gatekeeper.record import record


class ArrivalRequest(NamedTuple):
    """A newcomer. `head_start_us`: how much earlier than the arrival the turn is. `may_enter`:
    whether the visitor may receive a slot at once; False: they confirm first, even if there is
    room. An invited visitor always confirms first and arrives on a `device`."""

    visitor: VisitorId
    head_start_us: int = 0
    may_enter: bool = True
    device: str | None = None
    invited_until_us: int = 0

    @property
    def letter(self) -> str:
        """The letter of this kind of arrival for the script."""
        if self.device is not None:
            return "i"
        return "n" if self.may_enter else "w"


def head_start_digits(batch: Sequence[ArrivalRequest | None]) -> str:
    """The head starts of a batch in the script's format; "": there are none."""
    head_starts_us = [request.head_start_us if request else 0 for request in batch]
    return "".join([f"{us:016d}" for us in head_starts_us]) if any(head_starts_us) else ""


@record
class PollRequest:
    """One visitor's poll: the turn of their token, and whether that token is a pass. A pass is
    polled if it expired before the end of its session, to ask whether its slot is still held.

    `by_proxy`: a replica polls for a visitor who returned the ticket while the store was
    unreachable. That restores the place of the ticket and claims nothing, since the visitor may be
    gone. `connected`: a replica polls for a visitor on a stream. That keeps the place and leaves
    the claim to the visitor's own request, which must receive the pass. `lane`: of the ticket, with
    its `arrival_us` and whether it was returned before (`confirmed`); "" without a lane.
    `returned_at`: from the ticket, when the visitor returned to a passed turn. `device`: of the
    ticket, if it belongs to one, `invited_until_us`: when its invitation ends, and `moved_us`: when
    the place was moved to it.
    """

    visitor: VisitorId
    turn_us: int
    has_pass: bool
    by_proxy: bool = False
    connected: bool = False
    lane: str = ""
    arrival_us: int = 0
    confirmed: bool = True
    device: str | None = None
    invited_until_us: int = 0
    moved_us: int = 0
    returned_at: int | None = None

    @property
    def letter(self) -> str:
        """The letter of this kind of poll for the script."""
        if self.by_proxy:
            return "s"
        if self.connected:
            return "c"
        if self.has_pass:
            return "e"
        return "t" if self.returned_at is None else "r"


def poll_of(token: Token, turn_us: int, *, connected: bool = False) -> PollRequest:
    """The poll of a visitor whose `token` has that turn."""
    if isinstance(token, Ticket):
        if not token.lane and token.device is None and token.returned_at is None:
            came_us = token.arrival_us
            return PollRequest(token.visitor, turn_us, False, False, connected, "", came_us)
        return PollRequest(
            token.visitor,
            turn_us,
            has_pass=False,
            connected=connected,
            lane=token.lane,
            arrival_us=token.arrival_us,
            confirmed=token.confirmed,
            device=token.device,
            invited_until_us=round((token.invited_until_s or 0.0) * 1_000_000),
            moved_us=token.moved_us,
            returned_at=token.returned_at,
        )
    return PollRequest(token.visitor, turn_us, has_pass=True)


def lane_words(batch: Sequence[PollRequest], lanes: Sequence[Lane]) -> str:
    """The lanes of a batch in the script's format; "": no visitor has one. `lanes`: those of the
    room, in the order of their numbers."""
    if not any(request.lane for request in batch):
        return ""
    numbers = {lane.name: at for at, lane in enumerate(lanes, start=1)}
    return " ".join([_lane_word(request, numbers) for request in batch])


def _lane_word(request: PollRequest, numbers: Mapping[str, int]) -> str:
    if not request.lane:
        return "-/"
    mark = "/" if request.confirmed else ":"
    return f"{request.lane}{mark}{request.arrival_us}/{numbers.get(request.lane, 0)}"


class DrawnTurn(NamedTuple):
    """The turn that a visitor drew, and the lane in which they were drawn."""

    turn_us: int
    lane: str = ""


def device_arguments(
    batch: Sequence[ArrivalRequest | PollRequest | None], *, ticket_life_s: float
) -> list[str]:
    """The devices of a batch in the scripts' format; empty for a batch without any."""
    arguments: list[str] = []
    for at, request in enumerate(batch, start=1):
        if request is not None and request.device is not None:
            moved_us = request.moved_us if isinstance(request, PollRequest) else 0
            arguments += (str(at), request.device, str(request.invited_until_us), str(moved_us))
    return [str(round(ticket_life_s * 1_000_000)), *arguments] if arguments else []


def poll_arguments(
    batch: Sequence[PollRequest], *, ticket_life_s: float, lanes: Sequence[Lane] = ()
) -> list[str]:
    """The script's arguments for a batch of polls."""
    # In half the time that it takes to format each of them.
    turns = "%016d" * len(batch) % tuple([each.turn_us for each in batch])
    visitors = [each.visitor for each in batch]
    special = [
        each
        for each in batch
        if each.has_pass
        or each.by_proxy
        or each.connected
        or each.lane
        or each.device is not None
        or each.returned_at is not None
    ]
    if not special:  # nearly always
        return ["t" * len(batch), turns, "", *visitors]
    kinds = "".join([each.letter for each in batch])
    if "r" in kinds:
        turns += "".join([f"{each.returned_at or 0:016d}" for each in batch])
    devices = device_arguments(batch, ticket_life_s=ticket_life_s)
    return [kinds, turns, lane_words(batch, lanes), *visitors, *devices]
