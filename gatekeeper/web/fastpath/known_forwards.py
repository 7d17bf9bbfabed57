"""A cache of forwarded requests, keyed by their fields with or without the values that vary.

Rules. Between the requests of a browser, `Referer`, validators, trace ids and the cookies of
analytics change. These values decide nothing, unless a rule reads fields or cookies. So the outcome
for a block of fields is also cached without them, and without the gate's own cookies: when those
differ, they are read again. The removed values are checked by the grammar of `plain_head`, so that
the whole block is plain if the cached one was, and are inserted into the head for the origin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

from gatekeeper.policy.facts import Fact, no_fields
from gatekeeper.policy.routing import Route
from gatekeeper.policy.tokens import Pass
from gatekeeper.proxy.context import Fields, OnResponse
from gatekeeper.proxy.fastpath.repeat_filter import RepeatFilter
from gatekeeper.proxy.plain_head import IN_VALUES
from gatekeeper.proxy.response import ResponseHead
from gatekeeper.web.added_fields import added_fields
from gatekeeper.web.facts_reader import field_values
from gatekeeper.web.outcome import Admit
from gatekeeper.web.pass_uses import CountedPass
from gatekeeper.web.pipeline import Visit

# An entry of a block is about three times as large as the block, and one of a form twice. A
# browser's block has about 1 KB; one visitor can fill both caches, with 100 MB at most.
_MAX_BLOCKS: Final = 4096
_MAX_FORMS: Final = 8192
_MAX_BYTES: Final = 3072  # of a block that is kept
# The start of a line, and a value as in plain heads, but with any characters.
_VARIES: Final = re.compile(
    rb"(\r\n(?=[cirtx])(?:cookie|referer|if-none-match|if-modified-since|traceparent|x-request-id)"
    rb": )(?![\t ])([^\r]++)(?<![\t ])",
    re.IGNORECASE,
)
_VISITOR: Final = b"\r\nX-Gatekeeper-Visitor: %b\r\n"
_INITIAL: Final = 2  # of the name, in the start of a line; only Cookie has its initial
VARYING_FACTS: Final = Fact.FIELDS | Fact.COOKIES


@dataclass(eq=False, slots=True)  # not frozen: a frozen one takes three times as long to create
class KnownForward:
    """The outcome for a block of fields of one peer (a `ForwardPlan`)."""

    peer: str
    visit: Visit
    passes: Callable[[], bool]  # whether the pipeline would still forward it unchanged
    on_response: OnResponse
    rest: bytes
    keep_alive: bool
    is_ordinary: bool  # its request line was ordinary
    block: bytes
    host: str
    route: Route
    admit: Admit
    may_add: bool  # a new token
    own_cookies: frozenset[str]
    counted: CountedPass | None = None

    @property
    def visitor_line(self) -> bytes:
        """The field in `rest` that names the visitor. A client's own is never forwarded."""
        pass_ = self.admit.pass_
        return b"" if pass_ is None else _VISITOR % pass_.visitor.encode("ascii")

    def note_abandoned(self, *, seconds: float) -> None:
        tally = self.visit.origin_tally(self.admit)
        if tally is not None:
            tally.count_abandoned(seconds=seconds)

    def added(self, response: ResponseHead) -> Fields | None:
        return added_fields(self.visit, self.admit, response, own=self.own_cookies)


class VariedForward:
    """A request that differs from a known one only in values (a `ForwardPlan`)."""

    __slots__ = (
        "_block",
        "_cookie",
        "counted",
        "keep_alive",
        "known",
        "on_response",
        "own_cookies",
        "rest",
    )
    may_add: Final = False  # like every cached request

    def __init__(self, known: KnownForward, block: bytes, cookie: bytes, *, rest: bytes) -> None:
        """`cookie` is empty if it is in the key."""
        self.known = known
        self._block = block
        self.rest = rest
        self._cookie = cookie
        self.keep_alive = known.keep_alive
        self.on_response = known.on_response
        self.own_cookies = known.own_cookies
        self.counted = known.counted

    def note_abandoned(self, *, seconds: float) -> None:
        self.known.note_abandoned(seconds=seconds)

    def added(self, response: ResponseHead) -> Fields | None:
        return self.whole().added(response)

    def whole(self) -> KnownForward:
        """The same, as the outcome for exactly this block."""
        visit, block, cookie = self.known.visit, self._block, self._cookie
        facts = replace(
            visit.facts,
            cookies=(cookie.decode("utf-8", "surrogateescape"),) if cookie else visit.facts.cookies,
            fields=partial(field_values, b"\r\n" + block),
        )
        visit = replace(visit, facts=facts)
        return replace(self.known, visit=visit, rest=self.rest, block=block)


def passes_of(visit: Visit, token: Pass, counted: CountedPass | None) -> Callable[[], bool]:
    """Whether the pipeline would still forward a request with this pass unchanged."""
    passes = partial(visit.admission.forwards_unchanged, token, visit.held.by_header)
    return passes if counted is None else partial(_passes_if_free, counted, passes)


