"""Decodes tokens without their key, and builds forged tokens from them.

Rules. No I/O. This module cannot distinguish genuine from forged tokens: only the gate can, and it
must refuse every token of `forgeries`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from gatekeeper.policy.reference import reference_of
from gatekeeper.policy.tokens import VisitorId

TICKET, PASS = "ticket+jwt", "pass+jwt"
_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Claims:
    """The unverified content of a token."""

    kind: str
    visitor: str
    arrival_us: int
    turn_us: int
    lane: str = ""


def claims_of(raw: str) -> Claims | None:
    """The claims of `raw`, or None when it is not a token of a gate."""
    parts = raw.split(".")
    if len(parts) != 3:
        return None
    header, payload = _json_of(parts[0]), _json_of(parts[1])
    kind, visitor, arrival_us = header.get("typ"), payload.get("sub"), payload.get("arr")
    if kind not in {TICKET, PASS} or not isinstance(visitor, str) or type(arrival_us) is not int:
        return None
    turn_us = payload.get("trn", arrival_us)
    lane = payload.get("lan", "")
    if type(turn_us) is not int or not isinstance(lane, str):
        return None
    return Claims(kind, visitor, arrival_us, turn_us, lane)


def is_same_visitor(sent: str | None, given: Claims | None, *, reference: str = "") -> bool:
    """Whether the gate accepted the visitor of a forged token: it must set a new one. A
    waiting response that sets none names its visitor by the `reference`."""
    forged = claims_of(sent) if sent is not None else None
    if given is None and forged is not None and reference:
        return reference == reference_of(VisitorId(forged.visitor))
    return given is None or (forged is not None and given.visitor == forged.visitor)


def forgeries(ticket: str, other: str) -> Iterator[str]:
    """Forged versions of `ticket`, in an endless cycle.

    An earlier arrival, signed with another key, unsigned, a pass instead of a ticket, the content
    of `other` (another visitor's genuine ticket), and truncated.
    """
    header, payload, signature = ticket.split(".")
    header_claims, payload_claims = _json_of(header), _json_of(payload)
    earlier = _text_of(
        payload_claims | {"arr": int(payload_claims.get("arr", 0)) - _HOUR_S * 1_000_000}
    )
    unsigned = _text_of({"typ": header_claims.get("typ"), "alg": "none"})
    as_pass = _text_of(header_claims | {"typ": PASS})
    until = payload_claims.get("exp", 0) + _HOUR_S
    admitted = _text_of(payload_claims | {"exp": until, "end": until})
    content_of_other = ".".join(other.split(".")[:2])
    return cycle(
        (
            f"{header}.{earlier}.{signature}",
            _signed(f"{header}.{earlier}"),
            f"{unsigned}.{earlier}.",
            f"{as_pass}.{payload}.{signature}",
            _signed(f"{as_pass}.{admitted}"),
            f"{content_of_other}.{signature}",
            ticket[:-8],
        )
    )


def _signed(content: str) -> str:
    signature = hmac.digest(b"a key that is not the gate's key", content.encode(), hashlib.sha256)
    return f"{content}.{_base64url(signature)}"


def _json_of(part: str) -> dict[str, Any]:
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text_of(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
