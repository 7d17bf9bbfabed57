"""The record of a draw: its JSON, invalid records, and every way in which a draw can be wrong."""

import hashlib
import hmac
from typing import Any

import pytest

from gatekeeper.policy.draw_record import (
    DrawRecord,
    DrawRecordError,
    RecordBeacon,
    parse_record,
)
from gatekeeper.policy.draw_verification import DrawVerification, is_visitor

START_US = 1_796_115_600_000_000
SPAN_US = 1_800_000_000
SECRET = "2bde620f56a1e2462831cd395e4ffec039be67e5f1b56b3e72a1e58f2a1b8256"
COMMITMENT = "4a30e1b0a42f1b65e2c2680f85cdc15b9503024894e87ee1d17b106b49cc6ec8"
VISITORS = [f"visitor-{n:014}" for n in range(50)]
HASHES = sorted(hashlib.sha256(visitor.encode()).hexdigest() for visitor in VISITORS)
COMMITTED: dict[str, Any] = {
    "event": "autumn-sale",
    "room": "default",
    "state": "committed",
    "commitment": COMMITMENT,
    "secret": None,
    "beacon": None,
    "start_us": START_US,
    "span_us": SPAN_US,
    "participants": None,
}
DRAWN = COMMITTED | {"state": "drawn", "secret": SECRET, "participants": len(HASHES)}
BEACON = {"url": "https://beacon.example", "round": 7, "randomness": "ab" * 32}
WITH_BEACON = DRAWN | {"beacon": BEACON}
WITH_NOTE = DRAWN | {"note": "the beacon did not respond within 60 s"}
AWAITING_BEACON = COMMITTED | {"beacon": BEACON | {"round": None, "randomness": None}}


def verify(record: dict[str, Any], lines: list[str] = HASHES, **named: Any) -> DrawVerification:
    verification = DrawVerification(parse_record(record), **named)
    for line in lines:
        verification.line(line)
    return verification


def turn_us(visitor: str, seed: bytes = bytes.fromhex(SECRET)) -> int:
    digest = hmac.digest(seed, hashlib.sha256(visitor.encode()).digest(), "sha256")
    return START_US - SPAN_US + int.from_bytes(digest, "big") % SPAN_US


@pytest.mark.parametrize("value", [COMMITTED, DRAWN, WITH_BEACON, WITH_NOTE, AWAITING_BEACON])
def test_json_of_a_record_parses_to_the_same(value: dict[str, Any]) -> None:
    assert parse_record(value).json == value


def test_empty_note_is_no_note() -> None:
    """Records of earlier releases have an empty note."""
    assert parse_record(DRAWN | {"note": ""}) == parse_record(DRAWN)


@pytest.mark.parametrize("value", [None, [], "{}", 7, [DRAWN]])
def test_no_object_is_no_record(value: object) -> None:
    with pytest.raises(DrawRecordError, match="not a JSON object"):
        parse_record(value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event", ""),
        ("event", 7),
        ("event", "a\nb"),
        ("event", "x" * 3000),
        ("room", None),
        ("state", "running"),
        ("state", None),
        ("commitment", COMMITMENT.upper()),
        ("commitment", COMMITMENT[:-1]),
        ("commitment", COMMITMENT + "\n"),
        ("secret", None),
        ("secret", SECRET + "00"),
        ("secret", "g" * 64),
        ("secret", int(SECRET, 16)),
        ("start_us", str(START_US)),
        ("start_us", float(START_US)),
        ("start_us", True),
        ("start_us", 2**53),
        ("span_us", 0),
        ("span_us", -1),
        ("span_us", START_US + 1),
        ("participants", None),
        ("participants", -1),
        ("participants", "50"),
        ("note", ["late"]),
        ("beacon", "https://beacon.example"),
        ("beacon", {}),
        ("beacon", BEACON | {"round": 0}),
        ("beacon", BEACON | {"round": None}),
        ("beacon", BEACON | {"randomness": None}),
        ("beacon", BEACON | {"randomness": "ab" * 31}),
        ("beacon", BEACON | {"url": ""}),
    ],
)
def test_bad_field_is_named(field: str, value: object) -> None:
    with pytest.raises(DrawRecordError) as raised:
        parse_record(DRAWN | {field: value})
    assert all(problem.startswith(field) for problem in raised.value.problems)


@pytest.mark.parametrize(
    "value",
    [{"secret": SECRET}, {"participants": 0}, {"beacon": BEACON}],
)
def test_result_before_the_draw_is_a_problem(value: dict[str, Any]) -> None:
    with pytest.raises(DrawRecordError, match="null before the draw"):
        parse_record(COMMITTED | value)


def test_every_bad_field_is_reported_at_once() -> None:
    with pytest.raises(DrawRecordError) as raised:
        parse_record({})
    fields = {problem.partition(":")[0] for problem in raised.value.problems}
    assert fields == {"event", "room", "state", "commitment", "start_us", "span_us"}


