"""The challenge of one room: what a visitor has to solve, and whether a proof solves it."""

from __future__ import annotations

from typing import Literal

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.proof_of_work import WorkChallenges
from gatekeeper.policy.tokens import Ticket
from gatekeeper.web.waiting_status import ChallengeJson

# `unavailable`: nobody knows now; the same proof may be sent again.
Verdict = Literal["solved", "refused", "unavailable"]


class Challenges:
    """The challenges of a room under one configuration."""

    def __init__(self, config: RoomConfig, work: WorkChallenges) -> None:
        self._config = config
        self._work = work

    def of_ticket(self, ticket: Ticket) -> ChallengeJson:
        """A challenge for the place of this ticket, as JSON."""
        difficulty = self._config.challenge_difficulty
        return {"type": "work", **self._work.challenge(ticket, difficulty=difficulty)}

    async def verdict(self, proof: str, ticket: Ticket, *, now_s: float) -> Verdict:
        """Whether the proof, as the client sent it, is worth the place of this ticket."""
        return "solved" if self._work.is_solved(proof, ticket, now_s=now_s) else "refused"
