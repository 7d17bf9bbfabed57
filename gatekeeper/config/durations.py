"""The durations of a room, and the bounds within which a room works.

Rules. A bound excludes what cannot work, not what is unusual. Its reason is in the error. Bounds of
one key are in its type; those between two keys are conflicts. Waiting pages poll each second at the
front of the queue, and a browser's request takes time: hence most of the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from gatekeeper.config.section import KeyConflict
from gatekeeper.config.types import parse_duration_s, spell_duration

_POLLED = "the page polls each second"


def _bounds(
    at_least: str, why: str, *, at_most: str = "366d", why_not_longer: str = ""
) -> Callable[[float], float]:
    least_s, most_s = parse_duration_s(at_least), parse_duration_s(at_most)

    def check(value_s: float) -> float:
        if value_s < least_s:
            raise ValueError(
                f'"{spell_duration(value_s)}" is too short; expected at least "{at_least}": {why}'
            )
        if value_s > most_s:
            raise ValueError(
                f'"{spell_duration(value_s)}" is too long; expected at most "{at_most}": '
                f"{why_not_longer}"
            )
        return value_s

    return check


SessionIdleTimeout = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    AfterValidator(_bounds("1s", "a browser sends the pass back after it has loaded the page")),
]
SessionAbsoluteTimeout = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    AfterValidator(_bounds("1s", "a browser sends the pass back after it has loaded the page")),
]
ClaimTimeout = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    AfterValidator(_bounds("2s", f"a released visitor learns of it by a poll, and {_POLLED}")),
]
ConfirmTimeout = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    AfterValidator(
        _bounds(
            "1s",
            "the page of a newcomer confirms itself after a second",
            at_most="1h",
            why_not_longer="an emptied store admits no visitor for that long",
        )
    ),
]
HeartbeatTimeout = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    AfterValidator(_bounds("2s", f"{_POLLED}, and a visitor between two polls is not absent")),
]
PlaceTtl = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    AfterValidator(_bounds("2s", f"a ticket is renewed by a poll, and {_POLLED}")),
]
PollIntervalMax = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    AfterValidator(_bounds("1s", "the page polls each second at most")),
]


def shorter_than(
    longer: tuple[str, float], shorter: tuple[str, float], *, why: str = ""
) -> Iterator[KeyConflict]:
    """The conflict of two keys, each with its seconds, if the first is shorter than the second."""
    (key, value_s), (other, least_s) = longer, shorter
    if value_s < least_s:
        value, least = spell_duration(value_s), spell_duration(least_s)
        problem = f'"{value}" is shorter than {other}; expected at least "{least}"'
        yield KeyConflict((other, key), f"{problem}: {why}" if why else problem)
