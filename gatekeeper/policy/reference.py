"""The reference of a visitor: eight characters that a person can read out to support, `4Q7K-92ZD`.

Rules. Pure. It is derived from the visitor id, so every replica computes the same one and none is
stored. It is not secret and gives no place: neither a visitor id nor a token can be computed from
it. It has 40 bits, so two visitors can share one; a search by reference can find several.
"""

from __future__ import annotations

import re
from hashlib import sha256

_PREFIXED = sha256(b"reference|")  # copied, which is faster than a new hash
# Crockford's base 32: no I, L, O or U, which are read as other characters.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
_REFERENCE = re.compile(f"[{_ALPHABET}]{{8}}")


def reference_of(visitor: str) -> str:
    """The first 40 bits of SHA-256("reference|" + visitor id). A ticket keeps it for all polls."""
    hashed = _PREFIXED.copy()
    hashed.update(visitor.encode())
    bits = int.from_bytes(hashed.digest()[:5], "big")
    pairs = _PAIRS
    first, second = pairs[bits >> 30], pairs[bits >> 20 & 1023]
    return f"{first}{second}-{pairs[bits >> 10 & 1023]}{pairs[bits & 1023]}"


def parse_reference(text: str) -> str | None:
    """Parse a typed reference, in any letter case, with or without the hyphen, with O for 0 and I
    or L for 1; None: it is not a reference."""
    plain = text.upper().translate(_READ_AS) if len(text) <= 32 else ""
    return f"{plain[:4]}-{plain[4:]}" if _REFERENCE.fullmatch(plain) else None
