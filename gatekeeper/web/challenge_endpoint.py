"""`GET` and `POST challenge`: a challenge, and its proof.

Rules. A proof confirms the ticket of the request, and is idempotent: the ticket is returned
confirmed, with its own turn, issue and expiry, and is treated like every other ticket from then on.
A visitor with a confirmed ticket or a pass gets the status. A refused proof changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import assert_never

from gatekeeper import metrics
from gatekeeper.errors import N_
from gatekeeper.policy.tokens import Ticket
from gatekeeper.web.message import GateResponse
from gatekeeper.web.outcome import Admit, Outcome, Wait
from gatekeeper.web.pipeline import Visit
from gatekeeper.web.request_body import ReadBody, fields_of
from gatekeeper.web.responses import Responses

# The names of our field, and of those of the widgets; "" is plain text.
_FIELDS = ("payload", "altcha", "cf-turnstile-response", "h-captcha-response", "")
_NO_CHALLENGE = N_("There is no challenge for you.")
_REFUSED = N_("This is not a solution to your challenge.")
_UNAVAILABLE = N_("The check is not responding right now. Please try again.")
_RETRY_AFTER_S = 5

StatusResponse = Callable[[Visit, Outcome], GateResponse]


class ChallengeEndpoint:
    """Responds to the holder of a ticket that is not confirmed."""

    def __init__(self, responses: Responses, status: StatusResponse) -> None:
        self._responses = responses
        self._status = status

    async def respond(self, visit: Visit, read_body: ReadBody) -> GateResponse:
        """The challenge; or the status of a visitor whose proof is accepted, or not needed."""
        ticket = visit.held.token
        if not isinstance(ticket, Ticket) or not visit.admission.is_unsolved(ticket):
            return await self._respond_without_challenge(visit)
        assert visit.gate is not None
        challenges = visit.gate.challenges
        if challenges is None:
            return await self._respond_without_challenge(visit)
        if visit.facts.method != "POST":
            return self._responses.json(challenges.of_ticket(ticket), state="waiting")
        types = visit.facts.fields("Content-Type")
        proof = _proof_in(fields_of(await read_body(), ", ".join(types)))
        now_s = visit.admission.now_s()
        verdict = await challenges.verdict(proof, ticket, client=visit.facts.client, now_s=now_s)
        metrics.challenges.labels(visit.admission.config.name, verdict).inc()
        match verdict:
            case "solved":
                return await self._confirm(visit, ticket)
            case "refused":
                return self._responses.problem(visit.facts, _REFUSED, status=403)
            case "unavailable":
                again = [("Retry-After", str(_RETRY_AFTER_S))]
                return self._responses.problem(visit.facts, _UNAVAILABLE, status=503, headers=again)
            case _:
                assert_never(verdict)

    async def _respond_without_challenge(self, visit: Visit) -> GateResponse:
        close = visit.facts.has_body  # the body stays unread
        if visit.facts.method != "POST":
            return self._responses.problem(
                visit.facts, _NO_CHALLENGE, status=404, close=close, room=visit.config
            )
        outcome = await visit.admit_as("denied")
        return replace(self._status(visit, outcome), close=close)

    async def _confirm(self, visit: Visit, ticket: Ticket) -> GateResponse:
        held = replace(visit.held, token=replace(ticket, confirmed=True))
        confirmed = replace(visit, held=held)
        outcome = await confirmed.admit_as("denied")
        if isinstance(outcome, Admit | Wait):
            outcome = replace(outcome, changed=True)  # the client holds the unconfirmed one
        # Closes, so that the following polls, and a stream, come on another connection: this one is
        # served by aiohttp from now on, which costs several times as much.
        return replace(self._status(confirmed, outcome), close=True)


def _proof_in(fields: Mapping[str, str]) -> str:
    return next((fields[name] for name in _FIELDS if fields.get(name)), "")
