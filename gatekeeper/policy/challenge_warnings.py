"""Warnings of `gatekeeper check` about challenges. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gatekeeper.config.schema import Config


def challenge_warnings(config: Config) -> Iterator[str]:
    """A widget in a room without hosts: then only the provider checks its host."""
    for room in config.rooms:
        if room.challenge in ("turnstile", "hcaptcha") and not room.host:
            yield (
                f'challenge = "{room.challenge}" in room {room.name}: the room has no host, so a '
                "proof counts from every host that the site key allows; expected the room's host"
            )
