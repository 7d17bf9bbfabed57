"""The secrets of a gate: read from the configuration or its files, or generated once.

Rules. A secret is never logged. A file that every user may write to is refused: another user may
have put a known secret there. Raises ConfigError, which names the file and never its content.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from gatekeeper.config.bearer_token import check_bearer_token
from gatekeeper.config.files import read_file
from gatekeeper.config.problems import unreadable
from gatekeeper.config.schema import Config
from gatekeeper.config.types import RoomName, check_secret
from gatekeeper.errors import ConfigError

_SECRET_NAME = "secret"  # noqa: S105  a file's name
_GENERATED = (
    "; restore it from a backup, or delete it: the gate then makes another one, and all visitors "
    "are new"
)


def signing_secrets(config: Config, folder: Path) -> tuple[bytes, ...]:
    """The configured secrets, or the one kept in the state folder; generated when there is none."""
    tokens = config.tokens
    if tokens.secrets:
        return tuple(secret.encode() for secret in tokens.secrets)
    if tokens.secret_file:
        return read_secrets(Path(tokens.secret_file))
    path = folder / _SECRET_NAME
    try:
        if not path.exists():
            _generate(path)
    except OSError as error:
        problem = f"cannot be written: {error.strerror}; expected a folder with space for it"
        raise ConfigError([problem], source=str(path)) from error
    return read_secrets(path, remedy=_GENERATED)


def _generate(path: Path) -> None:
    """Write a new secret atomically."""
    part = path.with_name(f"{path.name}.new")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def check_not_writable(path: Path) -> None:
    """Raises ConfigError for a file that every user may write to."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError([unreadable(error)], source=str(path)) from error
    if mode & stat.S_IWOTH:
        problem = f"every user may write to it (mode {mode:04o}); expected e.g. 0600 (chmod 600)"
        raise ConfigError([problem], source=str(path))


def read_secrets(path: Path, *, remedy: str = "") -> tuple[bytes, ...]:
    """The secrets in a file, one per line. Raises ConfigError; for an empty file, its message ends
    with `remedy`."""
    check_not_writable(path)
    try:
        lines = [line.strip() for line in read_file(path).splitlines() if line.strip()]
    except OSError as error:
        raise ConfigError([unreadable(error)], source=str(path)) from error
    if not any(line.strip(b"\0") for line in lines):  # a crash leaves an empty file, or zeros
        problem = f"empty; expected a secret in every line{remedy}"
        raise ConfigError([problem], source=str(path))
    for number, line in enumerate(lines, start=1):
        try:
            check_secret(line)
        except ValueError as error:
            raise ConfigError([f"secret {number} is {error}"], source=str(path)) from None
    return tuple(lines)


def challenge_secrets(config: Config) -> dict[RoomName, str]:
    """The secret of the challenge's provider for each room that names one. Raises ConfigError."""
    found: dict[RoomName, str] = {}
    for room in config.rooms:
        if room.challenge_secret_file:
            path = Path(room.challenge_secret_file)
            found[room.name] = read_secrets(path)[0].decode("latin-1")
    return found


def admin_secrets(config: Config) -> list[bytes]:
    """The secret of each of [[admin.tokens]], in the order of the file. Raises ConfigError."""
    return [
        token.secret.encode() if token.secret else _bearer_token(Path(token.secret_file))
        for token in config.admin.tokens
    ]


def _bearer_token(path: Path) -> bytes:
    """The first line of a file."""
    token = read_secrets(path)[0]
    try:
        check_bearer_token(token)
    except ValueError as error:
        raise ConfigError([f"secret 1 {error}"], source=str(path)) from None
    return token
