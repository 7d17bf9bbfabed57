"""Files that the operator names: which are read, and which would block a reload."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gatekeeper.config.files import MAX_BYTES, read_file
from gatekeeper.config.load import load_config
from gatekeeper.config.rule_schema import networks_in
from gatekeeper.config.secrets import read_secrets
from gatekeeper.errors import ConfigError


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe without a writer: opening it as a file waits without limit."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    return tmp_path / "pipe"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("read", [load_config, read_secrets, networks_in])
def test_pipe_is_refused_at_once(pipe: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises((ConfigError, ValueError), match="Not a regular file"):
        read(pipe)


def test_device_is_refused() -> None:
    with pytest.raises(OSError, match="Not a regular file"):
        read_file(Path("/dev/zero"))


def test_directory_is_named_as_such(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        with pytest.raises(IsADirectoryError):
            read_file(tmp_path)
    assert len(os.listdir("/dev/fd")) <= before  # garbage of earlier tests may close its own


def test_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"#" * MAX_BYTES)
    assert len(read_file(file)) == MAX_BYTES
    file.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(OSError, match="Larger than 4 MiB"):
        read_file(file)


def test_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link") == b"a"
