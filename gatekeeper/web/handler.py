"""The public listener: every request comes here, and goes to the origin, to the line, or nowhere.

Rules. The request is checked first, then routed, then decided; only what is admitted is
forwarded. Under `/.gatekeeper/` nothing ever reaches the origin. A request of a visitor who is
not admitted is answered without reading its body. Whatever fails here refuses.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import assert_never

import structlog
from aiohttp.web import BaseRequest, Response

from gatekeeper import metrics
from gatekeeper.config.types import RoomName
from gatekeeper.errors import BadRequest, OriginError, OriginTimeout
from gatekeeper.pages.languages import N_
from gatekeeper.policy.routing import AMBIGUOUS, Router
from gatekeeper.policy.tokens import Pass, VisitorId
from gatekeeper.proxy import (
    Client,
    ForwardContext,
    Forwarder,
    ProxiedResponse,
    check_request,
    client_of,
)
from gatekeeper.proxy.aiohttp_server import ends_connection, take_failure, take_known
from gatekeeper.proxy.context import Fields, OnHead
from gatekeeper.proxy.downstream import reset
from gatekeeper.proxy.headers import wants_upgrade
from gatekeeper.web.admission import Admission, Admit, Deny, Wait
from gatekeeper.web.credentials import Credentials
from gatekeeper.web.endpoints import PREFIX, Endpoints, Visit, waiting_response
from gatekeeper.web.message import GateResponse, facts_of_request, response_of
from gatekeeper.web.responses import Responses

_ORIGIN_AWAY = N_("The site is not responding right now.")
ORIGIN_AWAY_IN_LINE = N_("The site is not responding right now. Your place is kept.")
_FAILED = N_("Something went wrong on our side. Please try again.")
_REVOKE = "revoke"  # the one Gatekeeper-Command
_AUTHORITY = re.compile(r"[A-Za-z]+://[^/?#]*")  # of a target in absolute-form

log = structlog.get_logger()


class Gate:
    """The handler of the public listener."""

    def __init__(
        self,
        *,
        router: Router,
        admissions: Mapping[RoomName, Admission],
        credentials: Mapping[RoomName, Credentials],
        forwarder: Forwarder,
        responses: Responses,
        endpoints: Endpoints,
        own_cookies: frozenset[str],
        trusted: Sequence[IPv4Network | IPv6Network],
        tls: bool,
    ) -> None:
        self._router = router
        self._admissions = admissions
        self._credentials = credentials
        self._forwarder = forwarder
        self._responses = responses
        self._endpoints = endpoints
        self._own_cookies = own_cookies
        self._trusted = trusted
        self._tls = tls

    async def handle(self, request: BaseRequest) -> Response | ProxiedResponse:
        """Answer one request; raises only when its answer broke off, or it was cancelled."""
        answer = await self._answer(request)
        if not isinstance(answer, GateResponse):
            return answer
        response = response_of(answer)
        if ends_connection(request):
            response.force_close()
        return response

    async def _answer(self, request: BaseRequest) -> GateResponse | ProxiedResponse:
        try:
            known = take_known(request)
            check_request(request)
            return await self._handle(request, known)
        except BadRequest as error:
            metrics.requests.labels("", "bad_request").inc()
            return self._responses.problem(
                facts_of_request(request), error.public, status=error.status, close=True
            )
        except Exception as error:
            if not isinstance(error, ConnectionError):  # else the client left, or takes no more
                log.exception("request_failed")
            if request.writer.output_size > 0:
                # An answer has begun, perhaps in another protocol: no word of ours may follow it.
                metrics.requests.labels("", "cut").inc()
                if request.transport is not None:
                    reset(request.transport)
                raise
        finally:
            take_failure(request)  # one that was not asked for: it is not the next request's
        metrics.requests.labels("", "failed").inc()
        return self._responses.problem(facts_of_request(request), _FAILED, status=500, close=True)

    async def _handle(self, request: BaseRequest, known: object) -> GateResponse | ProxiedResponse:
        """`known`: the outcome, when the express lane asked for it already."""
        client = client_of(request, trusted=self._trusted, tls=self._tls)
        path = _path(request)
        if path.startswith(PREFIX):
            return await self._endpoints.answer(facts_of_request(request), path, client)
        name = self._router.room_of(client.host, path)
        if name is AMBIGUOUS:
            raise BadRequest("this path can be read in two ways")
        if name is None:
            return await self._forward_ungated(request, client)
        admission, credentials = self._admissions[name], self._credentials[name]
        secure = client.scheme == "https"
        facts = facts_of_request(request)
        held = credentials.read(facts, secure=secure, now_s=admission.now_s())
        outcome = (
            known if isinstance(known, Admit | Wait | Deny) else await admission.admit(held.token)
        )
        visit = Visit(admission, credentials, held, secure)
        match outcome:
            case Admit(pass_=pass_, changed=changed):
                headers = visit.headers(pass_) if changed else ()
                return await self._forward(request, client, visit, pass_, headers)
            case Wait():
                return waiting_response(self._responses, facts, visit=visit, stay=outcome)
            case Deny(reason=reason):
                metrics.requests.labels(name, "refused").inc()
                return self._responses.problem(
                    facts, reason, status=403, headers=visit.headers(None), close=True
                )
            case _:
                assert_never(outcome)

    async def _forward(
        self,
        request: BaseRequest,
        client: Client,
        visit: Visit,
        pass_: Pass,
        headers: tuple[tuple[str, str], ...],
    ) -> GateResponse | ProxiedResponse:
        admission = visit.admission
        room = admission.config.name
        crossing = ForwardContext(
            room=room,
            visitor=pass_.visitor,
            client=client,
            strip_cookies=self._own_cookies,
        )

        def on_head(_status: int, command: str | None) -> Fields:
            if command == _REVOKE:  # whoever goes is handed no new pass on the way out
                return run_origin_command(command, visit, pass_.visitor)
            return _as_bytes(headers)

        end = admission.session_end(pass_) if wants_upgrade(request) else None
        try:
            return await self._relay(request, crossing, on_head, end, headers)
        finally:
            if end is not None:
                end.cancel()

    async def _forward_ungated(
        self, request: BaseRequest, client: Client
    ) -> GateResponse | ProxiedResponse:
        """A request that falls in no room: the operator named the rooms, the rest is free."""
        crossing = ForwardContext(
            room="", visitor="", client=client, strip_cookies=self._own_cookies
        )
        return await self._relay(request, crossing, None, None, ())

    async def _relay(
        self,
        request: BaseRequest,
        crossing: ForwardContext,
        on_head: OnHead | None,
        end: asyncio.Future[None] | None,
        headers: tuple[tuple[str, str], ...],
    ) -> GateResponse | ProxiedResponse:
        try:
            failure = take_failure(request)
            if failure is not None:
                raise failure
            relayed = await self._forwarder.forward(
                request, crossing, session_end=end, on_head=on_head
            )
        except OriginError as error:
            timed_out = isinstance(error, OriginTimeout)
            kind = metrics.TIMEOUT if timed_out else metrics.UNREACHABLE
            metrics.origin_errors.labels(crossing.room, kind).inc()
            metrics.requests.labels(crossing.room, "origin_failed").inc()
            log.warning("origin_failed", error=error.public, cause=repr(error.__cause__))
            return self._responses.problem(
                facts_of_request(request),
                ORIGIN_AWAY_IN_LINE if crossing.room else _ORIGIN_AWAY,
                status=504 if timed_out else 502,
                headers=headers,
                retry=True,
                close=request.body_exists,
            )
        metrics.forwarded.count(crossing.room, relayed.status, seconds=relayed.origin_seconds)
        return relayed


def run_origin_command(command: str, visit: Visit, visitor: VisitorId) -> Fields:
    """Do what the origin commands for this visitor; the fields that its answer gets for it."""
    if command != _REVOKE:
        return ()
    visit.admission.room.leave_soon(visitor)
    return _as_bytes(visit.headers(None))


def _path(request: BaseRequest) -> str:
    """The path and query of the request target, as the origin will see them."""
    target = request.raw_path
    authority = _AUTHORITY.match(target)
    if authority is None:
        return target
    # RFC 9112 section 3.2.2: without a path it is "/", and a query may follow at once.
    rest = target[authority.end() :]
    return rest if rest.startswith("/") else "/" + rest


def _as_bytes(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode("ascii"), value.encode("ascii")) for name, value in headers)