# Verification.


@pytest.mark.parametrize("record", [DRAWN, WITH_BEACON])
def test_honest_draw_has_no_problem(record: dict[str, Any]) -> None:
    assert verify(record).problems() == []


def test_draw_without_participants_has_no_problem() -> None:
    assert verify(DRAWN | {"participants": 0}, []).problems() == []


def test_committed_draw_is_not_verified() -> None:
    assert "not taken place" in verify(COMMITTED, []).problems()[0]


def test_secret_that_was_not_committed_to_is_a_problem() -> None:
    (problem,) = verify(DRAWN | {"secret": "00" * 32}).problems()
    assert problem.startswith("secret: ")
    assert COMMITMENT in problem


def test_commitment_other_than_noted_is_a_problem() -> None:
    assert verify(DRAWN, commitment=COMMITMENT.upper()).problems() == []
    (problem,) = verify(DRAWN, commitment="00" * 32).problems()
    assert problem.startswith("commitment: ")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([HASHES[1], HASHES[0], *HASHES[2:]], ["not in ascending order"]),
        ([*HASHES[:-1], HASHES[-2]], ["each participant once"]),
        (HASHES[:-1], ["49 lines; expected 50"]),
        ([*HASHES, "f" * 64], ["51 lines; expected 50"]),
        ([], ["0 lines; expected 50"]),
        ([HASHES[0].upper(), *HASHES[1:]], ["64 lower-case hex digits"]),
        ([HASHES[0] + " ", *HASHES[1:]], ["64 lower-case hex digits"]),
        (["", *HASHES[1:]], ["64 lower-case hex digits"]),
        ([HASHES[1], HASHES[0]], ["not in ascending order", "2 lines; expected 50"]),
    ],
)
def test_wrong_list_of_participants_is_a_problem(lines: list[str], words: list[str]) -> None:
    problems = verify(DRAWN, lines).problems()
    assert len(problems) == len(words)
    for problem, word in zip(problems, words, strict=True):
        assert problem.startswith("participants: ")
        assert word in problem


def test_many_bad_lines_are_counted() -> None:
    problems = verify(DRAWN, ["x" * 1000] * 50).problems()
    assert len(problems) == 6
    assert problems[-1] == "participants: 45 more bad lines"
    assert max(map(len, problems)) < 200


@pytest.mark.parametrize("record", [DRAWN, WITH_BEACON])
def test_place_of_every_visitor_is_that_of_the_drawn_order(record: dict[str, Any]) -> None:
    secret, randomness = bytes.fromhex(SECRET), bytes.fromhex("ab" * 32)
    seed = hashlib.sha256(secret + randomness).digest() if record["beacon"] else secret
    drawn = sorted(VISITORS, key=lambda visitor: turn_us(visitor, seed))
    for number, visitor in enumerate(drawn, start=1):
        for name in (visitor, hashlib.sha256(visitor.encode()).hexdigest()):
            verification = verify(record, visitor=name, turn_us=turn_us(visitor, seed))
            place = verification.place()
            assert verification.problems() == []
            assert place is not None
            assert (place.place, place.turn_us) == (number, turn_us(visitor, seed))


def test_visitor_who_took_no_part_is_a_problem() -> None:
    verification = verify(DRAWN, visitor="A" * 22)
    (problem,) = verification.problems()
    assert problem.endswith("is not among the participants")
    assert verification.place() is None


def test_visitor_shown_another_turn_is_a_problem() -> None:
    shown_us = turn_us(VISITORS[0]) + 1
    (problem,) = verify(DRAWN, visitor=VISITORS[0], turn_us=shown_us).problems()
    assert problem == f"visitor: turn {shown_us}; expected {shown_us - 1}"


@pytest.mark.parametrize("beacon", [None, RecordBeacon("https://beacon.example")])
def test_seed_before_the_draw_is_none(beacon: RecordBeacon | None) -> None:
    record = DrawRecord("e", "r", "committed", COMMITMENT, START_US, SPAN_US, beacon=beacon)
    assert record.seed is None


@pytest.mark.parametrize(
    ("text", "known"),
    [("A" * 22, True), ("ab" * 32, True), ("A" * 21, False), ("AB" * 32, False), ("", False)],
)
def test_visitor_is_an_id_or_its_hash(text: str, *, known: bool) -> None:
    assert is_visitor(text) is known


def test_without_a_list_the_turn_is_verified_all_the_same() -> None:
    verification = verify(DRAWN, [], has_list=False, visitor=VISITORS[0])
    place = verification.place()
    assert verification.problems() == []
    assert place is not None
    assert (place.turn_us, place.place) == (turn_us(VISITORS[0]), None)
    assert verify(DRAWN | {"secret": "00" * 32}, [], has_list=False).problems() != []
