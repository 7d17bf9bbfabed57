"""Secrets from files: refused files, and the generated secret."""

from pathlib import Path

import pytest

from gatekeeper.config.invitation_keys import invitation_keys
from gatekeeper.config.schema import Config, RoomConfig
from gatekeeper.config.secrets import admin_secrets, read_secrets, signing_secrets
from gatekeeper.errors import ConfigError
from tests.builders import SECRET, parse_config

LONG = SECRET.decode()


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secrets"
    file.write_text(f"{LONG}\n")
    file.chmod(0o600)
    return file


def problem_of(path: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        read_secrets(path)
    assert refused.value.source == str(path)
    [problem] = refused.value.problems
    assert LONG not in problem
    assert "\n" not in problem
    return problem


@pytest.mark.parametrize("content", ["", "\n", " \n\t\n\r\n", "\0" * 4096, "\0\n\0\0\n"])
def test_empty_secret_file_is_refused(secret_file: Path, content: str) -> None:
    secret_file.write_text(content)
    assert problem_of(secret_file) == "empty; expected a secret in every line"


@pytest.mark.parametrize("mode", [0o666, 0o602, 0o777, 0o622, 0o002])
def test_secret_file_that_others_may_write_is_refused(secret_file: Path, mode: int) -> None:
    secret_file.chmod(mode)
    assert problem_of(secret_file) == (
        f"every user may write to it (mode {mode:04o}); expected e.g. 0600 (chmod 600)"
    )


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o444, 0o660, 0o644])
def test_secret_file_of_other_modes_is_read(secret_file: Path, mode: int) -> None:
    """Kubernetes and Compose mount secrets that a group, or every user, may read."""
    secret_file.chmod(mode)
    assert read_secrets(secret_file) == (SECRET,)


def test_link_to_a_writable_secret_is_refused(secret_file: Path, tmp_path: Path) -> None:
    secret_file.chmod(0o666)
    (tmp_path / "link").symlink_to(secret_file)
    assert "every user may write to it" in problem_of(tmp_path / "link")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("short", "secret 1 is too short; expected at least 32 bytes"),
        (f"{LONG}\nshort", "secret 2 is too short; expected at least 32 bytes"),
        (f"{LONG}\n{'x' * 40}\0", "secret 2 is not a text; expected at least 32 bytes"),
    ],
)
def test_unusable_secret_is_named_by_its_number(
    secret_file: Path, content: str, problem: str
) -> None:
    secret_file.write_text(content)
    assert problem_of(secret_file).startswith(problem)


@pytest.mark.parametrize("key", ["invitation_secret_file", "invitation_public_key_file"])
def test_invitation_key_that_others_may_write_is_refused(secret_file: Path, key: str) -> None:
    secret_file.chmod(0o666)
    room = RoomConfig.model_validate({"name": "sale", key: str(secret_file)})
    with pytest.raises(ConfigError, match="every user may write to it"):
        invitation_keys(room)


def test_admin_token_that_others_may_write_is_refused(secret_file: Path, tmp_path: Path) -> None:
    toml = f'[[admin.tokens]]\nname = "maria"\nsecret_file = "{secret_file}"\n'
    config = parse_config(toml, folder=tmp_path)
    assert admin_secrets(config) == [SECRET]
    secret_file.chmod(0o606)
    with pytest.raises(ConfigError, match="every user may write to it"):
        admin_secrets(config)


def test_admin_token_that_no_client_can_send_is_refused(secret_file: Path, tmp_path: Path) -> None:
    toml = f'[[admin.tokens]]\nname = "maria"\nsecret_file = "{secret_file}"\n'
    config = parse_config(toml, folder=tmp_path)
    secret_file.write_bytes(b"\xff" * 40)
    with pytest.raises(ConfigError, match="secret 1 has a blank or line break at an end"):
        admin_secrets(config)


def test_generated_secret_is_private_and_kept(tmp_path: Path) -> None:
    """An incomplete file after a crash has no effect."""
    (tmp_path / "secret.new").write_text("half a sec")
    [secret] = signing_secrets(Config(), tmp_path)
    assert len(secret) >= 48
    assert signing_secrets(Config(), tmp_path) == (secret,)
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "\n", "\0" * 4096])
def test_empty_generated_secret_is_refused_with_a_remedy(tmp_path: Path, content: str) -> None:
    """A crash of the machine can leave an empty file. A new secret without notice would void every
    place."""
    (tmp_path / "secret").write_text(content)
    with pytest.raises(ConfigError) as refused:
        signing_secrets(Config(), tmp_path)
    assert refused.value.public == (
        f"{tmp_path}/secret: empty; expected a secret in every line; restore it from a backup, or "
        "delete it: the gate then makes another one, and all visitors are new"
    )


def test_generated_secret_on_a_full_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "secret.new").mkdir()
    with pytest.raises(ConfigError) as refused:
        signing_secrets(Config(), tmp_path)
    [problem] = refused.value.problems
    assert problem.startswith("cannot be written: ")
