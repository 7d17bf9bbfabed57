"""A cache of parsed response heads, keyed by all their bytes except for the date.

Rules. A busy origin sends the same heads repeatedly: those of a file differ only in `Date`. So the
result of parsing is cached under the bytes without the value of that field, whose format is checked
each time. The same bytes have the same result if they are the first response to a GET, have no
field that concerns the gate, and set no cookie.

For an origin whose heads are all different, the cache would only cost time. So a head is cached
when it comes a second time, and the hit rate is measured: a lookup costs a third of a parse, so
while fewer than a third are hits, only one head in `_SAMPLE` is looked up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gatekeeper.proxy.framing import Body, ChunkedBody, LengthBody
from gatekeeper.proxy.headers import response_head
from gatekeeper.proxy.response import ResponseHead

_LINE_END: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
_FIELD: Final = b"\r\nDate: "
_DATE_BYTES: Final = 29  # of an IMF-fixdate (RFC 9110 section 5.6.7)
_IS_DATE: Final = re.compile(rb"[A-Za-z0-9:, ]{29}(?=\r\n)").match
_MAX_BYTES: Final = 2048
_MAX_HEADS: Final = 1024  # 4 MB at most, with the cached values
_MAX_DATES: Final = 16  # replicas of an origin have several clocks
_FOR_HIT, _MAX_SCORE, _SAMPLE = 2, 256, 32


@dataclass(frozen=True, slots=True)
class KnownResponse:
    """What was parsed from a response head of `size` bytes."""

    status: int
    before: bytes  # of the client's head, up to the date, which has its line break
    after: bytes  # from the next line to the empty line, which the caller adds
    length: int  # of the body; -1: it is chunked
    persistent: bool
    size: int


# A head that was seen before: its cached result, None until it is cached; its key; and its date. A
# plain tuple, since it is created for each response.
LookedUp = tuple[KnownResponse | None, bytes, bytes]


class KnownResponses:
    """The cache of one origin's heads."""

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownResponse] = {}
        self._seen: set[int] = set()  # hashes of keys: a collision is harmless
        self._dates: set[bytes] = set()  # with the line break after them
        self._score = _MAX_SCORE
        self._skipped = 0

    def __len__(self) -> int:
        return len(self._heads)

    def look_up(self, data: bytes) -> LookedUp | None:
        """Look up the head at the beginning of `data`; None: do not cache it."""
        if self._score <= 0:
            self._skipped += 1
            if self._skipped < _SAMPLE:
                return None
            self._skipped = 0
        end = data.find(_END, 0, _MAX_BYTES)
        at = data.find(_FIELD, 0, end) + len(_FIELD)
        if end < 0 or at < len(_FIELD):
            return None
        date_end = at + _DATE_BYTES
        date = data[at : date_end + len(_LINE_END)]
        if date not in self._dates and not self._is_date(date):
            return None
        key = data[:at] + data[date_end:end]
        known = self._heads.get(key)
        if known is not None:
            if self._score < _MAX_SCORE:
                self._score += _FOR_HIT
        else:
            if self._score > 0:
                self._score -= 1
            if not self._has_come_before(key):
                return None
        return known, key, date

    def _has_come_before(self, key: bytes) -> bool:
        number = hash(key)
        if number in self._seen:
            return True
        if len(self._seen) >= _MAX_HEADS:
            self._seen.clear()
        self._seen.add(number)
        return False

    def keep(self, missed: LookedUp, response: ResponseHead, body: Body) -> None:
        """Cache `response`, parsed from the head of the lookup `missed`. No byte of `body` was read
        yet."""
        match body:
            case LengthBody():
                length = body.left
            case ChunkedBody():
                length = -1
            case _:
                return
        if response.concerns_gate or response.sets_cookie:  # the gate's names can change
            return
        _, key, date = missed
        head = response_head(response, body, http11_client=True, keep_alive=True, added=None)
        before, line, after = head[: -len(_LINE_END)].partition(_FIELD + date)
        if not line:  # the origin's `Connection` names it
            return
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        self._heads[key] = KnownResponse(
            status=response.status,
            before=before + _FIELD,
            after=after,
            length=length,
            persistent=response.persistent,
            size=response.size,
        )

    def _is_date(self, date: bytes) -> bool:
        if _IS_DATE(date) is None:
            return False
        if len(self._dates) >= _MAX_DATES:
            self._dates.clear()
        self._dates.add(date)
        return True
