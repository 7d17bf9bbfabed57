"""`Clear-Site-Data` of the origin, without the loss of the visitor's token.

Rules. Pure. A browser clears cookies after it stored those of the same response, so no Set-Cookie
survives the directive (Chromium 156). The directive is therefore replaced: the cookies that the
request carried are deleted one by one, all but the gate's. Where that cannot be done in full (more
cookies than fit in a response head, or a name that cannot be written) the field stays as it is: the
origin's logout is worth more than a place. Cookies that the request did not carry, of another path
or a sibling host, are not deleted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from gatekeeper.policy.facts import Client
from gatekeeper.proxy.context import Fields

FIELD: Final = "Clear-Site-Data"
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token (RFC 9110 section 5.6.2)
_MOST_BYTES: Final = 3072  # of the fields added; proxies in front hold heads of 4 KiB
_MOST_DOMAINS: Final = 3
# All but "cookies"; a browser ignores those that it does not know.
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


def deletions(cookies: Sequence[str], client: Client, *, own: frozenset[str]) -> Fields | None:
    """The fields that delete the cookies in these `Cookie` values but the gate's `own`; None: that
    is not possible in full."""
    names = {name for value in cookies for name in _names(value)} - own
    if not all(_NAME.fullmatch(name) for name in names):
        return None
    is_secure = client.scheme == "https"
    domains = _domains(client.host)
    fields = tuple(
        (b"Set-Cookie", _deletion(name, domain, is_secure=is_secure))
        for name in sorted(names)
        for domain in ("", *domains)
        if not (domain and name.startswith("__Host-"))
    )
    return fields if sum(len(value) for _, value in fields) <= _MOST_BYTES else None


def _deletion(name: str, domain: str, *, is_secure: bool) -> bytes:
    of_domain = f"; Domain={domain}" if domain else ""
    secure = "; Secure" if is_secure else ""
    return f"{name}=; Max-Age=0{of_domain}; Path=/{secure}".encode("ascii")


def _directives(value: str) -> list[str]:
    return [each.strip() for each in value.split(",") if each.strip()]


def _names(cookies: str) -> Iterator[str]:
    for crumb in cookies.split(";"):
        name, equals, _ = crumb.partition("=")
        if equals and name.strip():
            yield name.strip()


def _domains(host: str) -> list[str]:
    """The domains that a cookie of this host can have. A browser refuses public suffixes."""
    name = host.partition(":")[0].lower().rstrip(".")
    labels = name.split(".")
    if host.startswith("[") or labels[-1].isdecimal():  # an address has no domain
        return []
    return [".".join(labels[at:]) for at in range(len(labels) - 1)][:_MOST_DOMAINS]
