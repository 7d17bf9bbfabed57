"""Forward auth: the exit for a proxy that asks before it forwards a request by itself.

Rules. Only a trusted proxy may ask; fields and tokens of any other client are ignored. The original
request (`gatekeeper.policy.original_request`) runs through the pipeline. Admitted: 200 with the
visitor, the room and a new token, which the proxy passes on. Otherwise the response for the
visitor, with its status. nginx does not pass on the body of a check: with `?nginx` it gets 401, and
requests the response for the visitor at `?page`. That request spends no admission: an admitted
visitor is redirected to the original address, and the next check admits them. A request for the
gate's own prefix is refused here: the proxy has to route it to the gate.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, assert_never

import structlog

from gatekeeper import metrics
from gatekeeper.errors import BadRequest
from gatekeeper.pages.renderer import is_path
from gatekeeper.policy.decision import WaitWithoutPlace
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.original_request import original_request
from gatekeeper.policy.routing import InRoom
from gatekeeper.policy.tokens import Pass
from gatekeeper.web.invitation_redirect import invitation_in, redirected
from gatekeeper.web.invited_admission import admit
from gatekeeper.web.message import VISITOR, GateResponse, Headers
from gatekeeper.web.outcome import Admit, Deny, Outcome, Wait
from gatekeeper.web.pipeline import (
    BLOCKED,
    Pipeline,
    Visit,
    response_without_place,
    waiting_response,
)
from gatekeeper.web.responses import Responses

_PREFIX: Final = "/.gatekeeper/"
_NGINX, _PAGE = "nginx", "page"
_PATH: Final = "/.gatekeeper/auth"
_PAGE_LOCATION: Final = f"{_PATH}?{_PAGE}"
_NGINX_CHECK: Final = f"{_PATH}?{_NGINX}"
_ROOM: Final = "X-Gatekeeper-Room"
_MALFORMED: Final = "The request is malformed."  # the handler puts it into the catalogues
_PROXY, _ENVOY = "X-Gatekeeper-Proxy", "envoy"
_KEEP_METHOD: Final = 307
_NOT_ALLOWED: Final = 401
_FIRST_REDIRECT, _TOO_MANY, _UNAVAILABLE = 300, 429, 503
_UNTRUSTED = "this address is not in server.trusted_proxies, so it may not ask"
_OWN = "this address is the gate's own: route /.gatekeeper/ to the gate, without asking it"

log = structlog.get_logger()


class ForwardAuth:
    """Responds to checks of proxies."""

    def __init__(self, pipeline: Pipeline, responses: Responses) -> None:
        self._pipeline = pipeline
        self._responses = responses

    def allow_on_sight(self, check: RequestFacts) -> tuple[Visit, GateResponse] | None:
        """The response to a check whose pass needs neither a new token nor a store call, with the
        visit of the original request; None: call `respond`."""
        if not check.client.is_proxied:
            return None
        try:
            original = original_request(check)
        except BadRequest:
            return None
        if original.target.startswith(_PREFIX) or _mode(check, original) == _PAGE:
            return None
        visit = self._pipeline.visit(original)
        outcome = _admitted_on_sight(visit)
        if outcome is None or outcome.changed or invitation_in(visit) is not None:
            return None
        return visit, replace(self._allow(visit, outcome), close=check.has_body)

    async def respond(self, check: RequestFacts) -> GateResponse:
        """The response to a request whose path `is_check`."""
        response = await self._respond(check)
        return replace(response, close=check.has_body)  # the body stays unread

    async def _respond(self, check: RequestFacts) -> GateResponse:
        if not check.client.is_proxied:
            log.warning("auth_from_untrusted_address", address=check.client.address)
            return self._refuse(check, _UNTRUSTED, public=BLOCKED, status=403)
        try:
            original = original_request(check)
        except BadRequest as error:
            log.warning("auth_check_malformed", error=error.public)
            return self._refuse(check, error.public, public=_MALFORMED, status=400)
        if original.target.startswith(_PREFIX):
            return self._refuse(check, _OWN, public=BLOCKED, status=403)
        visit = self._pipeline.visit(original)
        mode = _mode(check, original)
        found = invitation_in(visit)
        if found is not None and mode == _NGINX:
            return self._responses.not_allowed(page=_PAGE_LOCATION)
        if found is not None:
            response = await redirected(self._responses, visit, found)
            return replace(response, status=_refusal(response.status, check))
        outcome: Outcome | None = _admitted_on_sight(visit)
        if outcome is None:
            outcome = await (_outcome_for_page(visit) if mode == _PAGE else admit(visit))
        if isinstance(outcome, Admit):
            is_check = mode != _PAGE
            return self._allow(visit, outcome) if is_check else self._way_back(visit, outcome)
        if mode == _NGINX:
            return self._responses.not_allowed(page=_PAGE_LOCATION)
        response = self._not_admitted(visit, outcome)
        if mode != _PAGE:
            # For a query that may be the visitor's own: nginx uses the 401, others relay the body.
            status = _NOT_ALLOWED if check.target == _NGINX_CHECK else response.status
            response = replace(response, status=_refusal(status, check))
        return self._responses.cors.shared(response, original, visit.room)

    def _allow(self, visit: Visit, admit: Admit) -> GateResponse:
        visit.count_rule()
        metrics.own_responses.count(visit.room or "", "allowed")
        pass_ = admit.pass_
        if pass_ is None:
            return self._responses.allowed(headers=())
        # Shared caches store subresources, so a renewal waits for another response.
        is_due = admit.changed and (visit.creates_place or not admit.may_wait)
        tokens: Headers = visit.headers(pass_) if is_due else ()
        return self._responses.allowed(
            headers=((_ROOM, pass_.room), (VISITOR, pass_.visitor), *tokens)
        )

    def _way_back(self, visit: Visit, admit: Admit) -> GateResponse:
        """Redirect a visitor who was admitted since the check to the same address, with the
        pass."""
        facts, pass_ = visit.facts, admit.pass_
        headers = visit.headers(pass_) if pass_ is not None and admit.changed else ()
        address = facts.target
        if not is_path(address):  # "//host" would lead to another site
            address = f"{facts.client.scheme}://{facts.client.host}/{address.lstrip('*/')}"
        return self._responses.redirect(address, headers=headers, status=_KEEP_METHOD)

    def _not_admitted(self, visit: Visit, outcome: Wait | WaitWithoutPlace | Deny) -> GateResponse:
        match outcome:
            case Wait():
                return waiting_response(self._responses, visit, outcome)
            case WaitWithoutPlace():
                return response_without_place(self._responses, visit, outcome)
            case Deny(reason=reason, status=status):
                visit.count_rule()
                metrics.requests.labels(visit.room or "", "refused").inc()
                return self._responses.problem(
                    visit.facts, reason, status=status, room=visit.config
                )
            case _:
                assert_never(outcome)

    def _refuse(
        self, check: RequestFacts, reason: str, *, public: str, status: int
    ) -> GateResponse:
        """Refuse a check. `reason` is for the operator of the proxy; `public` is for the
        visitor."""
        metrics.requests.labels("", "refused").inc()
        text = public if check.accepts_html else reason
        return self._responses.problem(check, text, status=status)


def _admitted_on_sight(visit: Visit) -> Admit | None:
    """The outcome for a pass that needs no store call, as in nearly every check."""
    held = visit.held
    if visit.gate is None or held.is_several or not isinstance(held.token, Pass):
        return None
    return visit.admission.forward(held.token, by_header=held.by_header)


async def _outcome_for_page(visit: Visit) -> Outcome:
    """The outcome, without spending an admission: this request is not forwarded."""
    if not isinstance(visit.route, InRoom) or visit.creates_place:
        return await admit(visit)
    outcome = await visit.admit_as("denied")
    return WaitWithoutPlace() if isinstance(outcome, Deny) else outcome


def _refusal(status: int, check: RequestFacts) -> int:
    """A status that the proxy treats as a refusal. For all proxies 2xx allows, so a waiting status
    of 200 or 202 becomes 503; Envoy treats 5xx as a failure of the gate."""
    if status < _FIRST_REDIRECT:
        status = _UNAVAILABLE
    if status >= _UNAVAILABLE and list(check.fields(_PROXY)) == [_ENVOY]:
        return _TOO_MANY
    return status


def _mode(check: RequestFacts, original: RequestFacts) -> str:
    """The mode in the query of a check: `nginx`, `page` or "". A query that is also that of the
    original address is the visitor's own: Caddy keeps it, and so does an address in the path."""
    path, _, query = check.target.partition("?")
    if path != _PATH or query == original.target.partition("?")[2]:
        return ""
    return query if query in {_NGINX, _PAGE} else ""
