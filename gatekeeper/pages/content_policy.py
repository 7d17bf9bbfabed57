"""The Content-Security-Policy of our pages.

Rules: pure. A page loads only from this site, and runs its embedded scripts, by hashes, and files
of this site. Trusted Types turn a mistake with innerHTML into an error instead of a vulnerability.
A waiting page has one named Trusted Types policy, for the URL of the worker that shows
notifications. A challenge widens only the policy of the page that shows it: proof of work by a
second named policy, for the URL of its worker; a provider's widget by the origins that the provider
documents, and without Trusted Types, which its script does not support.
"""

from __future__ import annotations

from typing import Final

_TURNSTILE: Final = " https://challenges.cloudflare.com"
_HCAPTCHA: Final = " https://hcaptcha.com https://*.hcaptcha.com"
_SOLVER: Final = "gatekeeper-solver"
_NOTIFIER: Final = "gatekeeper-notifier"
_TRUSTED: Final = "require-trusted-types-for 'script'; trusted-types {}; "


def content_policy(*, scripts: str = "", styles: str = "", frames: str, challenge: str = "") -> str:
    """The policy of a page that embeds `scripts` and `styles` and shows a `challenge`, if any."""
    widget = {"turnstile": _TURNSTILE, "hcaptcha": _HCAPTCHA}.get(challenge, "")
    more = _HCAPTCHA if challenge == "hcaptcha" else ""  # Turnstile only needs a frame
    if widget:
        trusted = f"frame-src{widget}; "
    else:
        names = _NOTIFIER if scripts else "'none'"
        trusted = _TRUSTED.format(f"{_SOLVER} {names}" if challenge == "work" else names)
    return (
        f"default-src 'none'; script-src {_sources(scripts)}{widget}; "
        f"style-src {_sources(styles)}{more}; img-src 'self' data:; connect-src 'self'{more}; "
        f"form-action 'self'; base-uri 'none'; {trusted}frame-ancestors {frames}"
    )


def _sources(more: str) -> str:
    return f"'self' {more}" if more else "'self'"
