"""The state folder: the generated secret, the embedded servers' data and the audit log.

Rules. It is private to the user who runs the gate. `GATEKEEPER_STATE_DIR` names it; else it is
`gatekeeper` in `$XDG_STATE_HOME`, else `~/.local/state/gatekeeper`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gatekeeper.errors import StartError


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
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StartError(f"cannot create the folder {folder}: {error.strerror}") from error
    return folder
