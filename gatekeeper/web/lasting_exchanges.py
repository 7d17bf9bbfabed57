"""Long exchanges: a response or an upload that streams counts as use of the session.

Rules. A sweep, twice a second, visits the exchanges with the origin that are in progress on both
paths. One that is seen twice keeps its visitor's slot until it ends, like a WebSocket, and is
aborted when the session ends: revoked, left, or at its absolute timeout. So a short exchange costs
nothing, and a long one is noticed within a second. An aborted exchange is reset and never looks
complete. An exchange that only waits for the origin's response is not aborted: it may be a payment,
and the origin's `read_timeout` bounds it. Neither is the response by which the origin ends the
session.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Final, Protocol

import structlog
from aiohttp.web import BaseRequest

from gatekeeper.policy.tokens import Pass
from gatekeeper.proxy.downstream import reset
from gatekeeper.proxy.fastpath.server import FastPathServer
from gatekeeper.web.admission import Admission
from gatekeeper.web.fastpath.known_forwards import KnownForward, VariedForward

SWEEP_INTERVAL_S: Final = 0.5

log = structlog.get_logger()


class Cuttable(Protocol):
    """A connection whose exchange can be aborted at the end of a session."""

    def cut(self, began_s: float) -> None:
        """Abort the exchange that began at `began_s`, unless it has ended or only waits."""
        ...


class HandledExchange:
    """A request that aiohttp's handler forwards."""

    __slots__ = ("_request", "admission", "began_s", "is_last", "pass_")

    def __init__(self, request: BaseRequest, admission: Admission, pass_: Pass) -> None:
        self._request = request
        self.admission = admission
        self.pass_ = pass_
        self.began_s = perf_counter()
        self.is_last = False  # the origin ended the session by this response

    def cut(self, began_s: float) -> None:  # noqa: ARG002  this object is one exchange
        request = self._request
        responds = request.writer.output_size > 0
        uploads = request.body_exists and not request.content.is_eof()
        if (responds or uploads) and not self.is_last and request.transport is not None:
            reset(request.transport)


@dataclass(slots=True)
class _KnownExchange:
    """An exchange that a sweep has seen; `end` is set when a second sweep sees it."""

    began_s: float
    end: asyncio.Future[None] | None = None


class LastingExchanges:
    """The exchanges of one worker."""

    def __init__(self, fast_path: FastPathServer | None = None) -> None:
        self.fast_path = fast_path
        self.handled: set[HandledExchange] = set()  # by aiohttp
        self._lasting: dict[Cuttable, _KnownExchange] = {}

    def __len__(self) -> int:
        return len(self._lasting)

    async def sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            try:
                self.sweep()
            except Exception:
                # If the sweep ended, visitors of all later streams would lose their sessions.
                log.exception("sweep_failed")

    def sweep(self) -> None:
        """Keep the sessions of the exchanges that the last sweep has seen too."""
        before, self._lasting = self._lasting, {}
        for connection in self.fast_path.connections if self.fast_path else ():
            exchange = connection.exchange
            if exchange is None:
                continue
            began_s, plan = exchange
            if isinstance(plan, VariedForward):
                plan = plan.known
            if isinstance(plan, KnownForward) and plan.admit.pass_ is not None:
                lasting = self._seen(connection, began_s, before)
                self._keep(connection, lasting, plan.visit.admission, plan.admit.pass_)
        for handled in self.handled:
            lasting = self._seen(handled, handled.began_s, before)
            self._keep(handled, lasting, handled.admission, handled.pass_)
        for ended in before.values():
            if ended.end is not None:
                ended.end.cancel()

    def close(self) -> None:
        """Stop keeping sessions."""
        for lasting in self._lasting.values():
            if lasting.end is not None:
                lasting.end.cancel()
        self._lasting.clear()

    def _seen(
        self, exchange: Cuttable, began_s: float, before: dict[Cuttable, _KnownExchange]
    ) -> _KnownExchange | None:
        """The entry of an exchange that the last sweep has seen; None: it is new, and is added."""
        known = before.get(exchange)
        if known is None or known.began_s != began_s:
            self._lasting[exchange] = _KnownExchange(began_s)
            return None
        self._lasting[exchange] = before.pop(exchange)
        return known

    def _keep(
        self, exchange: Cuttable, lasting: _KnownExchange | None, admission: Admission, pass_: Pass
    ) -> None:
        if lasting is None:
            return
        if lasting.end is None:
            lasting.end = admission.session_end(pass_)
            lasting.end.add_done_callback(partial(_cut, exchange, lasting.began_s))
        elif lasting.end.done():  # it only waited
            exchange.cut(lasting.began_s)


def _cut(exchange: Cuttable, began_s: float, end: asyncio.Future[None]) -> None:
    if not end.cancelled():
        exchange.cut(began_s)
