"""`docs/how-to/check-a-draw.py`: a check of draws that uses nothing of the gate agrees with it."""

import ast
import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.policy.draw import (
    LaneSpan,
    commitment_of,
    draw_secret,
    drawn_turn_us,
    id_hash,
    participant_of,
    seed_of,
)
from gatekeeper.policy.draw_record import DrawRecord, RecordBeacon
from gatekeeper.policy.draw_verification import DrawVerification

SCRIPT = Path(__file__).parents[3] / "docs/how-to/check-a-draw.py"
START_US, SPAN_US = 1_796_115_600_000_000, 1_800_000_000
VISITORS = [f"visitor-{number:014}" for number in random.Random(1).sample(range(10**6), 200)]
RANDOMNESS = bytes(range(32))
BEACON = RecordBeacon("https://beacon.example", 7, RANDOMNESS.hex())
SECRET = draw_secret(b"s" * 32, room="r", event="e", announced_us=START_US)


def record(beacon: RecordBeacon | None = None) -> DrawRecord:
    return DrawRecord(
        "e",
        "r",
        "drawn",
        commitment_of(SECRET),
        START_US,
        SPAN_US,
        secret=SECRET.hex(),
        beacon=beacon,
        participants=len(VISITORS),
    )


def check(
    folder: Path, value: dict[str, object], hashes: list[str], *number: str
) -> subprocess.CompletedProcess[str]:
    (folder / "record").write_text(json.dumps(value))
    (folder / "participants").write_text("".join(f"{line}\n" for line in hashes))
    return subprocess.run(
        [sys.executable, "-I", SCRIPT, folder / "record", folder / "participants", *number],
        capture_output=True,
        text=True,
        timeout=20,
    )


HASHES = sorted(id_hash(visitor).hex() for visitor in VISITORS)


@pytest.mark.parametrize("beacon", [None, BEACON])
def test_check_in_plain_python_agrees(tmp_path: Path, beacon: RecordBeacon | None) -> None:
    visitor = VISITORS[5]
    seed = seed_of(SECRET, RANDOMNESS if beacon else b"")
    turns = [drawn_turn_us(seed, each, start_us=START_US, span_us=SPAN_US) for each in VISITORS]
    done = check(tmp_path, record(beacon).json, HASHES, id_hash(visitor).hex())
    assert done.returncode == 0, done.stdout + done.stderr
    place = sorted(turns).index(turns[5]) + 1
    assert f"your turn is {turns[5]}: place {place} of 200" in done.stdout
    assert ("https://beacon.example, round 7" in done.stdout) is (beacon is not None)


@pytest.mark.parametrize(
    ("fields", "hashes", "number"),
    [
        ({"commitment": "00" * 32}, HASHES, []),
        ({"secret": "00" * 32}, HASHES, []),
        ({"participants": 199}, HASHES, []),
        ({}, HASHES[1:], []),
        ({}, [*HASHES[:-1], HASHES[-2]], []),
        ({}, HASHES[::-1], []),
        ({}, HASHES, ["00" * 32]),
        ({"state": "committed", "secret": None}, HASHES, []),
    ],
)
def test_check_in_plain_python_finds(
    tmp_path: Path, fields: dict[str, Any], hashes: list[str], number: list[str]
) -> None:
    done = check(tmp_path, record().json | fields, hashes, *number)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_check_is_short_and_plain_python() -> None:
    text = SCRIPT.read_text()
    nodes = list(ast.walk(ast.parse(text)))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in modules} <= sys.stdlib_module_names
    assert len([line for line in text.splitlines() if line.strip()]) <= 45


LANES = (LaneSpan("members", START_US - SPAN_US - 900, 600), LaneSpan("vip", 10, 20))


def lines_with_lanes() -> list[str]:
    """Every third visitor is a member, one is of the other lane."""
    lanes = ["members" if number % 3 == 0 else "" for number in range(len(VISITORS))]
    lanes[1] = "vip"
    return sorted(participant_of(v, lane=lane) for v, lane in zip(VISITORS, lanes, strict=True))


@pytest.mark.parametrize(("number", "place"), [(1, "place 1 of"), (0, None), (2, None)])
def test_check_in_plain_python_knows_lanes(tmp_path: Path, number: int, place: str | None) -> None:
    lines, drawn = lines_with_lanes(), replace(record(), lanes=LANES)
    verification = DrawVerification(drawn, visitor=VISITORS[number])
    for line in lines:
        verification.line(line)
    found = verification.place()
    assert (verification.problems(), found is None) == ([], False)
    assert found is not None
    done = check(tmp_path, drawn.json, lines, id_hash(VISITORS[number]).hex())
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"your turn is {found.turn_us}: place {found.place} of 200" in done.stdout
    assert place is None or place in done.stdout


def test_check_in_plain_python_finds_an_unknown_lane(tmp_path: Path) -> None:
    done = check(tmp_path, record().json, lines_with_lanes())
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
