"""The fields that the gate adds to a response of the origin, on both paths.

Rules. A new token goes out with the response to the request that caused it. Only a renewal of a
pass can wait: for a response that no shared cache would store, so that a cached site stays cached.
A response that the gate adds nothing to stays as it is. An origin's command is run in here.
"""

from __future__ import annotations

from gatekeeper.policy.tokens import Pass
from gatekeeper.proxy.cache_fields import is_publicly_cacheable
from gatekeeper.proxy.context import Fields
from gatekeeper.proxy.response import ResponseHead
from gatekeeper.web.admission import Admit
from gatekeeper.web.message import Headers
from gatekeeper.web.pipeline import Visit

_REVOKE = "revoke"  # the one Gatekeeper-Command


def added_fields(visit: Visit, admit: Admit, response: ResponseHead) -> Fields | None:
    """The fields for this response; None: it is the same for every visitor, and stays as it is."""
    pass_ = admit.pass_
    if pass_ is None:
        return None
    if response.command == _REVOKE:  # instead of a new pass
        visit.admission.room.leave_soon(pass_.visitor)
        return _as_bytes(visit.headers(None))
    if not admit.changed:
        return None
    held, by_header = visit.held
    if isinstance(held, Pass):
        if visit.admission.forwards_unchanged(held, by_header=by_header):
            return None  # another response has renewed it meanwhile
        if admit.may_wait and is_publicly_cacheable(response, method=visit.facts.method):
            return None
    return _as_bytes(visit.headers(pass_))


def _as_bytes(headers: Headers) -> Fields:
    return tuple((name.encode("ascii"), value.encode("ascii")) for name, value in headers)
