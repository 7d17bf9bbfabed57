"""Everything the control room's page shows, in one answer.

Rules. One request a second a page, whatever the number of rooms and replicas; it asks the store
nothing, since the watch has just done so. `?after=` is the time of the newest sample the page has:
it gets those it missed, also after a sleep or from another listener.
"""

from __future__ import annotations

import math
from datetime import datetime

from aiohttp import web

from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.auth import person_of
from gatekeeper.admin.diagnosis import Facts, statements
from gatekeeper.admin.monitor import KEPT_S, SAMPLE_EVERY_S, SILENT_AFTER_S, Watch
from gatekeeper.admin.rooms import Rooms, room_json
from gatekeeper.admin.samples import REPLICA_FIELDS, ROOM_FIELDS
from gatekeeper.config.types import RoomName
from gatekeeper.errors import BadRequest

_SAME_S = 5.0  # a change is seen so soon after it was made


class Overview:
    """`GET /admin/overview`."""

    def __init__(self, rooms: Rooms, watch: Watch, *, audit: AuditLog, events_on: bool) -> None:
        self._rooms = rooms
        self._watch = watch
        self._audit = audit
        self._events_on = events_on

    async def answer(self, request: web.Request) -> web.Response:
        after_s = _time(request.query.get("after", "0"))
        watch, person = self._watch, person_of(request)
        answer = web.json_response(
            {
                "you": {"name": person.name, "role": person.role},
                "situation": [
                    {"level": each.level, "text": each.text, "since": each.since_s}
                    for each in statements(self._facts())
                ]
                if watch.readings
                else [],
                "rooms": [
                    room_json(operator, watch.states[operator.rules.room])
                    for operator in self._rooms
                    if operator.rules.room in watch.states
                ],
                "replicas": [
                    {"replica": name, "own": replica.own, "quiet_s": round(quiet_s, 1)}
                    for name, replica in sorted(watch.replicas.items())
                    for quiet_s in [replica.quiet_s(watch.monotonic_s())]
                ],
                "silent_after_s": SILENT_AFTER_S,
                "kept_s": KEPT_S,
                "every_s": SAMPLE_EVERY_S,
                "room_fields": ROOM_FIELDS,
                "replica_fields": REPLICA_FIELDS,
                "now": watch.now() if watch.readings else None,
                "samples": watch.since(after_s),
                "audit_mark": self._audit.mark,
            }
        )
        answer.enable_compression()
        return answer

    def _facts(self) -> Facts:
        watch = self._watch
        quiet = {
            name: replica.quiet_s(watch.monotonic_s()) for name, replica in watch.replicas.items()
        }
        return Facts(
            now_s=watch.readings[-1].at_s,
            rules=[operator.rules for operator in self._rooms],
            states=watch.states,
            readings=watch.readings,
            silent=[(name, s) for name, s in sorted(quiet.items()) if s >= SILENT_AFTER_S],
            living=sum(s < SILENT_AFTER_S for s in quiet.values()),
            store_lost_at_s=watch.store_lost_at_s,
            mode_by={name: self._mode_by(name) for name in watch.names},
            events_on=self._events_on,
            down=watch.down(),
            unwritten=self._audit.unwritten,
        )

    def _mode_by(self, room: RoomName) -> tuple[str, float]:
        """Who set the mode that the room is in, and when: by this audit log, or as it was seen."""
        seen_s = self._watch.mode_since_s.get(room, 0.0)
        state = self._watch.states.get(room)
        for entry in self._audit.newest(room=room):
            if entry.what == "mode" and entry.outcome == "done":
                if state is None or entry.after != state.mode.value:
                    break
                at_s = datetime.fromisoformat(entry.at).timestamp()
                # Seen to change long after: somebody else did, at another listener.
                return (entry.who, at_s) if seen_s < at_s + _SAME_S else ("", seen_s)
        return "", seen_s


def _time(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise BadRequest("after: expected seconds since the epoch")
    return value
