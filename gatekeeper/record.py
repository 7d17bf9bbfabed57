"""Values that the requests of a gate create or read all the time.

Rules. A `record` is a slotted dataclass that nothing changes: mypy treats it as frozen, and no code
assigns to a field. At run time it is not: a poll creates seven such values, and a frozen
dataclass of four fields takes 0.35 µs to create, a named tuple 0.15, a record 0.09. The fields of a
record are read in half the time of those of a named tuple (CPython 3.11).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

Value = TypeVar("Value")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(of: type[Value]) -> type[Value]:
    """The class as a dataclass that only the type checker freezes."""
    return dataclass(slots=True, unsafe_hash=True)(of)
