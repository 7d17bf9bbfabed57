"""Warnings of `gatekeeper check` about limits by address. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gatekeeper.config.schema import Config


def address_warnings(config: Config) -> Iterator[str]:
    """A limit by address if the gate may only see the address of a proxy: without its own TLS it is
    usually behind one."""
    server = config.server
    rooms = [room.name for room in config.rooms if room.newcomers_per_address]
    sees_visitors = server.tls or config.edge.is_on
    if rooms and not server.trusted_proxies and not sees_visitors:
        yield (
            f"newcomers_per_address in room {', '.join(rooms)}: server.trusted_proxies is empty, "
            "so all visitors behind a proxy or CDN share one limit; expected its networks there"
        )
