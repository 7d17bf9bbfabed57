"""The state folder: its place by the environment, and its mode."""

import os
import stat
from pathlib import Path

import pytest

from gatekeeper.errors import StartError
from gatekeeper.process.state_folder import private_folder, state_folder


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"GATEKEEPER_STATE_DIR": "{tmp}/a/b", "XDG_STATE_HOME": "{tmp}/x"}, "{tmp}/a/b"),
        ({"XDG_STATE_HOME": "{tmp}/x", "HOME": "{tmp}/h"}, "{tmp}/x/gatekeeper"),
        ({"XDG_STATE_HOME": "relative", "HOME": "{tmp}/h"}, "{tmp}/h/.local/state/gatekeeper"),
        ({"HOME": "{tmp}/h"}, "{tmp}/h/.local/state/gatekeeper"),
    ],
)
def test_state_folder_follows_the_environment_and_is_private(
    tmp_path: Path, environ: dict[str, str], expected: str
) -> None:
    folder = state_folder({k: v.replace("{tmp}", str(tmp_path)) for k, v in environ.items()})
    assert str(folder) == expected.replace("{tmp}", str(tmp_path))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_state_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"cannot create the folder .*/file/state: "):
        state_folder({"GATEKEEPER_STATE_DIR": str(tmp_path / "file" / "state")})


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o777, 0o702, 0o770, 0o500, 0o600, 0o000])
def test_state_folder_of_another_mode_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(StartError) as refused:
        state_folder({"GATEKEEPER_STATE_DIR": str(folder)})
    assert refused.value.public == (
        f"{folder} is not private to this user: its mode is {mode:04o}; expected 0700 "
        f"(chmod 700 {folder})"
    )
    folder.chmod(0o2700)  # setgid: inherits the group, gives no more rights
    assert state_folder({"GATEKEEPER_STATE_DIR": str(folder)}) == folder


def test_state_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with pytest.raises(StartError, match=r"belongs to user \d+; expected a folder of user \d+$"):
        private_folder(tmp_path)


def test_environment_without_a_home_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise RuntimeError("no home directory")

    monkeypatch.setattr(Path, "home", missing)
    with pytest.raises(StartError, match=r"^GATEKEEPER_STATE_DIR: not set, .* expected a folder$"):
        state_folder({})


def test_existing_private_folder_is_kept(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "state")
    (folder / "secret").write_text("kept")
    assert private_folder(tmp_path / "state") == folder
    assert (folder / "secret").read_text() == "kept"
