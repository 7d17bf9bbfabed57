"""The commands for one visitor read their arguments."""

from typing import Any

import pytest
from click.testing import CliRunner

from gatekeeper import cli
from gatekeeper.admin import support_commands

IDS = ["-5BMP2m14RO3bl9U3WACDA", "--MP2m14RO3bl9U3WACDAg", "-cMP2m14RO3bl9U3WACDAg"]


class RecordedGate:
    """An admin API that records the requested visitor."""

    def get(self, _path: str, *, visitor: str, room: str) -> Any:
        return {"visitors": [{"room": room, "visitor": visitor, "reference": "", "state": "none"}]}

    def post(self, _path: str, *, visitor: str, **_: str) -> Any:
        return {"visitor": visitor, "was": "waiting", "state": "released", "held": "place"}


@pytest.mark.parametrize("visitor", IDS)
@pytest.mark.parametrize("command", ["find", "admit", "revoke"])
@pytest.mark.parametrize(
    "order",
    [["{id}", "--room", "sale"], ["--room=sale", "{id}"], ["--room", "sale", "--", "{id}"]],
    ids=["first", "last", "after --"],
)
def test_visitor_id_may_begin_with_a_hyphen(
    monkeypatch: pytest.MonkeyPatch, visitor: str, command: str, order: list[str]
) -> None:
    monkeypatch.setattr(support_commands, "admin_client", lambda _config: RecordedGate())
    words = [command, *(word.format(id=visitor) for word in order)]
    result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert visitor in result.stdout
    assert result.stdout.startswith("sale: ")


@pytest.mark.parametrize("command", ["find", "admit", "revoke"])
def test_unknown_option_is_an_error_of_usage(command: str) -> None:
    result = CliRunner().invoke(cli.app, [command, "--unknown-option", "AAAAAAAA"])
    assert result.exit_code == 2
