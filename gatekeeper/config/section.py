"""The base of every section of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


class LiveSetting:
    """Marks a key that operators can change while the gate runs (`*` in the reference)."""


LIVE = LiveSetting()


@dataclass(frozen=True, slots=True)
class KeyConflict:
    """Keys of one section that are each valid but conflict. `is_missing_key`: a key is missing, and
    an unknown key may be its misspelling."""

    keys: tuple[str, ...]
    problem: str
    is_missing_key: bool = False


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def conflicts(self) -> Iterator[KeyConflict]:
        """The conflicts between keys; each is reported under its last key."""
        yield from ()
