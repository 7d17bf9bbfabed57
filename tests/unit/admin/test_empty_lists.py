"""Commands with an empty list report that on standard error, since scripts read standard output."""

from typing import Any

import pytest
from click.testing import CliRunner

from gatekeeper import cli
from gatekeeper.admin import event_commands


class EmptyGate:
    """An admin API of a gate without events, rules and audit entries."""

    def get(self, _path: str, **_query: str) -> Any:
        return {"events": [], "rules": [], "entries": []}


@pytest.mark.parametrize(
    ("command", "said"),
    [("event list", "no events"), ("rules", "no rules"), ("audit", "no entries")],
)
def test_empty_list_is_no_empty_output(
    monkeypatch: pytest.MonkeyPatch, command: str, said: str
) -> None:
    for module in (cli, event_commands):
        monkeypatch.setattr(module, "admin_client", lambda _config: EmptyGate())
    result = CliRunner().invoke(cli.app, command.split(), catch_exceptions=False)
    assert (result.stdout, result.stderr) == ("", f"{said}\n")
