"""`Clear-Site-Data` of the origin, without the loss of the visitor's token.

Rules. Pure. A browser clears cookies after storing those of the same response, so no Set-Cookie
survives the directive (Chromium 156). The directive is therefore replaced: the cookies of the
request are deleted one by one, except for the gate's, by their names in the request. A name may be
any text that browsers accept (`a[b]` of PHP, a blank, UTF-8). Deletions that do not fit in a
response head are left out; the directive itself is never forwarded, so that no visitor loses the
pass. Cookies that the request did not carry, of another path or a sibling host, are not deleted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from gatekeeper.policy.facts import Client
from gatekeeper.proxy.context import Fields

FIELD: Final = "Clear-Site-Data"
# Browsers accept more than a token (RFC 6265bis section 5.6): all except controls, "=" and ";".
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f;=]+")
_MAX_BYTES: Final = 3072  # of the added fields; proxies in front buffer heads of 4 KiB
_MAX_DOMAINS: Final = 3
# All except "cookies"; a browser ignores unknown ones.
_ALL: Final = (
    '"cache", "clientHints", "executionContexts", "prefetchCache", "prerenderCache", "storage"'
)


def clears_cookies(value: str) -> bool:
    """Whether the value of `Clear-Site-Data` clears cookies."""
    return not {'"cookies"', '"*"'}.isdisjoint(_directives(value))


def without_cookies(value: str) -> str:
    """The value without clearing cookies; "" when nothing else is cleared."""
    directives = _directives(value)
    if '"*"' in directives:
        return _ALL
    return ", ".join(each for each in directives if each != '"cookies"')


def deletions(cookies: Sequence[str], client: Client, *, own: frozenset[str]) -> Fields:
    """The fields that delete the cookies in these `Cookie` values except for the gate's `own`:
    those of the host first, as many as fit."""
    names = sorted({name for value in cookies for name in _names(value)} - own)
    is_secure = client.scheme == "https"
    fields: list[tuple[bytes, bytes]] = []
    left = _MAX_BYTES
    for domain in ("", *_domains(client.host)):
        for name in names:
            if domain and name.startswith("__Host-"):
                continue
            deletion = _deletion(name, domain, is_secure=is_secure)
            if len(deletion) <= left:
                left -= len(deletion)
                fields.append((b"Set-Cookie", deletion))
    return tuple(fields)


def _deletion(name: str, domain: str, *, is_secure: bool) -> bytes:
    of_domain = f"; Domain={domain}" if domain else ""
    secure = "; Secure" if is_secure else ""
    deletion = f"{name}=; Max-Age=0{of_domain}; Path=/{secure}"
    return deletion.encode("utf-8", "surrogateescape")  # as `facts_reader` decoded it


def _directives(value: str) -> list[str]:
    return [each.strip() for each in value.split(",") if each.strip()]


def _names(cookies: str) -> Iterator[str]:
    for crumb in cookies.split(";"):
        text, equals, _ = crumb.partition("=")
        name = text.strip(" \t")
        if equals and _NAME.fullmatch(name):
            yield name


def _domains(host: str) -> list[str]:
    """The domains that a cookie of this host can have. A browser refuses public suffixes."""
    name = host.partition(":")[0].lower().rstrip(".")
    labels = name.split(".")
    if host.startswith("[") or labels[-1].isdecimal():  # an address has no domain
        return []
    return [".".join(labels[at:]) for at in range(len(labels) - 1)][:_MAX_DOMAINS]
