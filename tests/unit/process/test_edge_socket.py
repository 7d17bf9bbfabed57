"""The socket between the edge and a worker is closed to other users."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gatekeeper.errors import StartError
from gatekeeper.process.edge_socket import edge_listener


def test_socket_is_private_and_replaces_an_older_one(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "worker.sock"
    edge_listener(str(path)).close()  # as left by a killed process
    with edge_listener(str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o710, 0o701, 0o755])
def test_socket_in_an_open_folder_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(StartError, match="open to other users; expected mode 0700"):
        edge_listener(str(tmp_path / "worker.sock"))


def test_path_that_is_no_socket_is_one_clear_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "worker.sock").mkdir()
    with pytest.raises(StartError, match=r"edge: cannot listen on .*worker\.sock: "):
        edge_listener(str(tmp_path / "worker.sock"))
