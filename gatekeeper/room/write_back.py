"""What a replica writes to a store that is empty, or knows less: the arguments of `join`."""

from __future__ import annotations

from gatekeeper.room.state import RoomState


def rate_text(per_minute: float) -> str:
    """The spelling that both Luas read back exactly; one for each rate."""
    return format(per_minute, ".12g")


def known_arguments(known: RoomState | None) -> list[str]:
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
    ]
