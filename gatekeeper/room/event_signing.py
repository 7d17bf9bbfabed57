"""Signatures of the events between replicas, made with the secrets that sign the tokens.

Rules. Any client may reach NATS; only a sender that knows a secret is trusted. The first secret
signs and all verify, so that replicas can be rotated one after another. The signature covers the
subject, so that an event of one room is not accepted for another. A replayed event does no harm:
the newest state wins, and a revoked visitor stays revoked.

    <key id> <HMAC-SHA256, base64url> <body>
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from gatekeeper.policy.tokens import key_id

_PURPOSE = b"gatekeeper events"  # a key of its own: no event's signature is that of a token


class EventSigner:
    """Signs and verifies the bodies of events."""

    def __init__(self, secrets_: Sequence[bytes]) -> None:
        self.use(secrets_)

    def use(self, secrets_: Sequence[bytes]) -> None:
        """Other secrets from now on."""
        self._keys = {
            key_id(secret).encode(): hmac.digest(secret, _PURPOSE, hashlib.sha256)
            for secret in secrets_
        }
        self._signing_id = key_id(secrets_[0]).encode()

    def sign(self, subject: str, body: bytes) -> bytes:
        """The event for `body`, bound to `subject`."""
        mac = _mac(self._keys[self._signing_id], subject, body)
        return b" ".join((self._signing_id, mac, body))

    def verify(self, subject: str, data: bytes) -> bytes:
        """The body of an event; raises ValueError unless a known secret signed it for `subject`."""
        id_, _, rest = data.partition(b" ")
        mac, _, body = rest.partition(b" ")
        key = self._keys.get(id_)
        if key is None or not hmac.compare_digest(mac, _mac(key, subject, body)):
            raise ValueError("no signature by a secret of this gate")
        return body


def _mac(key: bytes, subject: str, body: bytes) -> bytes:
    digest = hmac.digest(key, subject.encode() + b"\0" + body, hashlib.sha256)
    return base64.urlsafe_b64encode(digest)
