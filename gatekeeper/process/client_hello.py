"""Refuses ClientHello messages with a key share of finite-field Diffie-Hellman.

Rules. OpenSSL accepts the groups ffdhe2048 to ffdhe8192 in TLS 1.3 from a client that offers them,
and Python cannot restrict the groups. One exchange of 8192 bits takes the event loop about 50 times
as long as one with X25519, while the client computes nothing. No browser sends such a share,
and Mozilla's intermediate configuration has none of these groups. So each ClientHello is parsed
before OpenSSL receives its last byte, also after a HelloRetryRequest and across any split into
records. A malformed one is left to OpenSSL. Each byte is copied once, and the memory is bounded.
"""

from __future__ import annotations

import struct
from typing import Final

_HANDSHAKE, _APPLICATION_DATA = 22, 23  # types of records (RFC 8446 section 5.1)
_RECORD_HEAD: Final = 5
_MESSAGE_HEAD: Final = 4
_CLIENT_HELLO: Final = 1
_KEY_SHARE: Final = 51
_BEFORE_SESSION_ID: Final = 2 + 32  # the version and the random of a hello
_FINITE_FIELD = range(0x0100, 0x0200)  # RFC 7919 section 2
_PAIR: Final = struct.Struct(">HH")  # the type of an extension or the group of a share, and a size
MAX_HANDSHAKE_BYTES: Final = 1 << 15  # of a client; a browser's hello has up to 2 KB


class ClientHellos:
    """The ClientHello messages of one connection, until its handshake is done."""

    __slots__ = ("_is_over", "_messages", "_records")

    def __init__(self) -> None:
        self._records = bytearray()  # incomplete
        self._messages = bytearray()
        self._is_over = False

    def is_refused(self, received: bytes) -> bool:
        """Add received bytes; whether a ClientHello is to be refused."""
        if self._is_over or not received:
            return False
        records, at = self._records, 0
        records += received
        while len(records) - at >= _RECORD_HEAD:
            kind, size = records[at], int.from_bytes(records[at + 3 : at + 5], "big")
            if kind == _APPLICATION_DATA:  # from here on everything is encrypted
                self._is_over = True
                break
            if len(records) - at < _RECORD_HEAD + size:
                break
            if kind == _HANDSHAKE:
                self._messages += records[at + _RECORD_HEAD : at + _RECORD_HEAD + size]
            at += _RECORD_HEAD + size
        del records[: len(records) if self._is_over else at]
        if len(records) + len(self._messages) > MAX_HANDSHAKE_BYTES:
            return True
        return self._has_finite_field_share()

    def _has_finite_field_share(self) -> bool:
        """Check the complete messages, and drop them."""
        messages = self._messages
        while len(messages) >= _MESSAGE_HEAD:
            end = _MESSAGE_HEAD + int.from_bytes(messages[1:_MESSAGE_HEAD], "big")
            if len(messages) < end:
                return False
            kind, message = messages[0], bytes(messages[_MESSAGE_HEAD:end])
            del messages[:end]
            groups = _groups_of_key_shares(message) if kind == _CLIENT_HELLO else []
            # A key of any length counts: OpenSSL does not compare it with the length for the group.
            if any(group in _FINITE_FIELD for group in groups):
                return True
        return False


def _groups_of_key_shares(hello: bytes) -> list[int]:
    """RFC 8446 sections 4.1.2 and 4.2.8. For a malformed hello, the groups before the error."""
    at = _BEFORE_SESSION_ID
    for width in (1, 2, 1):  # session id, cipher suites, compression methods
        at += width + int.from_bytes(hello[at : at + width], "big")
    at += 2
    unpack_from, pair_size = _PAIR.unpack_from, _PAIR.size  # runs ten times per handshake
    last = len(hello) - pair_size
    while at <= last:
        kind, size = unpack_from(hello, at)
        at += pair_size
        if kind == _KEY_SHARE:
            return _groups(hello[at + 2 : at + size])
        at += size
    return []


def _groups(shares: bytes) -> list[int]:
    groups, at, last = [], 0, len(shares) - _PAIR.size
    while at <= last:
        group, size = _PAIR.unpack_from(shares, at)
        groups.append(group)
        at += _PAIR.size + size
    return groups
