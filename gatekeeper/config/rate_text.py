"""Formats rates as in the file; `types` parses them."""

from __future__ import annotations


def spell_rate(per_minute: float) -> str:
    """A rate in the format of the file: per minute, or per hour if that is much shorter."""
    if not per_minute:
        return "0"
    by_minute, by_hour = _spell_number(per_minute), _spell_number(per_minute * 60)
    is_by_hour = len(by_hour) + 2 < len(by_minute)
    return f"{by_hour}/h" if is_by_hour else f"{by_minute}/min"


def _spell_number(value: float) -> str:
    text = f"{value:.12g}"
    return f"{value:.15f}".rstrip("0") if "e" in text else text  # no exponent in a rate
