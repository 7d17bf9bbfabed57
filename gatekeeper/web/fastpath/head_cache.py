"""What a head comes to that differs from one seen before only in who speaks.

Rules. Those who wait say the same again and again: between two polls of a browser, and between
those of one kind, nothing changes but the cookie, and what a proxy adds of their address. So what
a head without these came to is kept by its bytes. What was cut out is held to the same grammar as
in `plain`, so that the whole is as plain as the one that was read. The token, its holder and the
decision are looked at each time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatekeeper.web.admission import Admission
from gatekeeper.web.credentials import Credentials, Held
from gatekeeper.web.endpoints import Visit
from gatekeeper.web.message import RequestFacts

# Names that stand at the beginning of a line; values as in `plain`, and not empty.
_VARIES = re.compile(
    rb"(\r\n(?:[Cc]ookie|[Xx]-[Ff]orwarded-[Ff]or): )"
    rb"((?![\t ])[\t\x20-\x7e\x80-\xff]++(?<![\t ]))(?=\r\n)"
)
_COOKIE_AT = slice(2, 3)  # where the two names differ
_MOST_SHAPES = 4096
_MOST_BYTES = 2048


@dataclass(frozen=True, slots=True)
class HeadEntry:
    """A plain GET whose answer is the gate's own, for whoever speaks."""

    facts: RequestFacts  # without cookies
    admission: Admission
    credentials: Credentials
    secure: bool
    keep_alive: bool
    is_status: bool  # else it is for a page of the site
    wants_stream: bool = False

    def visit(self, cookie: bytes) -> Visit:
        token = self.credentials.read_cookie(
            cookie.decode("latin-1"), secure=self.secure, now_s=self.admission.now_s()
        )
        held = Held(token, by_header=False)
        return Visit(self.admission, self.credentials, held, self.secure)


class HeadCache:
    """The shapes seen last, apart for peers that are believed and those that are not."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bool], HeadEntry] = {}

    def recall(self, head: bytes, *, trusted: bool) -> tuple[HeadEntry, bytes] | None:
        """The shape of `head` and its cookie, if it is known."""
        cut, cookie = _cut(head)
        shape = self._known.get((cut, trusted))
        return None if shape is None else (shape, cookie)

    def keep(self, head: bytes, shape: HeadEntry, *, trusted: bool) -> None:
        cut, _ = _cut(head)
        if len(cut) > _MOST_BYTES:
            return
        if len(self._known) >= _MOST_SHAPES:
            del self._known[next(iter(self._known))]
        self._known[cut, trusted] = shape


def _cut(head: bytes) -> tuple[bytes, bytes]:
    """The head without what varies, and its last cookie."""
    parts = _VARIES.split(head)  # what stands before it, a name, a value, and so on
    cookie = b""
    for at in range(1, len(parts), 3):
        if parts[at][_COOKIE_AT] in b"Cc":
            cookie = parts[at + 1]
    del parts[2::3]
    return b"".join(parts), cookie
