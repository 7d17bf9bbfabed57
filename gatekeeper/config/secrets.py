"""The secrets of a gate, from where the configuration says they are.

Rules. What is read here is never logged. Raises ConfigError, which names the file and no content.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from gatekeeper.config.schema import Config
from gatekeeper.config.types import MIN_SECRET_BYTES
from gatekeeper.errors import ConfigError

_SECRET_NAME = "secret"  # noqa: S105  a file's name


def signing_secrets(config: Config, folder: Path) -> tuple[bytes, ...]:
    """The configured secrets, or the key that this state folder keeps; made when it has none."""
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
    """One secret a line. Raises ConfigError."""
    try:
        lines = [line.strip() for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise ConfigError([error.strerror or "cannot be read"], source=str(path)) from error
    if not lines or any(len(line) < MIN_SECRET_BYTES for line in lines):
        raise ConfigError(
            [f"every line needs at least {MIN_SECRET_BYTES} bytes; `gatekeeper secret` makes one"],
            source=str(path),
        )
    return tuple(lines)


def admin_secrets(config: Config) -> list[bytes]:
    """The secret of each of [[admin.tokens]], in their order."""
    return [
        token.secret.encode() if token.secret else read_secrets(Path(token.secret_file))[0]
        for token in config.admin.tokens
    ]
