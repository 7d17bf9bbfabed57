"""Warnings of `gatekeeper check` about autotune. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gatekeeper.config.rate_text import spell_rate
from gatekeeper.config.schema import Config, RoomConfig
from gatekeeper.config.types import parse_rate_per_minute


def autotune_warnings(config: Config) -> Iterator[str]:
    """Warnings for rates of the file that autotune never raises, or changes at once."""
    for room in config.rooms:
        yield from _warnings(room, room.rate, f"rate of room {room.name}")
        for event in config.schedule:
            if event.room == room.name and "rate" in event.settings:
                rate = parse_rate_per_minute(event.settings["rate"])
                yield from _warnings(room, rate, f"rate of event {event.name}")


def _warnings(room: RoomConfig, rate: float, what: str) -> Iterator[str]:
    if not room.autotune:
        return
    if not rate:
        yield f"{what}: 0 while autotune is true; autotune never raises a rate of 0"
        return
    for is_outside, key, bound in (
        (rate < room.autotune_min, "autotune_min", room.autotune_min),
        (rate > room.autotune_max, "autotune_max", room.autotune_max),
    ):
        if is_outside:
            yield (
                f'{what}: "{spell_rate(rate)}" is outside of {key}, so autotune begins with '
                f'"{spell_rate(bound)}"'
            )
