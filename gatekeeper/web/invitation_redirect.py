"""The response to a request whose address holds an invitation.

Rules. No such address reaches the origin: the invitation is redeemed, and a redirect leads to the
same address without it, with the ticket in the usual cookie. This applies in every room and outside
of rooms, even if invitations are not accepted, and to every method. A person whose invitation is
refused is redirected to a page of the gate with the reason; a program gets the reason at once. Only
a request that gets no place for now, before an opening or with a full line, gets its response at
the address itself, so that its page can retry; resources of the page do not receive the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, assert_never, get_args
from urllib.parse import urlencode

from gatekeeper import metrics
from gatekeeper.pages.renderer import is_path
from gatekeeper.policy.decision import DeniedReason, NoPlaceReason, WaitWithoutPlace
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.invitation_address import FoundInvitation, find_invitation
from gatekeeper.policy.parameters import first_value
from gatekeeper.policy.routing import Blocked, Rejected
from gatekeeper.web.invited_admission import may_redeem, redeem
from gatekeeper.web.message import GateResponse, Headers
from gatekeeper.web.outcome import Admit, Deny, Wait
from gatekeeper.web.pipeline import Visit, denied_headers, response_without_place
from gatekeeper.web.responses import Responses, wants_page

REFUSED: Final = "invitation"  # the endpoint
_REASONS: Final[Mapping[NoPlaceReason, DeniedReason]] = {
    reason: reason for reason in get_args(DeniedReason)
}
_SEE_OTHER, _KEEP_METHOD = 303, 307
_SAFE: Final = frozenset({"GET", "HEAD"})


def invitation_in(visit: Visit) -> FoundInvitation | None:
    """The invitation in the address of a request; None: there is none, or the request is denied."""
    if isinstance(visit.route, Blocked | Rejected):
        return None
    return find_invitation(visit.facts.target)


async def redirected(responses: Responses, visit: Visit, found: FoundInvitation) -> GateResponse:
    """The redirect to the address without the invitation, or to the reason of its refusal."""
    headers: Headers = ()
    state = "none"
    if may_redeem(visit):
        outcome = await redeem(visit, found.values)
        match outcome:
            case WaitWithoutPlace(reason=reason):
                if reason in _REASONS and wants_page(visit.facts, visit.admission.config):
                    return _to_reason(responses, visit, _REASONS[reason])
                return response_without_place(responses, visit, outcome).without_referrer()
            case Deny(reason=reason, status=status):
                response = responses.problem(visit.facts, reason, status=status, room=visit.config)
                return replace(response.without_referrer(), close=visit.facts.has_body)
            case Wait(ticket=ticket, changed=changed):
                headers, state = visit.headers(ticket) if changed else (), "waiting"
            case Admit(pass_=pass_, changed=changed):
                headers = visit.headers(pass_) if changed and pass_ is not None else ()
                state = "admitted"
            case _:
                assert_never(outcome)
    metrics.own_responses.count(visit.room or "", "own")
    facts = visit.facts
    response = responses.redirect(
        _address(facts, found.target),
        headers=headers,
        status=_SEE_OTHER if facts.method in _SAFE else _KEEP_METHOD,
        state=state,
    )
    return replace(response, close=facts.has_body)  # the body stays unread


def _to_reason(responses: Responses, visit: Visit, reason: DeniedReason) -> GateResponse:
    """The redirect to the page that shows why an invitation was refused."""
    query = urlencode({"reason": reason, "room": visit.admission.config.name})
    response = responses.redirect(
        f"/.gatekeeper/{REFUSED}?{query}", headers=denied_headers(visit, reason), state="none"
    )
    return replace(response, close=visit.facts.has_body)  # the body stays unread


async def refused(responses: Responses, visit: Visit) -> GateResponse | None:
    """The page with the reason in `?reason=`; None: it is not a reason."""
    named = first_value(visit.facts.target.partition("?")[2], "reason")
    reason = next((reason for reason in _REASONS.values() if reason == named), None)
    if reason is None:
        return None
    return responses.denied(visit.facts, reason, room=visit.admission.config)


def _address(facts: RequestFacts, target: str) -> str:
    """The absolute address on this site: a target "//host" would be another site."""
    if is_path(target) or not facts.client.host:
        return target if is_path(target) else "/" + target.lstrip("/\\*")
    return f"{facts.client.scheme}://{facts.client.host}{target}"
