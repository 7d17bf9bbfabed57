"""The format of the admin API's bearer tokens: what every client can send in `Authorization`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from gatekeeper.config.types import check_secret

# A field's value has no blanks at its ends (RFC 9110 section 5.5): a token with one never matches.
_SPELLING = re.compile(rb"[!-~](?:[ -~]*[!-~])?")


def check_bearer_token(token: bytes) -> None:
    """Raises ValueError for a token that is too short, or that clients cannot send."""
    check_secret(token)
    if _SPELLING.fullmatch(token) is None:
        raise ValueError(
            "has a blank or line break at an end, a control character or one beyond ASCII; "
            "expected visible ASCII (`gatekeeper secret` makes one)"
        )


def _bearer_token(token: str) -> str:
    check_bearer_token(token.encode())
    return token


def _optional_bearer_token(token: str) -> str:
    return token and _bearer_token(token)


BearerToken = Annotated[str, AfterValidator(_bearer_token)]
OptionalBearerToken = Annotated[str, AfterValidator(_optional_bearer_token)]
