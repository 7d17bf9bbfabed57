"""`docs/how-to/check-a-draw.py`, which is independent of the gate's code, agrees with the gate."""

import ast
import io
import json
import random
import runpy
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

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
from gatekeeper.policy.draw_record import DrawRecord, DrawRecordError, RecordBeacon, parse_record
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


class ScriptResult(NamedTuple):
    """What the script printed, and its exit code."""

    returncode: int
    stdout: str


def check(folder: Path, value: dict[str, object], hashes: list[str], *number: str) -> ScriptResult:
    """Run the script on this draw. Raises if the script itself fails."""
    (folder / "record").write_text(json.dumps(value))
    (folder / "participants").write_text("".join(f"{line}\n" for line in hashes))
    arguments = [str(SCRIPT), str(folder / "record"), str(folder / "participants"), *number]
    printed = io.StringIO()
    with (
        patch.object(sys, "argv", arguments),
        redirect_stdout(printed),
        pytest.raises(SystemExit) as ended,
    ):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return ScriptResult(
        1 if isinstance(ended.value.code, str) else int(ended.value.code or 0), printed.getvalue()
    )


def test_check_runs_by_itself(tmp_path: Path) -> None:
    """In a separate Python without the gate's packages."""
    (tmp_path / "record").write_text(json.dumps(record().json))
    (tmp_path / "participants").write_text("".join(f"{line}\n" for line in HASHES))
    files = tmp_path / "record", tmp_path / "participants"
    command: list[str | Path] = [sys.executable, "-I", SCRIPT, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


HASHES = sorted(id_hash(visitor).hex() for visitor in VISITORS)


@pytest.mark.parametrize("beacon", [None, BEACON])
def test_check_in_plain_python_agrees(tmp_path: Path, beacon: RecordBeacon | None) -> None:
    visitor = VISITORS[5]
    seed = seed_of(SECRET, RANDOMNESS if beacon else b"")
    turns = [drawn_turn_us(seed, each, start_us=START_US, span_us=SPAN_US) for each in VISITORS]
    done = check(tmp_path, record(beacon).json, HASHES, id_hash(visitor).hex())
    assert done.returncode == 0, done.stdout
    place = sorted(turns).index(turns[5]) + 1
    assert f"your turn is {turns[5]}: place {place} of 200" in done.stdout
    assert ("https://beacon.example, round 7" in done.stdout) is (beacon is not None)
    assert f"compare the commitment {commitment_of(SECRET)} with" in done.stdout


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


@pytest.mark.parametrize("randomness", ["", "00", RANDOMNESS.hex()[2:], RANDOMNESS.hex() + "00"])
def test_cut_randomness_is_refused_by_both(tmp_path: Path, randomness: str) -> None:
    """Otherwise an operator could choose among many orders."""
    beacon = {"url": BEACON.url, "round": BEACON.round, "randomness": randomness}
    assert both_checks(tmp_path, record(BEACON).json, HASHES) == (True, True)
    assert both_checks(tmp_path, record().json | {"beacon": beacon}, HASHES) == (False, False)


def test_check_is_short_and_plain_python() -> None:
    text = SCRIPT.read_text()
    nodes = list(ast.walk(ast.parse(text)))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in modules} <= sys.stdlib_module_names
    assert len([line for line in text.splitlines() if line.strip()]) <= 53


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
    assert done.returncode == 0, done.stdout
    assert f"your turn is {found.turn_us}: place {found.place} of 200" in done.stdout
    assert place is None or place in done.stdout


def test_check_in_plain_python_finds_an_unknown_lane(tmp_path: Path) -> None:
    done = check(tmp_path, record().json, lines_with_lanes())
    assert done.returncode == 1


Lane = dict[str, object]
BEGIN_US = START_US - SPAN_US
MEMBERS: Lane = {"name": "members", "first_us": BEGIN_US - 900, "span_us": 600}
VIP: Lane = {"name": "vip", "first_us": BEGIN_US - 1000, "span_us": 100}


def both_checks(folder: Path, value: dict[str, Any], lines: list[str]) -> tuple[bool, bool]:
    """Whether the gate's own verification accepts the draw, and whether the script does."""
    done = check(folder, value, lines)
    try:
        verification = DrawVerification(parse_record(value))
    except DrawRecordError:
        return False, done.returncode == 0
    for line in lines:
        verification.line(line)
    return not verification.problems(), done.returncode == 0


@pytest.mark.parametrize(
    "lanes",
    [
        [MEMBERS, VIP],
        [VIP, MEMBERS],
        [MEMBERS | {"span_us": 900}, VIP],  # up to the range of other visitors
        [MEMBERS, VIP | {"first_us": BEGIN_US - 900, "span_us": 600}],  # the same range
    ],
)
def test_lanes_apart_are_accepted_by_both(tmp_path: Path, lanes: list[Lane]) -> None:
    value = record().json | {"lanes": lanes}
    assert both_checks(tmp_path, value, lines_with_lanes()) == (True, True)


@pytest.mark.parametrize(
    "lanes",
    [
        [MEMBERS | {"span_us": 901}, VIP],  # one turn in the range of other visitors
        [MEMBERS | {"span_us": SPAN_US}, VIP],
        [MEMBERS | {"first_us": BEGIN_US, "span_us": SPAN_US}, VIP],  # the range of other visitors
        [MEMBERS | {"first_us": START_US}, VIP],
        [MEMBERS, VIP | {"span_us": 101}],  # one turn among the members
        [MEMBERS, VIP | {"first_us": BEGIN_US - 900, "span_us": 601}],
        [MEMBERS, VIP | {"first_us": BEGIN_US - 800, "span_us": 10}],
        [MEMBERS, VIP | {"span_us": 2000}],  # around the members
        [MEMBERS | {"span_us": 0}, VIP],
        [MEMBERS | {"span_us": -600}, VIP],
        [MEMBERS | {"span_us": 600.5}, VIP],
        [MEMBERS, VIP, MEMBERS | {"first_us": BEGIN_US - 50, "span_us": 50}],
        [MEMBERS, VIP, MEMBERS],
        [MEMBERS, VIP, {"name": "", "first_us": BEGIN_US - 50, "span_us": 50}],
        [MEMBERS],
        None,
    ],
)
def test_tampered_lanes_are_refused_by_both(tmp_path: Path, lanes: list[Lane] | None) -> None:
    value = record().json | {"lanes": lanes}
    assert both_checks(tmp_path, value, lines_with_lanes()) == (False, False)


@pytest.mark.parametrize(
    "line", ["{} vip ", "{}  vip", "{}-vip", "{} VIP", "{}vip", "{}\r", "0{}", "{} vip members"]
)
def test_misspelled_participant_is_refused_by_both(tmp_path: Path, line: str) -> None:
    lines = lines_with_lanes()
    lines[-1] = line.format(lines[-1][:64])
    value = record().json | {"lanes": [MEMBERS, VIP]}
    assert both_checks(tmp_path, value, lines) == (False, False)