def _passes_if_free(counted: CountedPass, passes: Callable[[], bool]) -> bool:
    return counted.is_free() and passes()


# The block without its values, their number, and the peer. The number is negative if no cookie is
# left for the origin: a line whose value is empty is in the block as well.
_Key = tuple[bytes, int, str]
# The outcome of a known request with another Cookie; None: it is unknown.
Renewal = Callable[[KnownForward, bytes], KnownForward | None]


class _Form(NamedTuple):
    """The outcome for all blocks that differ only in values."""

    known: KnownForward  # without a block, its fields, and the head for the origin
    own: bytes  # the gate's cookies of the last one
    rest: bytes  # of the head for the origin, with `%b` for each value


class KnownForwards:
    """The most recent blocks and forms."""

    def __init__(self, own_cookies: Iterable[str]) -> None:
        names = [re.escape(name.encode("ascii")) for name in own_cookies]
        self._split_cookie = re.compile(rb"(;[\t ]*+(?:%b)=[^;]*+)" % b"|".join(names)).split
        shortest = [name for name in names if not any(n in name for n in names if n != name)]
        self._names_own = re.compile(b"|".join(shortest)).search  # a part of every name
        self._blocks: dict[bytes, KnownForward] = {}
        self._forms: dict[_Key, _Form] = {}
        self._repeats = RepeatFilter(_MAX_BLOCKS)
        self.whole = self._blocks.get  # the outcome for exactly this block, of any peer

    def __len__(self) -> int:
        return len(self._blocks)

    def varied(self, block: bytes, peer: str, renew: Renewal) -> VariedForward | None:
        """The outcome for a block that differs from a known one only in values; None: there is no
        such block, or `renew` returned None for other cookies of the gate."""
        cut = self._cut(block, peer) if self._forms else None
        if cut is None:
            return None
        key, values, cookie, own = cut
        form = self._forms.get(key)
        if form is None:
            return None
        is_small = len(block) <= _MAX_BYTES
        if own != form.own:
            is_plain = is_small and own.translate(None, IN_VALUES) == b""
            known = renew(form.known, cookie) if is_plain else None
            if known is None:
                return None
            before, after = form.known.visitor_line, known.visitor_line
            form = self._forms[key] = _Form(known, own, form.rest.replace(before, after))
        varied = VariedForward(form.known, block, cookie, rest=form.rest % values)
        if is_small and self._repeats.is_repeat(block):
            self._keep_whole(varied.whole())
        return varied

    def keep(self, known: KnownForward) -> None:
        """Cache the outcome for a plain block whose visitor received no new token."""
        if len(known.block) > _MAX_BYTES:
            return
        self._keep_whole(known)
        if known.visit.route.reads & VARYING_FACTS:
            return
        cut = self._cut(known.block, known.peer)
        if cut is None:
            return
        key, values, _, own = cut
        parts = _VARIES.split(known.rest)  # these lines are forwarded unchanged
        if len(parts) != 3 * len(values) + 1:
            return
        if len(self._forms) >= _MAX_FORMS:
            del self._forms[next(iter(self._forms))]
        parts = [part.replace(b"%", b"%%") for part in parts]
        parts[2::3] = [b"%b"] * len(values)
        visit = replace(known.visit, facts=replace(known.visit.facts, fields=no_fields))
        known = replace(known, visit=visit, block=b"", rest=b"")
        self._forms[key] = _Form(known, own, b"".join(parts))

    def _keep_whole(self, known: KnownForward) -> None:
        if len(self._blocks) >= _MAX_BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        self._blocks[known.block] = known

    def _cut(self, block: bytes, peer: str) -> tuple[_Key, tuple[bytes, ...], bytes, bytes] | None:
        """The key, the values for the origin, the Cookie, and the gate's part of it. None: there
        are no values, or one is not plain. A plain tuple, since it is created for each request."""
        parts = _VARIES.split(block)  # text, the start of a line, its value, text, and so on
        values = parts[2::3]
        cookie = own = b""
        for at, start in enumerate(parts[1::3]):
            if start[_INITIAL] not in b"Cc":
                continue
            if cookie:
                return None
            cookie = values[at]
            crumbs = self._split_cookie(b";" + cookie)  # text, a cookie of the gate, and so on
            own = b"".join(crumbs[1::2])
            values[at] = b"".join(crumbs[::2])[1:].strip(b"\t ")
            if self._names_own(values[at]) is not None:
                return None
        number = len(values)
        if cookie and b"" in values:  # the origin receives no Cookie
            values.remove(b"")
            number = -number
        if not values or b"".join(values).translate(None, IN_VALUES):
            return None
        del parts[2::3]
        return (b"".join(parts), number, peer), tuple(values), cookie, own
