"""Keys and values that have a new name: the old one is an error that names the new one.

Rules: an old name is never read as the new one, since its default or meaning may have changed.
An entry stays here for as long as configurations with the old name may exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Old key of [admission], [waiting], [[room]] or [[event]] to the section and its new name.
RENAMED_KEYS = {
    "session": ("admission", "session_idle_timeout"),
    "session_limit": ("admission", "session_absolute_timeout"),
    "claim_within": ("admission", "claim_timeout"),
    "prove_within": ("admission", "confirm_timeout"),
    "abandon_after": ("admission", "heartbeat_timeout"),
    "keep_place": ("admission", "place_ttl"),
    "on_store_loss": ("admission", "store_failure_mode"),
    "refresh_ceiling": ("waiting", "poll_interval_max"),
}

# Key to its old values and their new names.
RENAMED_VALUES = {"store_failure_mode": {"hold": "closed"}}


def renamed_keys(table: Mapping[str, Any], *, path: str) -> dict[str, str]:
    """The old keys in `table` (at `path`), each with its problem."""
    problems: dict[str, str] = {}
    for old in table.keys() & RENAMED_KEYS.keys():
        section, new = RENAMED_KEYS[old]
        within = path if path.startswith(("room[", "event[")) else section
        use = f"{within}.{new}"
        if value := _renamed_value(new, table[old]):
            use += f' = "{value}"'
        problems[old] = f"renamed; use {use}"
    return problems


def renamed_values(table: Mapping[str, Any]) -> dict[str, str]:
    """The keys of `table` that have an old value, each with its problem."""
    return {
        key: f'"{table[key]}" is renamed; use "{value}"'
        for key in table.keys() & RENAMED_VALUES.keys()
        if (value := _renamed_value(key, table[key]))
    }


def _renamed_value(key: str, value: object) -> str | None:
    return RENAMED_VALUES.get(key, {}).get(value) if isinstance(value, str) else None
