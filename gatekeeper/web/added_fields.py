"""The fields that the gate adds to a response of the origin, on both paths.

Rules. A new token is sent with the response to the request that caused it. Only a renewal of a pass
can wait for a response that no shared cache would store, so that a site stays cacheable. Without
added fields a response is unchanged. An origin's command is run here. An origin that clears cookies
does not clear the gate's.
"""

from __future__ import annotations

from gatekeeper.policy.tokens import Pass
from gatekeeper.proxy.cache_fields import is_publicly_cacheable
from gatekeeper.proxy.context import Fields
from gatekeeper.proxy.response import ResponseHead
from gatekeeper.web.confirmation import confirmation_field
from gatekeeper.web.message import Headers
from gatekeeper.web.outcome import Admit
from gatekeeper.web.pipeline import Visit
from gatekeeper.web.site_data import FIELD, clears_cookies, deletions, without_cookies

_REVOKE = "revoke"  # the one Gatekeeper-Command


def added_fields(
    visit: Visit, admit: Admit, response: ResponseHead, *, own: frozenset[str]
) -> Fields | None:
    """The fields for this response; None: it is the same for every visitor and stays unchanged.
    `own`: the names of the gate's cookies."""
    fields = _token_fields(visit, admit, response)
    value = response.site_data
    if value and clears_cookies(value):
        deleted = deletions(visit.facts.cookies, visit.facts.client, own=own)
        left = (FIELD.encode(), without_cookies(value).encode("latin-1"))
        return (left, *deleted, *(fields or ()))
    return fields


def _token_fields(visit: Visit, admit: Admit, response: ResponseHead) -> Fields | None:
    pass_ = admit.pass_
    if pass_ is None:
        return None
    held, by_header = visit.held.token, visit.held.by_header
    if response.command == _REVOKE:  # instead of a new pass
        visit.admission.room.leave_soon(pass_.visitor)
        return () if held is None else _as_bytes(visit.headers(None))
    if not admit.changed:
        return None
    if isinstance(held, Pass):
        if visit.admission.forwards_unchanged(held, by_header):
            return None  # another response has renewed it meanwhile
        if admit.may_wait and is_publicly_cacheable(response, method=visit.facts.method):
            return None
    fields = _as_bytes(visit.headers(pass_))
    if not pass_.confirmed:
        fields += confirmation_field(visit.facts, pass_.room, response)
    return fields


def _as_bytes(headers: Headers) -> Fields:
    return tuple((name.encode("ascii"), value.encode("ascii")) for name, value in headers)
