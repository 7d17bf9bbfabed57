"""The seal on what replicas tell each other: made with the secrets that sign the tokens.

Rules. Anyone may reach NATS; whoever knows a secret is one of us, and nobody else is listened to.
The first secret seals, all open, so they can be rotated one replica after another. The subject is
sealed in, so what was said of one room is believed of no other. What is heard twice does no harm:
the newest state wins, and who was revoked stays so.

    <key id> <HMAC-SHA256, base64url> <body>
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from gatekeeper.policy.tokens import key_id

_PURPOSE = b"gatekeeper events"  # a key of its own: no seal is a token's signature, nor the reverse


class EventSigner:
    """Closes and opens the bodies of events."""

    def __init__(self, secrets_: Sequence[bytes]) -> None:
        self._keys = {
            key_id(secret).encode(): hmac.digest(secret, _PURPOSE, hashlib.sha256)
            for secret in secrets_
        }
        self._sealing_id = key_id(secrets_[0]).encode()

    def close(self, subject: str, body: bytes) -> bytes:
        mac = _mac(self._keys[self._sealing_id], subject, body)
        return b" ".join((self._sealing_id, mac, body))

    def open(self, subject: str, data: bytes) -> bytes:
        """The body. Raises ValueError when none of us sealed it, for this subject."""
        id_, _, rest = data.partition(b" ")
        mac, _, body = rest.partition(b" ")
        key = self._keys.get(id_)
        if key is None or not hmac.compare_digest(mac, _mac(key, subject, body)):
            raise ValueError("not sealed with a secret of this gate")
        return body


def _mac(key: bytes, subject: str, body: bytes) -> bytes:
    digest = hmac.digest(key, subject.encode() + b"\0" + body, hashlib.sha256)
    return base64.urlsafe_b64encode(digest)
