"""What operators read of the edge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatekeeper.admin.edge_status import Certificate, EdgeStatus, Handshakes, edge_lines
from gatekeeper.admin.exposition import exposition

AT_S = 1_800_000_000.0
VALID = Certificate("a.example", "valid", AT_S, "Let's Encrypt")


def lines(*certificates: Certificate, running: bool = True) -> list[str]:
    status = EdgeStatus(running, certificates)
    return edge_lines(json.loads(json.dumps(status.as_json())))[:-1]


def test_handshakes_are_the_last_line() -> None:
    status = EdgeStatus(True, (VALID,), Handshakes(1204, 31, full_last_minute=60))
    assert edge_lines(status.as_json())[1:] == [
        "TLS handshakes in the last minute: 60 full, 0 failed; since the start: 1,204 and 31"
    ]


@pytest.mark.parametrize(
    ("certificate", "line"),
    [
        (
            VALID,
            "a.example: certificate valid until 2027-01-15 08:00+00:00, Let's Encrypt",
        ),
        (
            Certificate("a.example", "expires soon", AT_S, "", "refused"),
            "a.example: certificate expires soon: 2027-01-15 08:00+00:00; refused",
        ),
        (
            Certificate("a.example", "expired", AT_S, "CA"),
            "a.example: certificate expired 2027-01-15 08:00+00:00, CA",
        ),
        (Certificate("a.example", "missing"), "a.example: no certificate"),
        (Certificate("a.example", "missing", problem="no"), "a.example: no certificate; no"),
    ],
)
def test_each_certificate_is_one_line(certificate: Certificate, line: str) -> None:
    assert lines(certificate) == [line]


def test_edge_that_does_not_run_comes_first() -> None:
    assert lines(VALID, running=False)[0] == "edge: not running; it is being restarted"


def test_metrics_have_the_edge_only_where_there_is_one(tmp_path: Path) -> None:
    assert b"gatekeeper_edge" not in exposition(tmp_path, [], [])
    edge = EdgeStatus(True, (VALID, Certificate("b.example", "missing")), Handshakes(9, 2))
    text = exposition(tmp_path, [], [], edge=edge).decode()
    name = "gatekeeper_edge_certificate_expiry_timestamp_seconds"
    assert "gatekeeper_edge_up 1.0" in text
    assert f'{name}{{domain="a.example"}} 1.8e+09' in text
    assert f'{name}{{domain="b.example"}} 0.0' in text
    assert "gatekeeper_edge_full_handshakes_total 9.0" in text
    assert "gatekeeper_edge_failed_handshakes_total 2.0" in text
    assert "gatekeeper_edge_up 0.0" in exposition(tmp_path, [], [], edge=EdgeStatus(False)).decode()
