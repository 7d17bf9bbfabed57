"""The command for another terminal that the demo shows."""

import shutil
import sys

import pytest

from gatekeeper.demo import show


@pytest.mark.parametrize(
    ("started", "on_path", "shown"),
    [
        (".venv/bin/gatekeeper", None, ".venv/bin/gatekeeper"),
        (".venv/bin/gatekeeper", "/usr/bin/gatekeeper", "gatekeeper"),
        ("/site-packages/gatekeeper/cli.py", None, "gatekeeper"),
    ],
)
def test_program_is_shown_as_the_shell_finds_it(
    monkeypatch: pytest.MonkeyPatch, started: str, on_path: str | None, shown: str
) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.setattr(shutil, "which", lambda _name: on_path)
    assert show._program() == shown
