"""Lines of the command line, and the settings that it reads."""

import pytest

from gatekeeper.admin.console import audit_line, parse_assignments, room_line, setting_lines
from gatekeeper.errors import ConfigError

ROOM = {
    "room": "sale",
    "settings": {
        "rate": {"value": "800/min", "file": "500/min", "live": True},
        "max_active": {"value": 0, "file": 0, "live": False},
        "challenge_difficulty": {"value": 7, "file": 7, "live": False, "note": "0.1 s on a phone"},
        "title": {"value": "Größer", "file": "You are in line", "live": True},
    },
}


def test_assignments_become_the_json_of_the_api() -> None:
    assert parse_assignments(
        ["rate=800/min", "max_active = 300", "title=a = b", "message=", "burst="]
    ) == {"rate": "800/min", "max_active": 300, "title": "a = b", "message": None, "burst": None}


@pytest.mark.parametrize(
    ("words", "problems"),
    [
        (["rate"], ["rate: not a setting; expected KEY=VALUE, e.g. rate=800/min"]),
        (["rate=1/s", "rate=2/s"], ["rate: set twice; expected it once"]),
        (["rate=fast", "burst=0"], ["rate: ", "burst: "]),
        (["max_active=1.5"], ["max_active: 1.5 is not a whole number"]),
        (["max_active=[1]"], ["max_active: a list is not a whole number"]),
        (["max_active=true"], ["max_active: true is not a whole number"]),
        (["status=200"], ["status: cannot be changed here"]),
        (["=1"], [": unknown setting"]),
    ],
)
def test_wrong_assignment_is_refused_before_the_gate_is_asked(
    words: list[str], problems: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_assignments(words)
    assert len(refused.value.problems) == len(problems)
    for found, problem in zip(refused.value.problems, problems, strict=True):
        assert found.startswith(problem)


def test_settings_show_the_file_value_of_live_overrides() -> None:
    assert list(setting_lines(ROOM)) == [
        'sale: rate = "800/min" (set live; the file has "500/min")',
        "sale: max_active = 0",
        "sale: challenge_difficulty = 7 (0.1 s on a phone)",
        'sale: title = "Größer" (set live; the file has "You are in line")',
    ]
    assert list(setting_lines(ROOM, only=["max_active"])) == ["sale: max_active = 0"]


def test_line_of_a_room_counts_its_lanes() -> None:
    room = dict.fromkeys(("queue_length", "active", "released_total", "abandoned_total"), 9)
    named = {
        "room": "sale",
        "mode": "auto",
        "rate_per_minute": 60.0,
        "message": "",
        "max_active": 0,
    }
    line = room_line(named | room)
    assert line == "sale: auto, 60/min, 9 waiting, 9 active, 9 released, 9 left"
    lanes = {"members": 4, "friends": 0}
    assert "9 waiting (4 members, 0 friends), 9 active" in room_line(
        named | room | {"lanes": lanes}
    )


def test_audit_line_of_a_signal_has_no_address() -> None:
    entry = {"at": "T", "who": "SIGHUP", "what": "reload", "outcome": "failed", "note": "bad"}
    assert audit_line(entry) == "T SIGHUP: reload: failed (bad)"


def test_line_of_a_room_has_what_autotune_measured() -> None:
    figures = dict.fromkeys(("queue_length", "active", "released_total", "abandoned_total"), 9)
    named = {"room": "sale", "mode": "auto", "rate_per_minute": 480, "max_active": 0, "message": ""}
    last = {"why": "the origin keeps up", "p95_s": 0.4123, "failed_share": 0.0025}
    tuned = {"latency_target_s": 0.8, "errors_target": 0.02, "last": last}
    words = "; autotune: the origin keeps up, p95 0.412 s of 0.8 s, failed 0.25% of 2.00%"
    assert room_line(figures | named | {"autotune": tuned}).endswith("9 left" + words)
    silent = tuned | {"last": last | {"p95_s": None, "failed_share": None}}
    assert room_line(figures | named | {"autotune": silent}).endswith(
        "autotune: the origin keeps up"
    )
    assert "autotune" not in room_line(figures | named | {"autotune": tuned | {"last": None}})
