"""Which requests create a place in line, by method and Fetch Metadata.

Rules. Pure. A person's request creates a place: a navigation, a fetch of an app, or a GET of a
client that sends no Fetch Metadata. Requests that a browser makes by itself create none:
subresources, preflights, prefetches, and an `EventSource`, which reconnects whenever its stream
ends. A WebSocket creates none, since its script cannot read a waiting response; Chromium sends it
without any Sec-Fetch-*, and every handshake has `Upgrade` (RFC 6455 section 4.1). Browsers send no
metadata to a site over plain HTTP (Fetch Metadata section 2), and Safari before 16.4 sends none at
all: then pictures and style sheets are recognised by `Accept`, whose values every browser sends
(Fetch standard section 4.1), and the script of a service worker by `Service-Worker`, which browsers
also check by themselves (Service Workers section 6). Nor does a request that changes something,
since a waiting page cannot keep its body. An unknown case creates no place; so does a field with
two different values.

    method  Sec-Purpose   Sec-Fetch-Mode       Sec-Fetch-Dest                 creates a place
    GET     none          navigate             document, iframe …, empty, none     yes
    GET     none          any but websocket    empty                               yes
    GET     none          no Sec-Fetch-* at all                                    yes
    GET     none          no Sec-Fetch-*, with Accept: image/…, text/css …         no
    GET     none          no Sec-Fetch-*, with Service-Worker                      no
    GET     any           any, with Accept: text/event-stream                      no
    GET     any           any, with Upgrade: websocket                             no
    GET     none          any                  image, style, script, font …        no
    GET     any           any                  any                                 no
    others  any           any                  any                                 no

Sources: the W3C's Fetch Metadata Request Headers; the Fetch standard for `Sec-Purpose`, and the
older `Purpose` and `X-Purpose` of WebKit and Blink, and `X-Moz` of Gecko.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from gatekeeper.policy.facts import FieldLookup, RequestFacts, members_of

_METADATA: Final = (
    "Sec-Fetch-Mode",
    "Sec-Fetch-Dest",
    "Sec-Fetch-Site",
    "Sec-Fetch-User",
    "Sec-Fetch-Storage-Access",
)
_MODE, _DEST = _METADATA[:2]
_PURPOSE: Final = "Sec-Purpose"
_OLD_PURPOSES: Final = ("Purpose", "X-Purpose", "X-Moz")
_SPECULATIVE: Final = frozenset({"prefetch", "prerender", "preview", "instant"})
_NAVIGATED: Final = frozenset({"document", "iframe", "frame", "fencedframe", "embed", "object"})
_FETCHED: Final = "empty"
_EVENT_STREAM: Final = "text/event-stream"
_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})
_FILES: Final = re.compile(r"(?:image|video|audio|font)/.+|text/css")


def creates_place(facts: RequestFacts) -> bool:
    """Whether a request without a token makes its visitor a newcomer, with a place in line."""
    if facts.method != "GET" or _is_speculative(facts.fields) or is_event_stream(facts):
        return False
    if _is_websocket(facts.fields):
        return False
    modes, dests = _values(facts.fields(_MODE)), _values(facts.fields(_DEST))
    if not modes and not dests:
        return not any(facts.fields(name) for name in _METADATA) and not _is_file(facts)
    if len(modes) > 1 or len(dests) > 1:
        return False
    mode, dest = "".join(modes), "".join(dests)
    if mode == "navigate":
        return not dests or dest in _NAVIGATED or dest == _FETCHED
    return dest == _FETCHED and mode != "websocket"


def _is_file(facts: RequestFacts) -> bool:
    """Whether this requests a file of a page: it has `Service-Worker`, or `Accept` of a picture or
    a style sheet. For a navigation, browsers send these types only together with HTML."""
    if facts.fields("Service-Worker"):
        return True
    types = _values([facts.accept, *facts.fields("Accept")])
    return types.isdisjoint(_PAGES) and any(map(_FILES.fullmatch, types))


def _is_speculative(fields: FieldLookup) -> bool:
    """Whether a browser loads the response in case a person wants it later."""
    if any(_values(fields(_PURPOSE))):
        return True
    return any(not _SPECULATIVE.isdisjoint(_values(fields(name))) for name in _OLD_PURPOSES)


def _is_websocket(fields: FieldLookup) -> bool:
    """Whether `Upgrade` contains `websocket`, of any version, possibly with other protocols."""
    lines = fields("Upgrade")
    return any(name.partition("/")[0] == "websocket" for name in _members(lines))


def outlasts_admission(facts: RequestFacts) -> bool:
    """Whether the client determines the duration of the exchange: without a session it would be
    unlimited."""
    return is_event_stream(facts) or _is_websocket(facts.fields)


def is_event_stream(facts: RequestFacts) -> bool:
    """Whether this is an `EventSource` (HTML standard, section 9.2), of a page that is already
    shown. It stops at any other status than 200, and at any other type."""
    return _EVENT_STREAM in _values([facts.accept, *facts.fields("Accept")])


def _values(lines: Sequence[str]) -> frozenset[str]:
    """The different members of a field, in lower case and without parameters."""
    return frozenset(_members(lines))


def _members(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        for member in members_of(line):
            yield member.partition(";")[0].strip().lower()
