"""`gatekeeper verify-draw` on files and addresses, with correct and manipulated records."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gatekeeper.errors import GatekeeperError
from gatekeeper.simulate.draw_command import verify_draw
from tests.beacon_server import FakeBeacon, randomness_of
from tests.unit.policy.test_draw_record import (
    COMMITMENT,
    COMMITTED,
    DRAWN,
    HASHES,
    START_US,
    VISITORS,
    turn_us,
)

LIST = "".join(f"{line}\n" for line in HASHES)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatekeeper.simulate.draw_command._AGAIN_AFTER_S", 0)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(verify_draw, list(arguments))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A drawn record in a file, with the file of its participants."""
    (tmp_path / "sale.json").write_text(json.dumps(DRAWN))
    (tmp_path / "sale.participants").write_text(LIST)
    return tmp_path / "sale.json"


def change(file: Path, **fields: Any) -> str:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    return str(file)


def test_honest_record_is_verified(saved: Path) -> None:
    result = run(str(saved))
    assert result.exit_code == 0
    assert "ok: the record of autumn-sale in room default is consistent; 50" in result.stdout
    assert "no beacon" in result.stdout
    assert result.stderr == ""


def test_visitor_reads_turn_and_place(saved: Path) -> None:
    first = min(VISITORS, key=turn_us)
    result = run(str(saved), "--visitor", first, "--turn", str(turn_us(first)))
    assert result.exit_code == 0
    assert f"turn {turn_us(first)}, place 1 of 50" in result.stdout


def test_list_is_found_beside_or_by_option(saved: Path, tmp_path: Path) -> None:
    named = (tmp_path / "sale.participants").rename(tmp_path / "participants")
    without = "not verified here: the list of participants"
    assert without not in run(str(saved)).output
    elsewhere = named.rename(tmp_path / "elsewhere.txt")
    alone = run(str(saved))
    assert (alone.exit_code, without in alone.stdout) == (0, True)
    assert "50 participants according to the record" in alone.stdout
    result = run(str(saved), "--participants", str(elsewhere))
    assert (result.exit_code, without in result.output) == (0, False)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"secret": "00" * 32}, "secret: its SHA-256 is"),
        ({"commitment": "00" * 32}, "expected the commitment 0000"),
        ({"participants": 49}, "50 lines; expected 49"),
        ({"participants": 51}, "50 lines; expected 51"),
        ({"state": "committed"}, "null before the draw"),
        ({"span_us": "long"}, "span_us: 'long'; expected"),
        ({"beacon": {"url": "file:///etc/passwd", "round": 1, "randomness": "00" * 32}}, "http"),
    ],
)
def test_false_record_is_refused(saved: Path, fields: dict[str, Any], words: str) -> None:
    result = run(change(saved, **fields))
    assert result.exit_code == 1
    assert words in result.stderr
    assert all(line.startswith("gatekeeper: ") for line in result.stderr.splitlines())
    assert "ok:" not in result.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LIST.upper(), "64 lower-case hex digits"),
        (LIST + LIST, "51 lines; expected 50"),
        (LIST.replace("\n", "\r\n"), "64 lower-case hex digits"),
        ("x" * 1_000_000, "is not a hash"),
        ("", "0 lines; expected 50"),
        (LIST[65:], "49 lines; expected 50"),
    ],
)
def test_false_list_is_refused(saved: Path, text: str, words: str) -> None:
    saved.with_suffix(".participants").write_bytes(text.encode())
    result = run(str(saved))
    assert result.exit_code == 1
    assert words in result.stderr


def test_list_without_a_last_line_feed_is_the_list(saved: Path) -> None:
    saved.with_suffix(".participants").write_text(LIST.rstrip("\n"))
    assert run(str(saved)).exit_code == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", " " * 100_000, "\0"])
def test_file_that_is_no_record_is_refused(saved: Path, text: str) -> None:
    saved.write_text(text)
    result = run(str(saved))
    assert result.exit_code == 1
    assert result.stderr.startswith("gatekeeper: ")


def test_committed_record_says_that_nothing_is_drawn(saved: Path) -> None:
    saved.write_text(json.dumps(COMMITTED))
    result = run(str(saved))
    assert (result.exit_code, "not taken place yet" in result.stderr) == (1, True)


