"""Makes untrusted texts safe for a terminal: control characters become visible escapes.

Rules. A name, a path or an error of another program may hold sequences that move the cursor, erase
lines or reverse the direction of a text. `\\u001b` is what JSON writes, so the same function serves
JSON and plain lines.
"""

import re

# C0, DEL, C1, line and paragraph separators, bidirectional controls, lone surrogates.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text on one line, with each control character as `\\uXXXX`."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
