"""What a replica asks the store about one visitor: a newcomer's arrival, or a poll."""

from __future__ import annotations

from typing import NamedTuple

from gatekeeper.policy.tokens import VisitorId


class ArrivalRequest(NamedTuple):
    """A newcomer. `head_start_us`: how much earlier than the arrival the turn is. `may_enter`:
    whether the visitor may receive a slot at once; False: they confirm first, whatever room there
    is."""

    visitor: VisitorId
    head_start_us: int = 0
    may_enter: bool = True

    @property
    def letter(self) -> str:
        """The kind of arrival, as the script reads it."""
        return "n" if self.may_enter else "w"


class PollRequest(NamedTuple):
    """One visitor's poll: the turn by their token, and whether that token is a pass. A pass that is
    polled has expired before its end, and the poll asks whether its slot is still held.

    `by_proxy`: a replica polls for a visitor who returned the ticket while the store was
    unreachable. That gives the place of the ticket and claims nothing, for the visitor may be gone.
    `connected`: it polls for a visitor on a stream. That keeps the place and leaves the claim to
    the visitor's own request, which must receive the pass.
    """

    visitor: VisitorId
    turn_us: int
    has_pass: bool
    by_proxy: bool = False
    connected: bool = False

    @property
    def letter(self) -> str:
        """The kind of poll, as the script reads it."""
        if self.by_proxy:
            return "s"
        if self.connected:
            return "c"
        return "e" if self.has_pass else "t"
