"""Control characters in texts that a gate reports, in the output of the commands."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from gatekeeper import cli
from gatekeeper.admin import event_commands, setting_commands, support_commands

HOSTILE = "\x1b]0;x\x07\x9b2J\r\n\x7f\u202e\u2028"
ROOM: dict[str, Any] = {
    "room": "sale", "mode": "hold", "rate_per_minute": 1, "queue_length": 0, "active": 0,
    "max_active": 0, "released_total": 0, "abandoned_total": 0, "message": HOSTILE, "event": None,
    "settings": {"message": {"value": HOSTILE, "file": HOSTILE, "live": True}},
}  # fmt: skip
ENTRY = {
    "at": HOSTILE, "who": HOSTILE, "what": HOSTILE, "room": HOSTILE, "address": HOSTILE,
    "outcome": HOSTILE, "note": HOSTILE, "visitor": HOSTILE, "from": HOSTILE, "to": HOSTILE,
}  # fmt: skip
VISITOR = {"room": HOSTILE, "visitor": HOSTILE, "reference": HOSTILE, "state": HOSTILE}
EVENT = {
    "name": HOSTILE, "room": HOSTILE, "stage": HOSTILE, "prequeue": HOSTILE, "start": HOSTILE,
    "end": HOSTILE, "file": True, "commitment": HOSTILE, "beacon": HOSTILE,
}  # fmt: skip
RULE = {"name": HOSTILE, "action": HOSTILE, "conditions": HOSTILE, "matches": 1, "default": False}
REPORTED: dict[str, Any] = {
    "/admin/status": {"rooms": [ROOM]},
    "/admin/settings": {"rooms": [ROOM]},
    "/admin/audit?limit=20": {"entries": [ENTRY]},
    "/admin/rules": {"rules": [RULE]},
    "/admin/find": {"visitors": [VISITOR]},
    "/admin/events": {"events": [EVENT]},
}


class HostileGate:
    """An admin API that reports texts of an attacker."""

    def get(self, path: str, **_query: str) -> Any:
        return REPORTED[path]


@pytest.mark.parametrize(
    "command",
    ["status", "audit", "settings", "rules", "find AAAAAAAA", "event list"],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_commands_escape_control_characters(
    monkeypatch: pytest.MonkeyPatch, command: str, as_json: bool
) -> None:
    for module in (cli, event_commands, setting_commands, support_commands):
        monkeypatch.setattr(module, "admin_client", lambda _config: HostileGate())
    words = [*command.split(), *(["--json"] if as_json else [])]
    result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    [line] = result.stdout.removesuffix("\n").split("\n")
    assert "x\\u0007" in line
    assert not [each for each in line if not each.isprintable()]
    if as_json:
        assert HOSTILE in _texts(json.loads(line))


def _texts(value: Any) -> list[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _texts(part)]
