"""Runs the changes of operators, and records each in the audit log.

Rules. A change that the store or the configuration did not accept is recorded as failed. The caller
checks values first: a request with an invalid value is not recorded.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gatekeeper.admin.audit import AuditLog, Outcome, Value
from gatekeeper.admin.auth import AdminAuth, principal_of
from gatekeeper.errors import ConfigError, GatekeeperError

_MAX_NOTE_CHARACTERS = 500


@dataclass(slots=True)
class OperatorAction:
    """A change in progress, for the audit log; `change` fills in its fields."""

    what: str
    room: str = ""
    before: Value = None
    after: Value = None
    visitor: str = ""
    note: str = ""


class Recorder:
    """Records the changes of requests."""

    def __init__(self, audit: AuditLog, auth: AdminAuth) -> None:
        self._audit = audit
        self._auth = auth

    async def run(
        self,
        request: web.Request,
        actions: list[OperatorAction],
        change: Coroutine[Any, Any, web.Response],
    ) -> web.Response:
        """Run `change`, which makes all `actions` or none, record them, and return its response."""
        try:
            response = await change
        except GatekeeperError as error:
            note = "; ".join(error.problems) if isinstance(error, ConfigError) else error.public
            await self._record(request, actions, outcome="failed", note=note[:_MAX_NOTE_CHARACTERS])
            raise
        await self._record(request, actions, outcome="done", note="")
        return response

    async def _record(
        self, request: web.Request, actions: list[OperatorAction], *, outcome: Outcome, note: str
    ) -> None:
        for action in actions:
            await self._audit.add(
                principal_of(request).name,
                action.what,
                address=self._auth.address_of(request),
                outcome=outcome,
                room=action.room,
                before=action.before,
                after=action.after,
                visitor=action.visitor,
                note=note or action.note,
            )
