"""The ends of sessions, for connections that outlive a request.

Rules. A connection counts as use of the pass until it ends. For an unconfirmed visitor it keeps no
slot until another request confirms them. The futures are bounded by the connections that wait for
them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gatekeeper.policy.tokens import Pass, VisitorId


class SessionEnds:
    """The connections of one room that wait for the end of a session, by visitor."""

    def __init__(self) -> None:
        self._ends: dict[VisitorId, list[asyncio.Future[None]]] = {}

    def of(
        self, pass_: Pass, *, left_s: Callable[[], float], keep_slot: Callable[[], float]
    ) -> asyncio.Future[None]:
        """A future that is done when the session of `pass_` ends. `left_s` returns its remaining
        seconds, 0 if it is over. `keep_slot` extends the slot, and returns the seconds until the
        next extension."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def check() -> None:
            if future.done():
                return
            session_s = left_s()
            if session_s <= 0:
                future.set_result(None)
                return
            loop.call_later(min(keep_slot(), session_s), check)

        ends = self._ends.setdefault(pass_.visitor, [])
        ends.append(future)

        def forget(_: asyncio.Future[None]) -> None:
            ends.remove(future)
            if not ends:
                self._ends.pop(pass_.visitor, None)

        future.add_done_callback(forget)
        check()
        return future

    def end(self, visitors: Sequence[VisitorId]) -> None:
        """End the waits of these visitors, whose sessions have ended."""
        if not self._ends:
            return
        for visitor in visitors:
            for future in tuple(self._ends.get(visitor, ())):
                if not future.done():
                    future.set_result(None)
