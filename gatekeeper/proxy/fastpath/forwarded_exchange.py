"""The exchange with the origin that a client connection forwards: from the request to the response.

Rules. Converts the origin's bytes into those for the client; the connection sends them. A mixin for
connections with and without a transport, so that they need no second object: each declares the
attributes among its own slots.
"""

from __future__ import annotations

from time import perf_counter

from gatekeeper.errors import OriginProtocolError
from gatekeeper.proxy.fastpath.interface import ConnectionOwner, ForwardPlan
from gatekeeper.proxy.framing import Body
from gatekeeper.proxy.headers import interim_head, response_head
from gatekeeper.proxy.response import UNREQUESTED_PROTOCOL, body_of, parse_response_head
from gatekeeper.proxy.upstream import OriginConnection

_H = ord("H")  # a plain request is a GET or a HEAD
LINE_END, CLOSE = b"\r\n", b"Connection: close\r\n\r\n"  # of a response head
_NONE: tuple[str, ...] = ()  # not a literal, so that mypy lets subclasses declare the attributes


class ForwardedExchange:
    """The request in progress to the origin, if any, and its response."""

    __slots__ = _NONE
    _server: ConnectionOwner
    _plan: ForwardPlan | None
    _head: bytes  # the request's bytes
    _keep_alive: bool  # the client's connection stays open afterwards
    _began_s: float
    _origin: OriginConnection | None
    _partial_head: bytes  # of the response, until it is complete
    _body: Body | None  # set once the response head arrived

    def _continue_from(self, other: ForwardedExchange) -> None:
        """Take over the exchange of `other`, another connection object of the same client."""
        self._plan, self._head = other._plan, other._head
        self._keep_alive, self._began_s = other._keep_alive, other._began_s
        self._partial_head, self._body = other._partial_head, other._body
        self._origin, other._origin = other._origin, None

    def _take_head(self, data: bytes) -> bytes:
        """Add bytes of the response head; return the bytes for the client so far."""
        plan, origin, server = self._plan, self._origin, self._server
        assert plan is not None
        assert origin is not None
        if plan.may_add or self._head[0] == _H:  # of HEAD
            return self._parse_head(data, plan, origin, may_learn=False)
        found = server.responses.find(data, plan.own_cookies)
        if found is None:
            return self._parse_head(data, plan, origin, may_learn=True)
        shape, match = found
        groups, size = match.groups(), match.end()
        body = shape.body(groups)
        early = body.take(data[size:]) if len(data) > size else b""
        if server.closing:
            self._keep_alive = False
        plan.on_response(shape.status, seconds=perf_counter() - self._began_s)
        self._body, self._partial_head = body, b""
        origin.reusable = shape.persistent
        end = LINE_END if self._keep_alive else CLOSE
        return b"".join((shape.status_line, *groups, shape.end, end, early))

    def _parse_head(
        self, data: bytes, plan: ForwardPlan, origin: OriginConnection, *, may_learn: bool
    ) -> bytes:
        """Like `_take_head`, for a head of no known shape."""
        interim, own = b"", plan.own_cookies
        while (response := parse_response_head(data, own)) is None or response.is_interim:
            if response is None:
                self._partial_head = data
                return interim
            if response.status == 101:  # no upgrade was requested
                raise OriginProtocolError(UNREQUESTED_PROTOCOL)
            interim += interim_head(response)
            data = data[response.size :]
            may_learn = False
        method = "HEAD" if self._head[0] == _H else "GET"
        body = body_of(response, method=method, http11_client=True)
        if may_learn:
            self._server.responses.learn(data, response, body)
        # Up to here nothing was counted or sent: an error can still be handed over.
        early = body.take(data[response.size :]) if len(data) > response.size else b""
        if body.until_close or self._server.closing:
            self._keep_alive = False
        added = None
        if plan.may_add or response.concerns_gate:
            added = plan.added(response)
            if response.command is not None:
                self._plan = None  # the end of the session does not abort this response
        head = response_head(
            response, body, http11_client=True, keep_alive=self._keep_alive, added=added
        )
        plan.on_response(response.status, seconds=perf_counter() - self._began_s)
        self._body, self._partial_head = body, b""
        origin.reusable = response.persistent
        return interim + head + early

    def _return_origin(self) -> None:
        """The response is complete: return the origin connection to the pool."""
        origin, self._origin = self._origin, None
        body, self._body = self._body, None
        if origin is not None and body is not None:
            if body.surplus:
                origin.reusable = False
            self._server.pool.release(origin)

    def _release(self) -> None:
        """Release the origin connection during an exchange, and so close it."""
        origin, self._origin = self._origin, None
        if origin is not None:
            origin.reusable = False
            self._server.pool.release(origin)
