"""The Content-Security-Policy of our pages: what they may load and run.

Rules: pure. A page loads nothing from elsewhere and runs what it embeds, by hashes, and files of
this site. Trusted Types turn a mistake with innerHTML into an error instead of a vulnerability. A
challenge widens the policy of the page that shows it, and of no other: proof of work by one named
policy for the address of its worker.
"""

from __future__ import annotations

_TRUSTED_TYPES = {
    "": "require-trusted-types-for 'script'; trusted-types 'none'; ",
    "work": "require-trusted-types-for 'script'; trusted-types gatekeeper-solver; ",
}


def content_policy(*, scripts: str = "", styles: str = "", frames: str, challenge: str = "") -> str:
    """The policy of a page that embeds `scripts` and `styles` and shows a `challenge`, if any."""
    return (
        f"default-src 'none'; script-src {_sources(scripts)}; style-src {_sources(styles)}; "
        "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        f"{_TRUSTED_TYPES[challenge]}frame-ancestors {frames}"
    )


def _sources(more: str) -> str:
    return f"'self' {more}" if more else "'self'"
