"""The invitation in the address of a request, and the address without it.

Rules. Pure. Every parameter that some origin could read as `gk_invitation` is removed from an
address: in any letter case, percent-encoded up to twice, also with the separators `;` and `?`, as a
list or in PHP's form (`gk.invitation`). The rest stays byte for byte. `may_hold_invitation` is a
cheap pre-check for every request with a query, without false negatives.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gatekeeper.policy.parameters import form_decoded, is_read_as

PARAMETER: Final = "gk_invitation"
_SEPARATED: Final = re.compile(r"[&;?][^&;?]*")
_DECODE_ROUNDS: Final = 2


def _letters(word: str) -> str:
    """A pattern of the letters of `word`, each plain or percent-encoded, up to twice."""
    return "".join(f"(?:{each}|%(?:25)*(?:{ord(each):x}|{ord(each.upper()):x}))" for each in word)


_ESCAPE: Final = "%(?:25)*[0-9A-Fa-f]{2}"
# Blanks, plain or encoded, may precede the name; false positives only cost a full parse. Origins
# read some other characters as `_`.
_NAME: Final = (
    "[?&;][+%0-9A-Fa-f]*?" + _letters("gk") + rf"(?:[_. +\[]|{_ESCAPE})" + _letters("invitation")
)
_IN_TEXT: Final = re.compile(_NAME, re.IGNORECASE | re.ASCII)
_IN_BYTES: Final = re.compile(_NAME.encode(), re.IGNORECASE)


class FoundInvitation(NamedTuple):
    """The target without the parameter, and its distinct values."""

    target: str
    values: tuple[str, ...]


def may_hold_invitation(target: str) -> bool:
    """Whether the query of a request target may contain the parameter."""
    return "?" in target and _IN_TEXT.search(target) is not None


def line_may_hold_invitation(line: bytes) -> bool:
    """Like `may_hold_invitation`, for a request line."""
    return b"?" in line and _IN_BYTES.search(line) is not None


def find_invitation(target: str) -> FoundInvitation | None:
    """Find the invitation in a request target; None: there is none."""
    if not may_hold_invitation(target):
        return None
    path, _, query = target.partition("?")
    # Only parts that can have the name are parsed, so that a long query stays cheap.
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
