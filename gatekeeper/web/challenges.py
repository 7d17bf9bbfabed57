"""The challenge of one room: creates challenges and verifies proofs.

Rules. Proof of work is verified here, a widget's response by its provider. When the provider does
not reply, `store_failure_mode` decides: fail closed, the visitor sends the same proof again; fail
open, the proof counts. It never counts because of too many calls in flight, since a client could
cause that.
"""

from __future__ import annotations

from typing import Literal, assert_never

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.facts import Client
from gatekeeper.policy.proof_of_work import WorkChallenges
from gatekeeper.policy.tokens import Ticket
from gatekeeper.web.challenge_verifier import ChallengeVerifier, Proof
from gatekeeper.web.waiting_status import ChallengeJson

# `unavailable`: it could not be verified; the same proof may be sent again.
Verdict = Literal["solved", "refused", "unavailable"]


class Challenges:
    """The challenges of a room under one configuration."""

    def __init__(
        self, config: RoomConfig, *, work: WorkChallenges, verifier: ChallengeVerifier, secret: str
    ) -> None:
        self._config = config
        self._work = work
        self._verifier = verifier
        self._secret = secret

    def of_ticket(self, ticket: Ticket) -> ChallengeJson:
        """A challenge for the place of this ticket, as JSON."""
        config = self._config
        if config.challenge != "work":
            return {"type": config.challenge, "site_key": config.challenge_site_key}
        difficulty = config.challenge_difficulty
        return {"type": "work", **self._work.challenge(ticket, difficulty=difficulty)}

    async def verdict(self, proof: str, ticket: Ticket, *, client: Client, now_s: float) -> Verdict:
        """Verify the proof as the client sent it, for the place of this ticket."""
        match self._config.challenge:
            case "off":  # such a room has no challenges
                return "refused"
            case "work":
                is_solved = self._work.is_solved(proof, ticket, now_s=now_s)
                return "solved" if is_solved else "refused"
            case "turnstile" | "hcaptcha" as provider:
                sent = Proof(
                    provider,
                    url=self._config.challenge_verify_url,
                    secret=self._secret,
                    site_key=self._config.challenge_site_key,
                    response=proof,
                    visitor=ticket.visitor,
                    address=client.address,
                    hosts=self._config.host,
                )
                return self._verdict_of(await self._verifier.verify(sent))
            case unexpected:
                assert_never(unexpected)

    def _verdict_of(self, reply: Literal["solved", "refused", "unreachable", "busy"]) -> Verdict:
        match reply:
            case "solved" | "refused":
                return reply
            case "busy":
                return "unavailable"
            case "unreachable":
                fails_open = self._config.store_failure_mode == "open"
                return "solved" if fails_open else "unavailable"
            case _:
                assert_never(reply)
