"""The state folder: the generated secret, the embedded servers' data and the audit log.

Rules. It is private to the user that runs the gate: a folder that other users can write to is
refused, since they may have replaced the secret. `GATEKEEPER_STATE_DIR` names it; else it is
`gatekeeper` in `$XDG_STATE_HOME`, else `~/.local/state/gatekeeper`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from gatekeeper.errors import StartError

_MODE, _PERMISSIONS = 0o700, 0o777


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The state folder of this gate, created if needed. Raises StartError."""
    xdg = environ.get("XDG_STATE_HOME", "")
    if named := environ.get("GATEKEEPER_STATE_DIR"):
        folder = Path(named).absolute()
    elif xdg.startswith("/"):  # the XDG specification ignores relative paths
        folder = Path(xdg) / "gatekeeper"
    else:
        try:
            home = Path(environ.get("HOME") or Path.home())
        except RuntimeError as error:
            raise StartError(
                "GATEKEEPER_STATE_DIR: not set, and there is no home directory; expected a folder"
            ) from error
        folder = home / ".local" / "state" / "gatekeeper"
    return private_folder(folder)


def private_folder(path: Path) -> Path:
    """A folder of mode 0700, created if needed. Raises StartError."""
    folder = path.absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=_MODE, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise StartError(f"cannot create the folder {folder}: {error.strerror}") from error
    mode = stat.S_IMODE(status.st_mode) & _PERMISSIONS
    if mode != _MODE:
        raise StartError(
            f"{folder} is not private to this user: its mode is {mode:04o}; expected 0700 "
            f"(chmod 700 {folder})"
        )
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StartError(
            f"{folder} belongs to user {status.st_uid}; expected a folder of user {os.geteuid()}"
        )
    return folder
