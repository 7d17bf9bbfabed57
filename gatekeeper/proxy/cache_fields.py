"""The cacheability of a response, and how the gate removes it.

Rules: pure. A response that carries a visitor's token, or deletes one, is `private, no-store`: a
cache in front of the gate may ignore `Set-Cookie`, and it stores `X-Queue-Token` like any field.
All fields that some cache prefers to `Cache-Control` are removed too. Tags (`Cache-Tag`,
`Surrogate-Key`) and validators stay: they do not make a response storable.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Final

from gatekeeper.proxy.response import ResponseHead

# RFC 9213: a targeted field is `Cache-Control` with the name of its caches before it, and each
# cache selects its own names (CDN-, Cloudflare-CDN-, Akamai-, X-LiteSpeed- …). Then what nginx,
# Akamai and Edge Architecture read before `Cache-Control`.
_CDN_NAMES: Final = rb"[!-9;-~]+-cache-control|surrogate-control|edge-control|x-accel-expires"
_CACHE_FIELDS: Final = re.compile(
    rb"\r\n(?:cache-control|expires|pragma|" + _CDN_NAMES + rb"):[^\r]*", re.IGNORECASE
)
_READ: Final = re.compile(
    rb"\r\n(cache-control|content-type|date|expires|last-modified|set-cookie|" + _CDN_NAMES + rb")"
    rb":([^\r]*)",
    re.IGNORECASE,
)
_NOT_CDN: Final = frozenset(
    {b"cache-control", b"content-type", b"date", b"expires", b"last-modified", b"set-cookie"}
)
_PRIVATE: Final = b"\r\nCache-Control: private, no-store"
_NOT_SHARED: Final = frozenset({b"private", b"no-store", b"no-cache"})
_CACHED_METHODS: Final = frozenset({"GET", "HEAD"})
_NOT_MODIFIED: Final = 304
# RFC 9110 section 15.1: statuses that a cache may keep without an explicit lifetime.
_HEURISTIC: Final = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
# File types that CDNs cache by default.
_STATIC_TYPE: Final = re.compile(
    rb"\s*(?:(?:image|font|video|audio)/|text/css|(?:text|application)/javascript"
    rb"|application/(?:wasm|pdf|zip|font|vnd\.ms-fontobject))",
    re.IGNORECASE,
)


def made_private(lines: bytes) -> bytes:
    """Replace the cache fields of a response head, so that no cache stores the response."""
    return _CACHE_FIELDS.sub(b"", lines) + _PRIVATE


def is_publicly_cacheable(response: ResponseHead, *, method: str) -> bool:
    """Whether a shared cache would store this response (RFC 9111 sections 3 and 4.2.2).

    If caches differ, the result is true for `public` and for files, false for documents.
    """
    if method not in _CACHED_METHODS:
        return False
    values: dict[bytes, list[bytes]] = {}
    for name, value in _READ.findall(response.lines):
        values.setdefault(name.lower(), []).append(value)
    fields = {name: b",".join(each) for name, each in values.items()}
    if any(_lets_share(name, value) for name, value in fields.items() if name not in _NOT_CDN):
        return True
    directives = _directives(fields.get(b"cache-control", b""))
    if not _NOT_SHARED.isdisjoint(directives):
        return False
    if b"public" in directives or _is_positive(directives.get(b"s-maxage")):
        return True
    if b"set-cookie" in fields:  # most caches do not store it without `public`
        return False
    if b"s-maxage" in directives or b"max-age" in directives:
        return b"s-maxage" not in directives and _is_positive(directives[b"max-age"])
    if b"expires" in fields:
        return _is_later(fields[b"expires"], than=fields.get(b"date", b""))
    if response.status == _NOT_MODIFIED:  # of a response that a cache may hold
        return True
    return response.status in _HEURISTIC and (
        b"last-modified" in fields
        or _STATIC_TYPE.match(fields.get(b"content-type", b"")) is not None
    )


def _lets_share(name: bytes, value: bytes) -> bool:
    """Whether a targeted field allows its caches to store the response."""
    if name == b"x-accel-expires":  # seconds, or `@` and a time; 0 is never
        return value.strip() != b"0"
    return _NOT_SHARED.isdisjoint(_directives(value)) and value.strip() != b""


def _directives(value: bytes) -> dict[bytes, bytes | None]:
    """The directives by name. `no-cache="Set-Cookie"` limits one field, and is left out."""
    found: dict[bytes, bytes | None] = {}
    for part in value.lower().split(b","):
        name, has_value, text = part.strip().partition(b"=")
        if name in _NOT_SHARED and has_value:
            continue
        found[name] = text.strip(b'" \t') if has_value else None
    return found


def _is_positive(seconds: bytes | None) -> bool:
    return seconds is not None and seconds.isdigit() and seconds.strip(b"0") != b""


def _is_later(expires: bytes, *, than: bytes) -> bool:
    """RFC 9111 section 5.3: a malformed date, such as `0`, is in the past."""
    dates = [_seconds(text) for text in (expires, than)]
    return dates[0] is not None and dates[1] is not None and dates[0] > dates[1]


def _seconds(text: bytes) -> float | None:
    try:
        return parsedate_to_datetime(text.decode("latin-1").strip()).timestamp()
    except (ValueError, OverflowError):
        return None
