"""The secrets of a gate: read from the configuration or its files, or generated once.

Rules. A secret is never logged. Raises ConfigError, which names the file and never its content.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from gatekeeper.config.problems import unreadable
from gatekeeper.config.schema import Config
from gatekeeper.config.types import RoomName, check_secret
from gatekeeper.errors import ConfigError

_SECRET_NAME = "secret"  # noqa: S105  a file's name


def signing_secrets(config: Config, folder: Path) -> tuple[bytes, ...]:
    """The configured secrets, or the one kept in the state folder; generated when there is none."""
    tokens = config.tokens
    if tokens.secrets:
        return tuple(secret.encode() for secret in tokens.secrets)
    if tokens.secret_file:
        return read_secrets(Path(tokens.secret_file))
    path = folder / _SECRET_NAME
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
    return read_secrets(path)


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """The secrets in a file, one per line. Raises ConfigError."""
    try:
        lines = [line.strip() for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise ConfigError([unreadable(error)], source=str(path)) from error
    if not lines:
        raise ConfigError(["empty; expected a secret in every line"], source=str(path))
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
        token.secret.encode() if token.secret else read_secrets(Path(token.secret_file))[0]
        for token in config.admin.tokens
    ]
