"""The keys of `challenge*`: what a newcomer solves to be confirmed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator
from yarl import URL

from gatekeeper.config.problems import shown
from gatekeeper.config.section import KeyConflict

Challenge = Literal["off", "work", "turnstile", "hcaptcha"]
Noscript = Literal["wait", "refuse"]
MAX_DIFFICULTY: Final = 100_000_000  # average hashes

_WIDGETS: Final = ("turnstile", "hcaptcha")
_SITE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_MAX_URL_CHARACTERS: Final = 300


def _site_key(text: str) -> str:
    if text and _SITE_KEY.fullmatch(text) is None:
        raise ValueError(f"{shown(text)} is not a site key; expected the value from the provider")
    return text


def _verify_url(text: str) -> str:
    if not text:
        return ""
    try:
        url = URL(text)
        is_http = url.scheme in {"http", "https"} and bool(url.host)
    except ValueError:
        is_http = False
    if not is_http or url.user or url.fragment or len(text) > _MAX_URL_CHARACTERS:
        raise ValueError(
            f"{shown(text)} is not the address of a verifier; "
            'expected e.g. "https://challenges.cloudflare.com/turnstile/v0/siteverify"'
        )
    return text


SiteKey = Annotated[str, AfterValidator(_site_key)]
VerifyUrl = Annotated[str, AfterValidator(_verify_url)]


def challenge_conflicts(
    challenge: Challenge, *, site_key: str, secret_file: str, noscript: Noscript, template: str
) -> Iterator[KeyConflict]:
    """The conflicts between these keys of a room."""
    if challenge in _WIDGETS:
        for key, value in (
            ("challenge_site_key", site_key),
            ("challenge_secret_file", secret_file),
        ):
            if not value:
                missing = f'missing while challenge is "{challenge}"'
                problem = f"{missing}; expected the value from the provider"
                yield KeyConflict(("challenge", key), problem)
    if challenge != "off" and noscript == "refuse" and template.endswith(".mustache"):
        problem = (
            '"refuse" while the template is a page for Cloudflare, which shows no challenge; '
            'expected "wait"'
        )
        yield KeyConflict(("challenge", "template", "challenge_noscript"), problem)
