"""The page of a visitor who went straight through confirms itself.

Rules. Pure. A new pass counts as confirmed once its visitor returns it. If the visitor opens no
other page, that would never happen, so the response asks the browser to load the status at once by
a preload: browsers fetch it before anything in the page, with the cookies of this response. Its
type is one that the page's Content-Security-Policy allows from its own origin, or the browser would
report a violation to the site. If the policy allows none, the response names an empty list of
speculation rules (HTML section 7.6.1): no directive restricts it, Chromium fetches it at once, and
other browsers ignore the field.

A 304 has no `Content-Type`, and need not repeat the policy of the cached page (RFC 9110 section
15.4.5). Browsers apply its new fields to the page. Without a policy it gets both fields: the first
for most pages, the second for those with a policy that forbids it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.proxy.context import Fields
from gatekeeper.proxy.response import ResponseHead

_HTML: Final = (b"text/html", b"application/xhtml+xml")
# The endpoint, the type of its preload, and the directive for that type with its fallbacks (CSP
# Level 3 section 6.8.3).
_KINDS: Final = (
    ("status", "fetch; crossorigin", ("connect-src", "default-src")),
    ("status", "image", ("img-src", "default-src")),
    ("confirm", "style", ("style-src-elem", "style-src", "default-src")),
    ("status", "font; crossorigin", ("font-src", "default-src")),
)
_FIRST_REDIRECT, _NOT_MODIFIED, _FIRST_ERROR = 300, 304, 400


def confirmation_field(facts: RequestFacts, room: RoomName, response: ResponseHead) -> Fields:
    """The fields by which this page confirms its visitor; empty if it is not a page."""
    if facts.method != "GET" or not _is_navigation(facts) or not _may_be_page(response):
        return ()
    fields = response.fields
    texts = [_text(line) for name, line in fields if name == b"content-security-policy"]
    policies = [_parsed(each) for text in texts for each in text.split(",") if each.strip()]
    if not all(map(_keeps_origin, policies)):
        return ()  # a sandboxed page has an opaque origin, without the cookie
    rules = (b"Speculation-Rules", f'"/.gatekeeper/confirm?room={room}"'.encode("ascii"))
    for name, kind, directives in _KINDS:
        if all(_allows_own_origin(policy, directives) for policy in policies):
            value = f"</.gatekeeper/{name}?room={room}>; rel=preload; as={kind}"
            link = (b"Link", value.encode("ascii"))
            is_policy_unknown = response.status == _NOT_MODIFIED and not policies
            return (link, rules) if is_policy_unknown else (link,)
    return (rules,)


def _is_navigation(facts: RequestFacts) -> bool:
    modes = facts.fields("Sec-Fetch-Mode")
    return list(modes) == ["navigate"] if modes else facts.accepts_html


def _may_be_page(response: ResponseHead) -> bool:
    if response.status == _NOT_MODIFIED:  # of a page that was opened before
        return True
    if _FIRST_REDIRECT <= response.status < _FIRST_ERROR:
        return False
    return any(name == b"content-type" and _is_html(line) for name, line in response.fields)


def _is_html(line: bytes) -> bool:
    value = line.partition(b":")[2].strip().lower()
    return value.partition(b";")[0].strip() in _HTML


def _text(line: bytes) -> str:
    return line.partition(b":")[2].decode("latin-1")


def _keeps_origin(policy: dict[str, list[str]]) -> bool:
    return "sandbox" not in policy or "allow-same-origin" in policy["sandbox"]


def _allows_own_origin(policy: dict[str, list[str]], directives: Iterable[str]) -> bool:
    """Whether a policy allows a page to load one of these types from its own origin."""
    sources = next((policy[each] for each in directives if each in policy), None)
    return sources is None or "'self'" in sources or "*" in sources


def _parsed(policy: str) -> dict[str, list[str]]:
    """Directives by name; the first of a name counts."""
    found: dict[str, list[str]] = {}
    for directive in policy.lower().split(";"):
        name, *values = directive.split() or [""]
        found.setdefault(name, values)
    return found
