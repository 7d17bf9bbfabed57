"""Proof of work on the ALTCHA protocol: challenges for places in line, and their solutions.

Rules. Nothing is stored. The key of a challenge is derived from the signing secrets, the room, the
visitor and the place, so a solution confirms only this place, on every replica, and is idempotent.
The challenge expires with its ticket, so that slow clients have time.

A challenge is SHA-256(salt + number) and its signature, for a random number up to `maxnumber`. The
client tries the numbers from 0, so on average it computes half of them: `challenge_difficulty`
hashes. The salt with its longest number fits in one block of SHA-256.

`altcha` creates and verifies challenges, in version 1 of its protocol, which its widgets and
solvers of every language support. The payload is parsed here, strictly: the library accepts any
JSON, and uses the operating system's clock instead of the store's.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import math
import re
from datetime import UTC, datetime
from typing import Final, TypeGuard

import orjson
from altcha.v1 import ChallengeOptions, PayloadType, create_challenge, verify_solution

from gatekeeper.config.challenge_keys import MAX_DIFFICULTY
from gatekeeper.policy.numbers import is_exact_int
from gatekeeper.policy.tokens import Keyring, Ticket

ALGORITHM: Final = "SHA-256"
MAX_PAYLOAD_CHARACTERS: Final = 2048  # base64; ALTCHA's own widget sends about 400
# Hashes per second of the waiting page's solver on a slow phone: below what `make bench-challenge`
# measured at the strongest throttling (benchmarks/README.md).
PHONE_HASHES_PER_S: Final = 250_000
_PURPOSE: Final = b"gatekeeper challenge"
_SALT: Final = re.compile(r"[0-9a-f]{24}\?expires=([0-9]{1,12})&")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


def phone_seconds(difficulty: int) -> float:
    """The average computing time of the waiting page on a phone, seconds."""
    return difficulty / PHONE_HASHES_PER_S


class WorkChallenges:
    """Makes and verifies the challenges of one keyring."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def challenge(self, ticket: Ticket, *, difficulty: int) -> dict[str, object]:
        """A challenge for the place of this ticket, in ALTCHA's format."""
        made = create_challenge(
            ChallengeOptions(
                algorithm=ALGORITHM,
                max_number=2 * difficulty,
                hmac_key=self._keys(ticket)[0],
                expires=datetime.fromtimestamp(math.ceil(ticket.expires_at_s), UTC),
            )
        )
        return {
            "algorithm": made.algorithm,
            "challenge": made.challenge,
            "maxnumber": made.max_number,
            "salt": made.salt,
            "signature": made.signature,
        }

    def is_solved(self, payload: str, ticket: Ticket, *, now_s: float) -> bool:
        """Whether the payload (base64 of ALTCHA's JSON) solves a challenge for this place."""
        solution = _parsed(payload, now_s=now_s)
        if solution is None:
            return False
        return any(
            verify_solution(solution, key, check_expires=False)[0] for key in self._keys(ticket)
        )

    def _keys(self, ticket: Ticket) -> list[bytes]:
        """The keys of this place's challenges: the first signs, all verify."""
        place = f"{ticket.room}|{ticket.visitor}|{ticket.arrival_us}|{ticket.own_turn_us}".encode()
        keys = self._keyring.derived_keys(_PURPOSE)
        return [hmac.digest(key, place, "sha256") for key in keys]


def _parsed(payload: str, *, now_s: float) -> PayloadType | None:
    """The solution, if it has exactly the format of solutions of our challenges; else None."""
    if len(payload) > MAX_PAYLOAD_CHARACTERS:
        return None
    try:
        sent = orjson.loads(base64.b64decode(payload.encode("ascii"), validate=True))
    except (UnicodeEncodeError, binascii.Error, ValueError):
        return None
    if not isinstance(sent, dict) or sent.get("algorithm") != ALGORITHM:
        return None
    number = sent.get("number")
    if not is_exact_int(number) or not 0 <= number <= 2 * MAX_DIFFICULTY:
        return None
    salt, challenge, signature = sent.get("salt"), sent.get("challenge"), sent.get("signature")
    if not isinstance(salt, str) or not _is_hash(challenge) or not _is_hash(signature):
        return None
    spelled = _SALT.fullmatch(salt)
    if spelled is None or now_s >= int(spelled[1]):
        return None
    return {
        "algorithm": ALGORITHM,
        "challenge": challenge,
        "number": number,
        "salt": salt,
        "signature": signature,
    }


def _is_hash(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None
