"""The invitation in the address of a request, and the address without it.

Rules. Pure. An address loses every parameter that some origin could read as `gk_invitation`: in any
letter case, percent-encoded up to twice, with the separators `;` and `?` too, as a list or as PHP
spells names (`gk.invitation`). The rest stays byte for byte. `may_hold_invitation` is the cheap
question before that; it is asked of every request with a query, and never misses one.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

from gatekeeper.policy.readings import loose_values

PARAMETER: Final = "gk_invitation"
_SEPARATORS: Final = re.compile(r"([&;?])")
_DECODE_ROUNDS: Final = 2


def _letters(word: str) -> str:
    """Matches the letters of `word`, each as it is or percent-encoded, also twice."""
    return "".join(f"(?:{each}|%(?:25)*(?:{ord(each):x}|{ord(each.upper()):x}))" for each in word)


_ESCAPE: Final = "%(?:25)*[0-9A-Fa-f]{2}"
# Blanks may stand before the name, and origins read some other characters as the `_`.
_NAME: Final = (
    rf"[?&;](?:\+|{_ESCAPE})*?"
    + _letters("gk")
    + rf"(?:[_. +\[]|{_ESCAPE})"
    + _letters("invitation")
)
_IN_TEXT: Final = re.compile(_NAME, re.IGNORECASE | re.ASCII)
_IN_BYTES: Final = re.compile(_NAME.encode(), re.IGNORECASE)


class FoundInvitation(NamedTuple):
    """The target without the parameter, and the different values that it had."""

    target: str
    values: tuple[str, ...]


def may_hold_invitation(target: str) -> bool:
    """Whether the query of a request target may name the parameter."""
    return "?" in target and _IN_TEXT.search(target) is not None


def line_may_hold_invitation(line: bytes) -> bool:
    """The same for the first line of a request."""
    return b"?" in line and _IN_BYTES.search(line) is not None


def find_invitation(target: str) -> FoundInvitation | None:
    """The invitation in a request target; None: it has none."""
    if not may_hold_invitation(target):
        return None
    path, _, query = target.partition("?")
    kept: list[str] = []  # the first one, and the others with the separators before them
    values: dict[str, None] = {}
    separator = ""
    for at, part in enumerate(_SEPARATORS.split(query)):
        if at % 2:
            separator = part
            continue
        name, _, value = part.partition("=")
        if _is_parameter(name):
            values[unquote_plus(value)] = None
        else:
            kept.append(separator + part if kept else part)
    if not values:
        return None
    rest = "".join(kept)
    return FoundInvitation(f"{path}?{rest}" if rest else path, tuple(values))


def _is_parameter(name: str) -> bool:
    for _ in range(_DECODE_ROUNDS + 1):
        if loose_values([(name.lower(), "")], PARAMETER):
            return True
        name = unquote_plus(name)
    return False
