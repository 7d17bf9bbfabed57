"""The arithmetic of a draw: from a signing secret to the turn of every visitor.

Rules. Pure, and the same on every replica at any time. Bytes go in; bytes or whole microseconds
come out. Every step can be repeated with SHA-256 (FIPS 180-4) and HMAC (RFC 2104):

    secret      HMAC-SHA-256(signing secret, "room|event|announced_us"); secret until the start
    commitment  SHA-256(secret); public from the announcement on
    seed        SHA-256(secret || randomness of the beacon's round); without a beacon the secret
    id hash     SHA-256(visitor id); names a participant in public
    turn        start_us - span_us + HMAC-SHA-256(seed, id hash) mod span_us
    lane turn   first_us + HMAC-SHA-256(seed, id hash) mod span_us, of the lane's span

Without a beacon the seed is not SHA-256(secret): that is the commitment, so that every turn could
be computed from the announcement on.

The names of rooms and events contain no `|`, so that a message identifies one event. The modulo
bias is negligible: 2^256 numbers map to fewer than 2^53 turns, so the probabilities of two turns
differ by less than one part in 2^200.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple

_KEY_ID_BYTES = 8
_KEY_ID_PREFIX = b"draw key|"


def draw_secret(signing_secret: bytes, *, room: str, event: str, announced_us: int) -> bytes:
    """The secret of an event's draw, 32 bytes; it can be computed again after any loss of data.

    `announced_us` is the start as first announced, microseconds since the epoch: a delay keeps the
    secret, and a second event of the same name has another one.
    """
    message = f"{room}|{event}|{announced_us}".encode()
    return hmac.digest(signing_secret, message, "sha256")


def draw_key_id(signing_secret: bytes) -> str:
    """The id of the signing secret of a draw: 16 hex digits that reveal neither secret."""
    digest = hashlib.sha256(_KEY_ID_PREFIX + signing_secret).digest()
    return digest[:_KEY_ID_BYTES].hex()


def commitment_of(secret: bytes) -> str:
    """The commitment to a secret, published before the start: 64 hex digits."""
    return hashlib.sha256(secret).hexdigest()


def seed_of(secret: bytes, randomness: bytes = b"") -> bytes:
    """The seed of every turn, 32 bytes; `randomness` is that of the beacon's round, if any.

    Nothing that is public before the start determines it: without randomness it is the secret
    itself, since the hash of the secret is the published commitment.
    """
    return hashlib.sha256(secret + randomness).digest() if randomness else secret


def id_hash(visitor: str) -> bytes:
    """The public name of a participant, 32 bytes; it does not reveal the visitor id."""
    return hashlib.sha256(visitor.encode()).digest()


def participant_of(visitor: str, *, lane: str = "") -> str:
    """The line of a participant in the public list: the id hash in hex, and the lane if any."""
    hashed = id_hash(visitor).hex()
    return f"{hashed} {lane}" if lane else hashed


def drawn_turn_us(seed: bytes, visitor: str, *, start_us: int, span_us: int) -> int:
    """The drawn turn of a visitor: `start_us - span_us` ≤ turn < `start_us`.

    `span_us` is the length of the prequeue in microseconds, above 0.
    """
    return hashed_turn_us(seed, id_hash(visitor), start_us=start_us, span_us=span_us)


def hashed_turn_us(seed: bytes, hashed: bytes, *, start_us: int, span_us: int) -> int:
    """The drawn turn of the participant whose id hash is `hashed`; see `drawn_turn_us`."""
    return start_us - span_us + _number(seed, hashed) % span_us


def _number(seed: bytes, hashed: bytes) -> int:
    return int.from_bytes(hmac.digest(seed, hashed, "sha256"), "big")


class LaneSpan(NamedTuple):
    """The range of turns for the draw of one lane's visitors, before all other turns."""

    lane: str
    first_us: int
    span_us: int

    def turn_us(self, seed: bytes, hashed: bytes) -> int:
        """The drawn turn of the lane's participant whose id hash is `hashed`."""
        return self.first_us + _number(seed, hashed) % self.span_us

    @property
    def last_us(self) -> int:
        """The last of its turns."""
        return self.first_us + self.span_us - 1


def lane_spans(
    head_starts_us: Mapping[str, int], *, prequeue_us: int, released_us: int
) -> tuple[LaneSpan, ...]:
    """The spans of a room's lanes, the longest head start first. They end where the prequeue
    begins, and each begins its head start before that; if the longest does not fit after
    `released_us`, the highest turn of which a visitor was released, all shrink in proportion. Lanes
    with the same head start share a span."""
    steps_us = sorted({us for us in head_starts_us.values() if us > 0}, reverse=True)
    if not steps_us:
        return ()
    longest_us = steps_us[0]
    count = len(steps_us)
    room_us = max(min(longest_us, prequeue_us - released_us - count), count)
    offsets_us = [max(us * room_us // longest_us, 1) for us in steps_us]
    for at in range(count - 2, -1, -1):  # distinct, even if there is little room
        offsets_us[at] = max(offsets_us[at], offsets_us[at + 1] + 1)
    spans = {}
    for us, offset_us, next_us in zip(steps_us, offsets_us, [*offsets_us[1:], 0], strict=True):
        spans[us] = prequeue_us - offset_us, offset_us - next_us
    by_time = sorted(head_starts_us.items(), key=lambda lane: (-lane[1], lane[0]))
    return tuple(LaneSpan(lane, *spans[us]) for lane, us in by_time if us > 0)
