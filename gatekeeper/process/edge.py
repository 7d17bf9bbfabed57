"""The edge of one gate: a private Caddy that terminates TLS, HTTP/2 and HTTP/3 in front of the
workers.

Rules. Caddy is started after the workers, and restarted when it exits. It stops before the workers:
it stops accepting and completes its requests, which the workers still serve. A reload is
refused as a whole if Caddy refuses its part. An unchanged configuration is not loaded again, so
that a reload does not affect connections.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from gatekeeper.admin.edge_status import Certificate, EdgeStatus, Handshakes
from gatekeeper.config.problems import unreadable
from gatekeeper.config.schema import Config
from gatekeeper.errors import StartError
from gatekeeper.process.caddy_config import EdgeFiles, Json, caddy_config
from gatekeeper.process.children import EmbeddedServerProcess
from gatekeeper.process.edge_certificates import (
    Failure,
    Success,
    log_report,
    own_certificate,
    read_report,
    served_certificates,
)
from gatekeeper.process.edge_handshakes import HandshakeLog
from gatekeeper.process.edge_server import (
    caddy_program,
    check_ports,
    check_version,
    load,
    start_caddy,
)
from gatekeeper.process.embedded_process import EmbeddedServer

_CHECK_EVERY_S = 60.0
_STOP_MARGIN_S = 2.0

log = structlog.get_logger()


class Edge:
    """The edge of the configuration in force. `start`, then `stop`."""

    def __init__(
        self, config: Config, files: EdgeFiles, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self.files = files
        self._clock = clock
        self._program = ""
        self._caddy: Json = {}  # the configuration in force
        self._digest = ""  # of it, and of the files that it names
        self._failures: dict[str, Failure] = {}  # the last failure by domain
        self._check_due = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._process = EmbeddedServerProcess(self._start_caddy, "edge")
        self._certificates: tuple[Certificate, ...] = ()
        self._handshakes: HandshakeLog | None = None  # none before the start

    def status(self) -> EdgeStatus:
        """The status for operators."""
        handshakes = self._handshakes.handshakes if self._handshakes else Handshakes()
        return EdgeStatus(self._process.is_running, self._certificates, handshakes)

    @property
    def url(self) -> str:
        """The address of the first domain."""
        edge = self._config.edge
        port = "" if edge.https_port == 443 else f":{edge.https_port}"
        return f"https://{edge.domains[0]}{port}"

    async def start(self) -> None:
        """Serve; certificates may follow later. Raises StartError."""
        self._program = caddy_program()
        await check_version(self._program)
        check_ports(self._config.edge)
        self._caddy, self._digest = self._caddy_config(self._config)
        self._handshakes = HandshakeLog(self.files.handshakes)
        await self._process.start()
        counting = self._handshakes.run()
        self._tasks.append(asyncio.create_task(counting, name="edge handshakes"))
        self._tasks.append(asyncio.create_task(self._watch(), name="edge certificates"))

    async def _start_caddy(self) -> EmbeddedServer:
        server = await start_caddy(self._program, self.files, self._caddy)
        assert server.output is not None
        reader = asyncio.create_task(self._read(server.output), name="edge reports")
        self._tasks = [task for task in self._tasks if not task.done()] + [reader]
        self._check_due.set()
        return server

    def _caddy_config(self, config: Config) -> tuple[Json, str]:
        """Raises StartError."""
        edge = config.edge
        wanted = caddy_config(
            edge,
            self.files,
            trusted=config.server.trusted_proxies,
            own=own_certificate(edge),
        )
        digest = hashlib.sha256(json.dumps(wanted).encode())
        if edge.acme_ca_root:
            try:
                digest.update(Path(edge.acme_ca_root).read_bytes())
            except OSError as error:
                raise StartError(
                    f"edge.acme_ca_root: {edge.acme_ca_root}: {unreadable(error)}"
                ) from error
        return wanted, digest.hexdigest()

    async def configure(self, config: Config) -> str | None:
        """Put another configuration in force. Returns the problem if Caddy refuses it; then nothing
        changed."""
        try:
            wanted, digest = self._caddy_config(config)
        except StartError as error:  # a file that changed after its check
            return error.public
        if digest != self._digest:
            if problem := await load(self.files, wanted):
                return problem
            self._caddy, self._digest = wanted, digest
        self._config = config
        self._failures = {
            domain: failure
            for domain, failure in self._failures.items()
            if domain in config.edge.domains
        }
        self._check_due.set()
        return None

    async def _read(self, output: asyncio.StreamReader) -> None:
        """Report what Caddy writes, until it ends."""
        while True:
            try:
                line = await output.readline()
            except ValueError:  # a line beyond the limit, which is dropped
                continue
            if not line:
                return
            report = read_report(line)
            match report:
                case None:
                    continue
                case Success():
                    self._failures.pop(report.domain, None)
                case Failure() if report.domain in self._config.edge.domains:
                    self._failures[report.domain] = report
                case Failure():  # removed by a reload meanwhile
                    continue
            log_report(report)
            self._check_due.set()

    async def _watch(self) -> None:
        """Check the served certificates after each report, and once a minute."""
        while True:
            self._check_due.clear()
            config = self._config
            self._certificates = await served_certificates(
                config.edge, failures=self._failures.values(), now_s=self._clock()
            )
            try:
                async with asyncio.timeout(_CHECK_EVERY_S):
                    await self._check_due.wait()
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """Complete open requests, within the shutdown timeout of the workers."""
        limit_s = self._config.server.shutdown_timeout
        await self._process.stop(timeout_s=limit_s + _STOP_MARGIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._handshakes is not None:
            self._handshakes.close()
