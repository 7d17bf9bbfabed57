"""A public randomness beacon with drand's HTTP API: addresses, rounds and their times.

Rules. Pure. Responses are parsed strictly; a response that violates the API is a BeaconError. Round
1 is at the genesis time, and a round follows with every period (drand, `common/time.go`). The
randomness of a round is SHA-256 of its signature (`crypto.RandomnessFromSignature`); version 2 of
the API leaves it out. The signature itself, a BLS threshold signature of the beacon's operators, is
not verified here: the beacon is trusted by the TLS certificate of its address.

    version 1   {base}/info, {base}/public/{round}   {base} may end with a chain's hash
    version 2   {base}/info, {base}/rounds/{round}   {base} ends with /v2/chains/… or /v2/beacons/…
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gatekeeper.errors import GatekeeperError
from gatekeeper.policy.numbers import is_exact_int

MAX_RESPONSE_BYTES: Final = 16 * 1024  # drand's longest response has about 700
_MAX_PERIOD_S: Final = 86_400
_HASH: Final = re.compile(r"[0-9a-fA-F]{64}")
_SIGNATURE: Final = re.compile(r"(?:[0-9a-fA-F]{2}){1,512}")  # drand's have 48 or 96 bytes
_ENDPOINTS: Final = re.compile(r"/(?:info|(?:public|rounds)(?:/latest)?)?/*$")
_VERSION_2: Final = re.compile(r"/v2/(?:chains|beacons)/[^/?#]+$")


class BeaconError(GatekeeperError):
    """The beacon's response violates drand's API."""


@dataclass(frozen=True, slots=True)
class BeaconAddress:
    """The URLs of a beacon: the description of its chain, and its rounds."""

    base: str

    @property
    def info(self) -> str:
        return f"{self.base}/info"

    def round(self, number: int) -> str:
        folder = "rounds" if _VERSION_2.search(self.base) else "public"
        return f"{self.base}/{folder}/{number}"


@dataclass(frozen=True, slots=True)
class BeaconChain:
    """The times of a chain's rounds."""

    genesis_s: int  # seconds since the epoch, of round 1
    period_s: int

    def first_after(self, moment_us: int) -> int:
        """The first round later than `moment_us`, microseconds since the epoch."""
        if moment_us < self.genesis_s * 1_000_000:
            return 1
        return (moment_us - self.genesis_s * 1_000_000) // (self.period_s * 1_000_000) + 2

    def time_us(self, number: int) -> int:
        """When round `number`, at least 1, is published; microseconds since the epoch."""
        return (self.genesis_s + (number - 1) * self.period_s) * 1_000_000


@dataclass(frozen=True, slots=True)
class BeaconRound:
    """A round, and its 32 bytes of randomness."""

    number: int
    randomness: bytes


def address_of(url: str) -> BeaconAddress:
    """The addresses of the beacon at `url`: its base, with or without the path of an endpoint."""
    return BeaconAddress(_ENDPOINTS.sub("", url))


def parse_chain(body: bytes) -> BeaconChain:
    """Parse a response of `info`. Raises BeaconError for an invalid body."""
    fields = _object(body, "the chain's description")
    period_s, genesis_s = fields.get("period"), fields.get("genesis_time")
    if not is_exact_int(period_s) or not 1 <= period_s <= _MAX_PERIOD_S:
        raise BeaconError(f"the period is {_shown(period_s)}; expected seconds from 1 to a day")
    if not is_exact_int(genesis_s) or genesis_s < 1 or genesis_s > 2**33:
        raise BeaconError(f"the genesis time is {_shown(genesis_s)}; expected seconds since 1970")
    return BeaconChain(genesis_s, period_s)


def parse_round(body: bytes, *, expected: int) -> BeaconRound:
    """Parse a round. Raises BeaconError unless it is the `expected` one and its
    randomness is SHA-256 of its signature."""
    fields = _object(body, "the round")
    number = fields.get("round")
    if type(number) is not int or number != expected:
        raise BeaconError(f"round {_shown(number)} came instead of round {expected}")
    signature = fields.get("signature")
    if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
        raise BeaconError(f"the signature of round {expected} is not hexadecimal")
    randomness = hashlib.sha256(bytes.fromhex(signature)).digest()
    named = fields.get("randomness", randomness.hex())
    if not isinstance(named, str) or not _HASH.fullmatch(named):
        raise BeaconError(f"the randomness of round {expected} is not 64 hex digits")
    if bytes.fromhex(named) != randomness:
        raise BeaconError(f"the randomness of round {expected} is not SHA-256 of its signature")
    return BeaconRound(expected, randomness)


def _object(body: bytes, what: str) -> Mapping[str, Any]:
    if len(body) > MAX_RESPONSE_BYTES:
        raise BeaconError(f"{what} has more than {MAX_RESPONSE_BYTES} bytes")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BeaconError(f"{what} is not JSON") from error
    if not isinstance(value, dict):
        raise BeaconError(f"{what} is not a JSON object")
    return value


def _shown(value: object) -> str:
    return repr(value)[:40]
