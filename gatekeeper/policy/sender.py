"""Whether a request comes from another site, by the fields in which browsers report its sender.

Rules. Pure. `Sec-Fetch-Site: same-origin` is sufficient: a page with `Referrer-Policy: no-referrer`
sends `Origin: null` to itself. `none` means the visitor's own action, unless an `Origin`
contradicts it. Without it `Origin` decides, then `Referer`. A client that sends none of them is an
app. If there are several values, all have to be the site's own.

The scheme is part of an origin (RFC 6454 section 4): over TLS `http://` of the same host is
another. Without TLS both count as own, since a proxy that terminates TLS may not report it.
"""

from __future__ import annotations

import re
from typing import Final

from gatekeeper.policy.facts import RequestFacts

_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\\]*")
_DEFAULT_PORT: Final = {"http": ":80", "https": ":443"}


def is_from_another_site(facts: RequestFacts) -> bool:
    """Whether the fields name another origin as sender, or a malformed one."""
    sites = set(facts.fields("Sec-Fetch-Site"))
    if not sites <= {"same-origin", "none"}:
        return True
    if sites == {"same-origin"}:
        return False
    own = _own_origins(facts)
    origins = facts.fields("Origin")
    if origins or sites:
        return not own.issuperset(origins)
    return not own.issuperset(map(_origin_of, facts.fields("Referer")))


def _own_origins(facts: RequestFacts) -> set[str]:
    """The origins of this site as browsers write them, without a default port."""
    client = facts.client
    schemes = ("https",) if facts.is_secure else ("http", "https")
    return {
        f"{scheme}://{host.lower().removesuffix(_DEFAULT_PORT[scheme])}"
        for host in (client.host, client.forwarded_host)
        for scheme in schemes
        if host
    }


def _origin_of(address: str) -> str:
    match = _ORIGIN.match(address)
    return "" if match is None else match[0].lower()
