"""The keys of `autotune*`: how the load of the origin steers a room's rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from gatekeeper.config.problems import shown
from gatekeeper.config.rate_text import spell_rate
from gatekeeper.config.section import KeyConflict
from gatekeeper.config.types import parse_rate_per_minute


def parse_share(value: object) -> float:
    """A share: a number from 0 to 1, as number or text, or a percentage as text."""
    share = None
    if isinstance(value, str):
        text = value.strip()
        number, is_percentage = text.removesuffix("%").strip(), text.endswith("%")
        if number.isascii() and number.replace(".", "", 1).isdigit():
            share = float(number) / (100 if is_percentage else 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        share = float(value)
    if share is None or not 0 <= share <= 1:
        raise ValueError(f'{shown(value)} is not a share; expected 0 to 1, e.g. 0.02 or "2%"')
    return share


def _above_zero(rate: float) -> float:
    if rate <= 0:
        raise ValueError('0 admits nobody and cannot rise; expected e.g. "30/min"')
    return rate


NOTHING_TO_MEASURE = (
    'true while origin.url is "none": proxies forward, so no response is measured here; '
    "expected false"
)
Share = Annotated[float, BeforeValidator(parse_share)]
SteeredRate = Annotated[float, BeforeValidator(parse_rate_per_minute), AfterValidator(_above_zero)]


def autotune_conflicts(
    *, is_on: bool, has_origin: bool, rate_min: float, rate_max: float
) -> Iterator[KeyConflict]:
    """The conflicts between these keys of a room, and with a gate that forwards nothing."""
    if is_on and not has_origin:
        yield KeyConflict(("autotune",), NOTHING_TO_MEASURE)
    if rate_min > rate_max:
        problem = (
            f'"{spell_rate(rate_max)}" is below autotune_min; '
            f'expected at least "{spell_rate(rate_min)}"'
        )
        yield KeyConflict(("autotune_min", "autotune_max"), problem)


def steered_rate_problem(rate: float, *, rate_min: float, rate_max: float) -> str | None:
    """Why an operator cannot set this rate in a room that autotune steers; None: they can. A rate
    of 0 pauses the room."""
    if not rate or rate_min <= rate <= rate_max:
        return None
    bounds = f'"{spell_rate(rate_min)}" to "{spell_rate(rate_max)}"'
    return (
        f'"{spell_rate(rate)}" is outside of autotune_min and autotune_max; '
        f"expected {bounds}, or autotune=false"
    )
