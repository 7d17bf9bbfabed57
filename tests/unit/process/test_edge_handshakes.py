"""Handshakes are counted from the edge's log."""

import json
from pathlib import Path

import pytest

from gatekeeper.admin.edge_status import Handshakes
from gatekeeper.process.edge_handshakes import HandshakeLog

FULL = '{"msg":"event","name":"tls_get_certificate"}\n'
FAILED = '{"msg":"http: TLS handshake error from 192.0.2.1:5: EOF"}\n'
OTHER = '{"msg":"event","name":"cert_obtained"}\n{"msg":"http: URL query contains semicolon"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handshakes.log"


def write(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def counts(log: HandshakeLog) -> tuple[int, int]:
    log.read_lines()
    return log.handshakes.full, log.handshakes.failed


def test_lines_are_counted_by_what_they_report(path: Path) -> None:
    log = HandshakeLog(path)
    assert counts(log) == (0, 0), "there is no file yet"
    write(path, FULL * 3 + OTHER + FAILED * 2)
    assert counts(log) == (3, 2)
    write(path, FULL)
    assert counts(log) == (4, 2)
    log.close()


def test_lines_of_a_former_run_are_not_counted(path: Path) -> None:
    write(path, FULL * 9)
    log = HandshakeLog(path)
    write(path, FULL)
    assert counts(log) == (1, 0)


def test_line_in_parts_counts_once(path: Path) -> None:
    log = HandshakeLog(path)
    for character in FULL + FAILED + FULL:
        write(path, character)
        counts(log)
    assert counts(log) == (2, 1)


def test_text_of_a_client_is_no_line(path: Path) -> None:
    log = HandshakeLog(path)
    name = '"}\n' + FULL + FAILED
    write(path, json.dumps({"msg": "no certificate", "sni": name}, separators=(",", ":")) + "\n")
    assert counts(log) == (0, 0)


@pytest.mark.parametrize("looks_between", [True, False])
def test_file_that_caddy_replaces_is_counted_to_its_end(path: Path, looks_between: bool) -> None:
    log = HandshakeLog(path)
    write(path, FULL)
    counts(log)
    write(path, FULL)
    path.rename(path.with_suffix(".1"))
    if looks_between:
        assert counts(log) == (2, 0), "there is no new file yet"
    write(path, FULL + FAILED)
    assert counts(log) == (3, 1)
    write(path, FULL)
    assert counts(log) == (4, 1)


def test_file_that_was_emptied_is_read_from_its_beginning(path: Path) -> None:
    log = HandshakeLog(path)
    write(path, FULL * 3)
    counts(log)
    path.write_text("")
    counts(log)
    write(path, FULL)
    assert counts(log) == (4, 0)


def test_last_minute_forgets(path: Path) -> None:
    log = HandshakeLog(path)
    write(path, FULL * 5 + FAILED)
    log.read_lines()
    assert log.handshakes == Handshakes(5, 1, 5, 1)
    for _ in range(60):
        log.read_lines()
    assert log.handshakes == Handshakes(5, 1, 0, 0)


def test_text_without_end_of_line_is_bounded(path: Path) -> None:
    log = HandshakeLog(path)
    write(path, "x" * 3_000_000)
    log.read_lines()
    assert len(log._rest) < 100_000
