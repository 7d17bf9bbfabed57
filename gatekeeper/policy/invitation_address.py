"""The invitation in the address of a request, and the address without it.

Rules. Pure. An address loses every parameter that some origin could read as `gk_invitation`: in any
letter case, percent-encoded up to twice, with the separators `;` and `?` too, as a list or as PHP
spells names (`gk.invitation`). The rest stays byte for byte. `may_hold_invitation` is the cheap
question before that; it is asked of every request with a query, and never misses one.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gatekeeper.policy.parameters import form_decoded, is_read_as

PARAMETER: Final = "gk_invitation"
_SEPARATED: Final = re.compile(r"[&;?][^&;?]*")
_DECODE_ROUNDS: Final = 2


def _letters(word: str) -> str:
    """Matches the letters of `word`, each as it is or percent-encoded, also twice."""
    return "".join(f"(?:{each}|%(?:25)*(?:{ord(each):x}|{ord(each.upper()):x}))" for each in word)


_ESCAPE: Final = "%(?:25)*[0-9A-Fa-f]{2}"
# Blanks, as they are or encoded, may stand before the name; what looks like one costs a look. And
# origins read some other characters as the `_`.
_NAME: Final = (
    "[?&;][+%0-9A-Fa-f]*?" + _letters("gk") + rf"(?:[_. +\[]|{_ESCAPE})" + _letters("invitation")
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
    # Only these parts can have the name: a query of many others takes no long look at each.
    starts = {match.start() for match in _IN_TEXT.finditer(target, len(path))}
    at, kept, values = len(path), list[str](), dict[str, None]()
    for part in _SEPARATED.findall(f"?{query}"):
        name, _, value = part[1:].partition("=")
        if at in starts and _is_parameter(name):
            values[form_decoded(value)] = None
        else:
            kept.append(part if kept else part[1:])
        at += len(part)
    if not values:
        return None
    rest = "".join(kept)
    return FoundInvitation(f"{path}?{rest}" if rest else path, tuple(values))


def _is_parameter(name: str) -> bool:
    for _ in range(_DECODE_ROUNDS + 1):
        if is_read_as(name.lower(), PARAMETER):
            return True
        name = form_decoded(name)
    return False