def test_commitment_noted_before_the_start_must_agree(saved: Path) -> None:
    assert run(str(saved), "--commitment", COMMITMENT).exit_code == 0
    assert run(str(saved), "--commitment", "ab" * 32).exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("missing.json",),
        ("ftp://shop.example/draw",),
        ("{file}", "--visitor", "me"),
        ("{file}", "--visitor", "A" * 22 + "\n"),
        ("{file}", "--turn", "7"),
        ("{file}", "--turn", "soon", "--visitor", "A" * 22),
        ("{file}", "--participants", "missing"),
        ("http://127.0.0.1:1/draw", "--participants", "{file}"),
    ],
)
def test_usage_is_checked(saved: Path, arguments: tuple[str, ...]) -> None:
    result = run(*(argument.replace("{file}", str(saved)) for argument in arguments))
    assert result.exit_code == 2


# By address.


@contextlib.contextmanager
def site(pages: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """A web site with these pages, on another thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = pages.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


PATH = "/.gatekeeper/draw/autumn-sale"


def pages(record: dict[str, Any], listed: str = LIST) -> dict[str, tuple[int, bytes]]:
    return {
        PATH: (200, json.dumps(record).encode()),
        f"{PATH}/participants": (200, listed.encode()),
        f"{PATH}?room=a": (200, json.dumps(record).encode()),
        f"{PATH}/participants?room=a": (200, listed.encode()),
    }


@pytest.mark.parametrize("query", ["", "?room=a"])
def test_record_of_a_gate_is_verified(query: str) -> None:
    with site(pages(DRAWN)) as url:
        result = run(f"{url}{PATH}{query}", "--visitor", HASHES[7])
    assert result.exit_code == 0
    assert f"visitor {HASHES[7]}: turn" in result.stdout


@pytest.mark.parametrize(
    "served",
    [
        {},
        {PATH: (200, b"{}")},
        {PATH: (503, json.dumps(DRAWN).encode())},
        {PATH: (200, b" " * 100_000)},
        {PATH: (200, json.dumps(DRAWN).encode())},
        pages(DRAWN, LIST * 2),
    ],
)
def test_gate_without_a_whole_record_is_refused(served: dict[str, tuple[int, bytes]]) -> None:
    with site(served) as url:
        result = run(f"{url}{PATH}")
    assert result.exit_code == 1
    assert "ok:" not in result.stdout


# The beacon.

GENESIS_S = START_US // 1_000_000 - 10 * 30  # round 11 at the start, 12 is the first after it


def run_with_beacon(saved: Path, *, number: int, randomness: str) -> Result:
    """Verify a record with this round of a beacon, against a beacon that publishes the true
    round."""

    async def verify() -> Result:
        sold_out = START_US / 1e6 + 3600
        async with FakeBeacon(genesis_s=GENESIS_S, period_s=30, clock=lambda: sold_out) as fake:
            used = {"url": fake.url, "round": number, "randomness": randomness}
            return await asyncio.to_thread(run, change(saved, beacon=used))

    return asyncio.run(verify())


@pytest.mark.parametrize(
    ("number", "randomness", "words"),
    [
        (12, randomness_of(12).hex(), None),
        (11, randomness_of(11).hex(), "beacon.round: 11; expected 12"),
        (13, randomness_of(13).hex(), "beacon.round: 13; expected 12"),
        (12, randomness_of(13).hex(), "beacon.randomness: "),
    ],
)
def test_round_of_the_record_is_compared_with_the_beacon(
    saved: Path, number: int, randomness: str, words: str | None
) -> None:
    result = run_with_beacon(saved, number=number, randomness=randomness)
    assert result.exit_code == (1 if words else 0)
    assert (words or "") in result.stderr
    assert "(BLS)" in result.stdout


def test_unreachable_beacon_leaves_a_part_unverified(saved: Path) -> None:
    used = {"url": "http://127.0.0.1:1", "round": 12, "randomness": "ab" * 32}
    result = run(change(saved, beacon=used))
    assert result.exit_code == 3
    [line] = result.stderr.splitlines()
    assert line.startswith("gatekeeper: not verified: the beacon http://127.0.0.1:1: it is unreach")
    assert (
        "verified in part: the record of autumn-sale in room default is consistent" in result.stdout
    )
    assert "ok:" not in result.stdout


def test_problem_outweighs_an_unverified_part(saved: Path) -> None:
    used = {"url": "http://127.0.0.1:1", "round": 12, "randomness": "ab" * 32}
    result = run(change(saved, beacon=used, commitment="00" * 32))
    assert result.exit_code == 1
    assert "not verified: the beacon" in result.stderr


@pytest.mark.parametrize("url", ["http://[x/draw", "http://h:99999/draw", "http:///draw"])
def test_malformed_url_is_a_clear_error(url: str) -> None:
    result = run(url)
    assert result.exit_code == 1
    assert isinstance(result.exception, GatekeeperError)
    assert str(result.exception).startswith(f"{url} cannot be read: ")
