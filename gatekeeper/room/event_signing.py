"""Signatures of the events between replicas, made with the secrets that sign the tokens.

Rules. Any client may connect to NATS; only a sender that knows a secret is trusted. The first
secret signs and all verify, so that the secrets of replicas can be rotated one after another. The
signature covers the subject, so that an event of one room is not accepted for another. A replayed
event has no effect: the newest state wins, and a revoked visitor stays revoked. It is a header of
the NATS message, so that the message itself is JSON that other tools can read:

    Gatekeeper-Signature: <key id> <HMAC-SHA256, base64url>
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from gatekeeper.policy.tokens import key_id

SIGNATURE = "Gatekeeper-Signature"
# A derived key, so that the signature of an event is never valid for a token.
_PURPOSE = b"gatekeeper events"


class EventSigner:
    """Signs and verifies events."""

    def __init__(self, secrets_: Sequence[bytes]) -> None:
        self.use(secrets_)

    def use(self, secrets_: Sequence[bytes]) -> None:
        """Replace the secrets."""
        self._keys = {
            key_id(secret): hmac.digest(secret, _PURPOSE, hashlib.sha256) for secret in secrets_
        }
        self._signing_id = key_id(secrets_[0])

    def sign(self, subject: str, body: bytes) -> dict[str, str]:
        """The headers of the event with this body, bound to `subject`."""
        return {
            SIGNATURE: f"{self._signing_id} {_mac(self._keys[self._signing_id], subject, body)}"
        }

    def verify(self, subject: str, body: bytes, headers: Mapping[str, str] | None) -> None:
        """Raises ValueError unless a known secret signed this body for `subject`."""
        id_, _, mac = str((headers or {}).get(SIGNATURE, "")).partition(" ")
        key = self._keys.get(id_)
        if key is None or not hmac.compare_digest(mac.encode(), _mac(key, subject, body).encode()):
            raise ValueError("no signature by a secret of this gate")


def _mac(key: bytes, subject: str, body: bytes) -> str:
    digest = hmac.digest(key, subject.encode() + b"\0" + body, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode()
