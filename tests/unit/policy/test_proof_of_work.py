"""Challenges of the ALTCHA protocol: valid solutions, and invalid ones."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from altcha.v1 import ChallengeOptions, create_challenge

from gatekeeper.config.challenge_keys import MAX_DIFFICULTY
from gatekeeper.config.types import RoomName
from gatekeeper.policy.proof_of_work import (
    MAX_PAYLOAD_CHARACTERS,
    WorkChallenges,
    phone_seconds,
)
from gatekeeper.policy.tokens import Keyring, Ticket, VisitorId
from tests.altcha_solver import payload_of, solve
from tests.builders import SECRET

NOW_S = 1_800_000_000.0
OTHER_SECRET = b"another secret of the tests, longer than 32 bytes"
WORK = WorkChallenges(Keyring([SECRET]))
TICKET = Ticket(
    RoomName("sale"),
    VisitorId("v" * 22),
    arrival_us=round(NOW_S * 1e6),
    issued_at_s=NOW_S,
    expires_at_s=NOW_S + 7200.5,
    confirmed=False,
)
DIFFICULTY = 200


def is_solved(payload: str, ticket: Ticket = TICKET, *, now_s: float = NOW_S) -> bool:
    return WORK.is_solved(payload, ticket, now_s=now_s)


SOLVED = solve(WORK.challenge(TICKET, difficulty=DIFFICULTY))


def test_solution_by_altchas_own_library_is_accepted() -> None:
    assert is_solved(payload_of(SOLVED))
    assert is_solved(payload_of(SOLVED)), "for the same place, however often"


def test_challenge_has_the_form_of_altcha_and_hides_the_number() -> None:
    challenge = WORK.challenge(TICKET, difficulty=DIFFICULTY)
    assert challenge.keys() == {"algorithm", "challenge", "maxnumber", "salt", "signature"}
    assert challenge["maxnumber"] == 2 * DIFFICULTY
    assert f"?expires={round(NOW_S) + 7201}&" in str(challenge["salt"])
    assert challenge != WORK.challenge(TICKET, difficulty=DIFFICULTY)


def test_average_number_of_hashes_is_the_difficulty() -> None:
    numbers = [solve(WORK.challenge(TICKET, difficulty=50))["number"] for _ in range(400)]
    assert 40 < sum(numbers) / len(numbers) < 60
    assert max(numbers) <= 100


def test_salt_with_the_longest_number_fits_one_block() -> None:
    """The solver of the page computes one block for each number."""
    salt = str(WORK.challenge(TICKET, difficulty=MAX_DIFFICULTY)["salt"])
    assert len(salt + str(2 * MAX_DIFFICULTY)) <= 55


@pytest.mark.parametrize(
    "other",
    [
        replace(TICKET, visitor=VisitorId("w" * 22)),
        replace(TICKET, room=RoomName("other")),
        replace(TICKET, arrival_us=TICKET.arrival_us + 1),
        replace(TICKET, own_turn_us=TICKET.arrival_us - 5),
    ],
    ids=["visitor", "room", "place", "turn"],
)
def test_solution_for_another_place_is_refused(other: Ticket) -> None:
    assert not is_solved(payload_of(SOLVED), other)
    assert is_solved(payload_of(solve(WORK.challenge(other, difficulty=DIFFICULTY))), other)


def test_expired_solution_is_refused() -> None:
    assert is_solved(payload_of(SOLVED), now_s=NOW_S + 7200)
    assert not is_solved(payload_of(SOLVED), now_s=NOW_S + 7201)


def _forged(salt: str) -> dict[str, Any]:
    """A challenge that a client made and solved itself. The number of the gate is random."""
    number = SOLVED["number"] + 1
    challenge = hashlib.sha256(f"{salt}{number}".encode()).hexdigest()
    return SOLVED | {"salt": salt, "number": number, "challenge": challenge}


def _signed_by_another_key() -> dict[str, Any]:
    made = create_challenge(ChallengeOptions(hmac_key="guessed", max_number=1, number=0))
    return SOLVED | {"challenge": made.challenge, "signature": made.signature, "number": 0}


def _later() -> dict[str, Any]:
    salt = SOLVED["salt"].replace(f"expires={round(NOW_S) + 7201}", f"expires={round(NOW_S) * 2}")
    return SOLVED | {"salt": salt}


ALTERED: dict[str, Callable[[], object]] = {
    "number": lambda: SOLVED | {"number": SOLVED["number"] + 1},
    "number 0": lambda: SOLVED | {"number": 0} if SOLVED["number"] else SOLVED | {"number": 1},
    "number as text": lambda: SOLVED | {"number": str(SOLVED["number"])},
    "number as float": lambda: SOLVED | {"number": float(SOLVED["number"])},
    "number true": lambda: SOLVED | {"number": True},
    "negative": lambda: SOLVED | {"number": -1},
    "huge": lambda: SOLVED | {"number": 10**400},
    "salt": lambda: SOLVED | {"salt": "0" * 24 + SOLVED["salt"][24:]},
    "later expiry": _later,
    "two expiries": lambda: SOLVED | {"salt": SOLVED["salt"] + "expires=9999999999&"},
    "no delimiter": lambda: SOLVED | {"salt": SOLVED["salt"][:-1]},
    "digit moved to the salt": lambda: SOLVED | {"salt": SOLVED["salt"] + "1"},
    "own challenge": lambda: _forged(SOLVED["salt"]),
    "own salt": lambda: _forged("0" * 24 + "?expires=9999999999&"),
    "other key": _signed_by_another_key,
    "challenge": lambda: SOLVED | {"challenge": "0" * 64},
    "signature": lambda: SOLVED | {"signature": "0" * 64},
    "signature in capitals": lambda: SOLVED | {"signature": SOLVED["signature"].upper()},
    "no signature": lambda: {key: SOLVED[key] for key in SOLVED if key != "signature"},
    "signature null": lambda: SOLVED | {"signature": None},
    "SHA-1": lambda: SOLVED | {"algorithm": "SHA-1"},
    "another algorithm": lambda: SOLVED | {"algorithm": "sha-256"},
    "a list": lambda: [SOLVED],
    "a text": lambda: "SOLVED",
    "nothing": lambda: None,
}


@pytest.mark.parametrize("name", ALTERED)
def test_altered_solution_is_refused(name: str) -> None:
    assert not is_solved(payload_of(ALTERED[name]()))


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "=",
        "no base64!",
        payload_of(SOLVED) + "\n",
        " " + payload_of(SOLVED),
        payload_of(SOLVED)[:-4],
        base64.b64encode(b"\xff\xfe").decode(),
        base64.b64encode(b'{"a":' * 400).decode(),
        payload_of(SOLVED | {"more": "x" * MAX_PAYLOAD_CHARACTERS}),
        "é" * 20,
        json.dumps(SOLVED),
    ],
)
def test_payload_that_is_no_base64_of_json_is_refused(payload: str) -> None:
    assert not is_solved(payload)


def test_solution_survives_a_rotation_but_no_removed_secret() -> None:
    """The first secret signs, all secrets verify; also a secret that another worker already signs
    with."""
    solution = payload_of(SOLVED)
    rotated = WorkChallenges(Keyring([OTHER_SECRET, SECRET]))
    assert rotated.is_solved(solution, TICKET, now_s=NOW_S)
    keyring = Keyring([OTHER_SECRET])
    assert not WorkChallenges(keyring).is_solved(solution, TICKET, now_s=NOW_S)
    keyring.accept([SECRET])
    assert WorkChallenges(keyring).is_solved(solution, TICKET, now_s=NOW_S)
    keyring.accept(())
    assert not WorkChallenges(keyring).is_solved(solution, TICKET, now_s=NOW_S)


def test_replicas_with_one_secret_accept_each_others_challenges() -> None:
    other = WorkChallenges(Keyring([SECRET]))
    solution = solve(other.challenge(TICKET, difficulty=DIFFICULTY))
    assert is_solved(payload_of(solution))


def test_seconds_on_a_phone_grow_with_the_difficulty() -> None:
    assert 0 < phone_seconds(50_000) < phone_seconds(500_000)
