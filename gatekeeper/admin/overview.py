"""Everything that the control room shows, in one response.

Rules. A page sends one request per second, for any number of rooms and replicas. The request
costs no store trip: the monitor has just read the store. `?after=` is the time of the newest sample
the page has; the response has the samples after it, also for a suspended page and from another
listener.
"""

from __future__ import annotations

import math
from datetime import datetime

from aiohttp import web

from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.auth import principal_of
from gatekeeper.admin.diagnosis import Observations, diagnose
from gatekeeper.admin.edge_status import EdgeStatusSource, no_edge
from gatekeeper.admin.history import REPLICA_FIELDS, ROOM_FIELDS
from gatekeeper.admin.monitor import RETENTION_S, SAMPLE_INTERVAL_S, SILENT_AFTER_S, Monitor
from gatekeeper.admin.rooms import Rooms, room_json
from gatekeeper.config.problems import shown
from gatekeeper.config.types import RoomName
from gatekeeper.errors import BadRequest
from gatekeeper.policy.reference import reference_of
from gatekeeper.room.pass_figures import busiest, merge_passes

_SAME_CHANGE_S = 5.0  # the monitor sees a change at most this long after it was made


class Overview:
    """`GET /admin/overview`."""

    def __init__(
        self,
        rooms: Rooms,
        monitor: Monitor,
        *,
        audit: AuditLog,
        events_on: bool,
        edge: EdgeStatusSource = no_edge,
    ) -> None:
        self._rooms = rooms
        self._monitor = monitor
        self._audit = audit
        self._events_on = events_on
        self._edge = edge

    async def response(self, request: web.Request) -> web.Response:
        after_s = _parse_after(request.query.get("after", "0"))
        monitor, principal = self._monitor, principal_of(request)
        edge = self._edge()
        response = web.json_response(
            {
                "you": {"name": principal.name, "role": principal.role},
                "situation": [
                    {"level": each.level, "text": each.text, "since": each.since_s}
                    for each in diagnose(self._observations())
                ]
                if monitor.readings
                else [],
                "rooms": [
                    room_json(
                        operator,
                        monitor.states[operator.rules.room],
                        lanes=monitor.lanes.get(operator.rules.room, {}),
                        steering=monitor.steering.get(operator.rules.room),
                    )
                    for operator in self._rooms
                    if operator.rules.room in monitor.states
                ],
                "replicas": [
                    {"replica": name, "own": replica.own, "quiet_s": round(silent_s, 1)}
                    for name, replica in sorted(monitor.replicas.items())
                    for silent_s in [replica.silent_s(monitor.monotonic_s())]
                ],
                "passes": self._passes(),
                "edge": edge.as_json() if edge else None,
                "silent_after_s": SILENT_AFTER_S,
                "kept_s": RETENTION_S,
                "every_s": SAMPLE_INTERVAL_S,
                "room_fields": ROOM_FIELDS,
                "replica_fields": REPLICA_FIELDS,
                "now": monitor.now() if monitor.readings else None,
                "samples": monitor.since(after_s),
                "audit_mark": self._audit.mark,
            }
        )
        response.enable_compression()
        return response

    def _passes(self) -> list[dict[str, object]]:
        """The busiest passes of all living replicas."""
        now_s = self._monitor.monotonic_s()
        living = [
            replica.figures.passes
            for replica in self._monitor.replicas.values()
            if replica.silent_s(now_s) < SILENT_AFTER_S
        ]
        return [
            {
                "room": each.room,
                "visitor": each.visitor,
                "reference": reference_of(each.visitor),
                "requests": each.requests,
                "addresses": len(each.addresses),
                "at_once": each.most,
                "refused": each.turned_away,
            }
            for each in busiest(merge_passes(living))
            if self._rooms.find(each.room) is not None
        ]

    def _observations(self) -> Observations:
        monitor = self._monitor
        silent_s = {
            name: replica.silent_s(monitor.monotonic_s())
            for name, replica in monitor.replicas.items()
        }
        return Observations(
            now_s=monitor.readings[-1].at_s,
            rules=[operator.rules for operator in self._rooms],
            states=monitor.states,
            readings=monitor.readings,
            silent=[(name, s) for name, s in sorted(silent_s.items()) if s >= SILENT_AFTER_S],
            living=sum(s < SILENT_AFTER_S for s in silent_s.values()),
            store_lost_at_s=monitor.store_lost_at_s,
            mode_changes={name: self._mode_change(name) for name in monitor.names},
            events_on=self._events_on,
            serving=sum(replica.own for replica in monitor.replicas.values()),
            down=monitor.down(),
            unwritten=self._audit.unwritten,
            edge=self._edge(),
        )

    def _mode_change(self, room: RoomName) -> tuple[str, float]:
        """The operator and time of the last mode change, by the audit log or the monitor.

        The operator is "" and the time 0 where they are not known.
        """
        seen_s = self._monitor.mode_since_s.get(room, 0.0)
        state = self._monitor.states.get(room)
        for entry in self._audit.newest(room=room):
            if entry.what == "mode" and entry.outcome == "done":
                if state is None or entry.after != state.mode.value:
                    break
                at_s = datetime.fromisoformat(entry.at).timestamp()
                # The monitor saw a later change, made at another listener.
                return (entry.who, at_s) if seen_s < at_s + _SAME_CHANGE_S else ("", seen_s)
        return "", seen_s


def _parse_after(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise BadRequest(f"after: {shown(text)} is not a time; expected seconds since the epoch")
    return value
