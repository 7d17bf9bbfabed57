"""The page of a visitor who walked straight in confirms itself.

Rules. Pure. A new pass counts as confirmed once its visitor returned it. A page whose visitor opens
nothing else would never do that, so its response asks the browser to load the status at once: a
preload, since browsers fetch it before anything in the page, with the cookies of this response. A
page whose Content-Security-Policy allows neither a fetch nor an image of its own origin is left
alone: the browser would report a violation to the site.
"""

from __future__ import annotations

from typing import Final

from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.proxy.context import Fields
from gatekeeper.proxy.response import ResponseHead

_HTML: Final = (b"text/html", b"application/xhtml+xml")
_KINDS: Final = (("connect-src", "fetch; crossorigin"), ("img-src", "image"))
_FIRST_REDIRECT, _FIRST_ERROR = 300, 400


def confirmation_link(facts: RequestFacts, room: RoomName, response: ResponseHead) -> Fields:
    """The field that lets this page confirm its visitor; none if it is no page."""
    if facts.method != "GET" or not _is_navigation(facts):
        return ()
    if _FIRST_REDIRECT <= response.status < _FIRST_ERROR:
        return ()
    fields = response.fields
    if not any(name == b"content-type" and _is_html(line) for name, line in fields):
        return ()
    policies = [_text(line) for name, line in fields if name == b"content-security-policy"]
    for directive, kind in _KINDS:
        if all(_allows_own_origin(policy, directive) for policy in policies):
            link = f"</.gatekeeper/status?room={room}>; rel=preload; as={kind}"
            return ((b"Link", link.encode("ascii")),)
    return ()


def _is_navigation(facts: RequestFacts) -> bool:
    modes = facts.fields("Sec-Fetch-Mode")
    return list(modes) == ["navigate"] if modes else facts.accepts_html


def _is_html(line: bytes) -> bool:
    value = line.partition(b":")[2].strip().lower()
    return value.partition(b";")[0].strip() in _HTML


def _text(line: bytes) -> str:
    return line.partition(b":")[2].decode("latin-1")


def _allows_own_origin(policies: str, directive: str) -> bool:
    """Whether policies (a list, CSP Level 3 section 4.1) let a page load this from its origin."""
    return all(
        _policy_allows(_parsed(policy), directive)
        for policy in policies.split(",")
        if policy.strip()
    )


def _policy_allows(policy: dict[str, list[str]], directive: str) -> bool:
    if "sandbox" in policy and "allow-same-origin" not in policy["sandbox"]:
        return False  # its own origin is another one then, without the cookie
    sources = policy.get(directive, policy.get("default-src"))
    return sources is None or "'self'" in sources or "*" in sources


def _parsed(policy: str) -> dict[str, list[str]]:
    """Directives by name; the first of a name counts."""
    found: dict[str, list[str]] = {}
    for directive in policy.lower().split(";"):
        name, *values = directive.split() or [""]
        found.setdefault(name, values)
    return found
