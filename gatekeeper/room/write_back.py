"""What a replica writes to a store that is empty, or knows less: the arguments of `join`."""

from __future__ import annotations

from gatekeeper.policy.rules import Rules
from gatekeeper.room.return_window import is_opening
from gatekeeper.room.state import RoomState


def rate_text(per_minute: float) -> str:
    """The one spelling of a rate that Lua 5.1 and 5.4 read back exactly."""
    return format(per_minute, ".12g")


def known_arguments(known: RoomState | None, *, rules: Rules) -> list[str]:
    """The state that the caller knows, as the script reads it."""
    if known is None:
        return []
    return [
        known.mode.value,
        rate_text(known.rate_per_minute),
        str(known.watermark_us),
        str(known.last_arrival_us),
        str(known.pending_grants),
        str(known.arrived_total),
        str(known.released_total),
        str(known.admitted_total),
        str(known.abandoned_total),
        known.message,
        str(known.expected),
        known.overrides,
        known.events,
        known.schedule.windows_text,
        str(known.active),
        str(replicas_to_report(known, rules=rules)),
        str(known.owed_from_us),
        str(known.again_through_us),
        str(known.again_at),
    ]


def replicas_to_report(known: RoomState, *, rules: Rules) -> int:
    """How many replicas may have visitors who are about to poll; 0: this number or the turns of
    these visitors are unknown: the store had lost the line less than `remembered_s` before, or a
    draw or lanes give turns that a visitor's token does not name."""
    if rules.lanes or is_opening(known, rules) or known.undrawn:
        return 0
    return known.recent_replicas
