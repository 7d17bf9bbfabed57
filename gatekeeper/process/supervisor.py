"""The parent process: starts embedded servers, workers and the admin listener.

Rules. It stops them in reverse order: the edge first, whose requests the workers complete, then the
workers, so that open requests still reach the store.
A problem that prevents serving is reported in one line. An unreachable shared store does not
prevent serving. SIGHUP reloads the configuration (`reload`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from redis.exceptions import RedisError

from gatekeeper.admin.edge_status import no_edge
from gatekeeper.admin.listener import STATIC_PREFIX
from gatekeeper.config.invitation_keys import invitation_keys
from gatekeeper.config.schema import Config
from gatekeeper.config.secrets import (
    admin_secrets,
    challenge_secrets,
    check_not_writable,
    read_secrets,
    signing_secrets,
)
from gatekeeper.config.types import EMBEDDED, split_listen
from gatekeeper.errors import ConfigError, StartError, StoreError
from gatekeeper.pages.renderer import Pages
from gatekeeper.process.children import EmbeddedServerProcess, WorkerProcess
from gatekeeper.process.commands import EndStreams, WorkerPlan
from gatekeeper.process.control_plane import ControlPlane, Folders, cannot_listen, credentials
from gatekeeper.process.edge import Edge
from gatekeeper.process.edge_certificates import own_certificate
from gatekeeper.process.edge_server import caddy_program, edge_files
from gatekeeper.process.embedded import events_address, start_events, start_store
from gatekeeper.process.embedded_process import EmbeddedServer
from gatekeeper.process.liveness import WorkerWatch
from gatekeeper.process.open_files import raise_file_limit
from gatekeeper.process.reload import CheckedFiles, Reloader
from gatekeeper.process.state_folder import state_folder
from gatekeeper.process.tls import TlsFiles
from gatekeeper.room.store import RedisStore, StoreRefusal

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RunningGate:
    """The addresses of a gate that serves."""

    url: str
    admin_url: str
    worker_pids: Callable[[], list[int]]


async def serve(
    config: Config,
    *,
    on_ready: Callable[[RunningGate], None],
    stop: asyncio.Event | None = None,
    load: Callable[[], Config] | None = None,
) -> None:
    """Run a gate until SIGTERM, SIGINT or `stop`; `load` reads its configuration again for a
    reload. Raises StartError or ConfigError on start."""
    raise_file_limit()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event() if stop is None else stop
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        supervisor = Supervisor(config, stack, load=load or (lambda: config))
        loop.add_signal_handler(signal.SIGHUP, supervisor.reload_soon)
        await supervisor.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # see `gatekeeper.__main__`
        on_ready(supervisor.serving)
        await stop.wait()
        log.info("shutting_down")


class Supervisor:
    """One gate: its servers, workers and admin listener; `stack` stops them all."""

    def __init__(
        self, config: Config, stack: AsyncExitStack, *, load: Callable[[], Config]
    ) -> None:
        self._config = config
        self._load = load
        self._control: ControlPlane | None = None
        self._reloads: set[asyncio.Task[None]] = set()
        self._stack = stack
        self._workers: list[WorkerProcess] = []
        self._store_url = config.store.url
        self._events_url = config.events.url
        self.serving: RunningGate

    async def start(self) -> None:
        """Serve; `serving` is set from then on. Raises StartError or ConfigError."""
        config = self._config
        pages = check_files(config)
        folder = state_folder()
        host, port = self._reserve_port() if config.listens else ("", 0)
        admin_socket = self._bind(config.admin.listen, key="admin.listen")
        await self._start_servers(folder)
        store = RedisStore(self._store_url, timeout_s=config.store.timeout)
        self._stack.push_async_callback(store.close)
        await self._check_store(store)
        metrics_folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory("gatekeeper")))
        plan = WorkerPlan(
            config=config,
            store_url=self._store_url,
            events_url=self._events_url,
            secrets=signing_secrets(config, folder),
            host=host,
            port=port,
            listens=config.listens,
        )
        count = config.server.workers
        count = _cores() if count == "auto" else count
        edge = self._edge_of(config, folder, workers=count)
        sockets = edge.files.worker_sockets if edge else [None] * count
        self._workers = [WorkerProcess(plan, metrics_folder, edge_socket=path) for path in sockets]
        self._stack.push_async_callback(self._stop_workers)
        await self._start_workers()
        watch = WorkerWatch(self._workers, metrics_folder)
        watch.start()
        self._stack.push_async_callback(watch.close)  # before the workers, which may stop slowly
        if edge is not None:
            self._stack.push_async_callback(self._stop_edge, edge)
            await edge.start()
        control = ControlPlane(
            config,
            workers=self._workers,
            pages=pages,
            folders=Folders(state=folder, metrics=metrics_folder),
            secrets=plan.secrets,
            edge=edge.status if edge else no_edge,
        )
        control.reloader = Reloader(
            plan, self._workers, load=self._checked_files, on_reload=control.configure, edge=edge
        )
        await control.start(self._stack, admin_socket, store=store, events_url=self._events_url)
        self._control = control
        admin_host, _ = split_listen(config.admin.listen)
        admin_url = f"http://{_local_address(admin_host)}:{admin_socket.getsockname()[1]}"
        scheme = "https" if config.server.tls else "http"
        url = edge.url if edge else f"{scheme}://{_local_address(host)}:{port}"
        self.serving = RunningGate(url, admin_url, self._pids)

    async def _check_store(self, store: RedisStore) -> None:
        """Raise StartError for a store that refuses; an unreachable one may recover."""
        address = _without_password(self._store_url)
        try:
            await store.ping()
        except StoreRefusal as error:
            raise StartError(
                f"store.url: {error.public} ({address}); "
                "expected the address of one server, one shard or Sentinels, with user and password"
            ) from error
        except StoreError as error:
            effect = "admitted visitors continue; newcomers wait until the store recovers"
            cause = str(error.__cause__) or "no reply in time"
            log.warning("store_unreachable", store=address, cause=cause, effect=effect)

    async def _start_workers(self) -> None:
        """Start all at once; the first failure stops the others."""
        try:
            async with asyncio.TaskGroup() as group:
                for worker in self._workers:
                    group.create_task(worker.start())
        except ExceptionGroup as failed:
            first = failed.exceptions[0]
            raise first from first.__cause__

    def _edge_of(self, config: Config, folder: Path, *, workers: int) -> Edge | None:
        return Edge(config, edge_files(folder, workers=workers)) if config.edge.is_on else None

    async def _stop_edge(self, edge: Edge) -> None:
        """Stop the edge. Event streams end first: it would wait for them until its timeout."""
        await asyncio.gather(*(worker.order(EndStreams()) for worker in self._workers))
        await edge.stop()

    async def _stop_workers(self) -> None:
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    def reload_soon(self) -> None:
        """Reload in the background, once the gate serves."""
        if self._control is not None:
            task = asyncio.create_task(self._control.reload_by_signal(), name="reload")
            self._reloads.add(task)
            task.add_done_callback(self._reloads.discard)

    def _checked_files(self) -> CheckedFiles:
        return checked_files(self._load())

    def _pids(self) -> list[int]:
        return [worker.pid for worker in self._workers if worker.pid]

    def _reserve_port(self) -> tuple[str, int]:
        """Raise StartError when the port is in use; else keep it reserved for the workers."""
        listen = self._config.server.listen
        with self._bind(listen, key="server.listen") as probe:
            port = int(probe.getsockname()[1])
        # Bound but not listening: it accepts nothing and reserves the port.
        host, _, _ = listen.rpartition(":")
        self._bind(f"{host}:{port}", key="server.listen", shared=True)
        return split_listen(listen)[0], port

    def _bind(self, listen: str, *, key: str, shared: bool = False) -> socket.socket:
        """A bound socket that does not listen yet. `shared`: workers bind the address too."""
        host, port = split_listen(listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        option = socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR
        bound = socket.socket(family, socket.SOCK_STREAM)
        self._stack.callback(bound.close)
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            bound.bind((host, port))
        except OSError as error:
            raise cannot_listen(listen, error, key=key) from error
        return bound

    async def _start_servers(self, folder: Path) -> None:
        if self._store_url == EMBEDDED:
            self._store_url = await self._start_server(partial(start_store, folder), "store")
        if self._events_url == EMBEDDED:
            await self._start_server(partial(start_events, folder), "events")
            self._events_url = events_address(folder)

    async def _start_server(self, start: Callable[[], Awaitable[EmbeddedServer]], name: str) -> str:
        server = EmbeddedServerProcess(start, name)
        self._stack.push_async_callback(server.stop)
        return await server.start()


def checked_files(config: Config) -> CheckedFiles:
    """The contents of the files that the configuration names. The ConfigError names the file of
    each problem."""
    try:
        pages = check_files(config)
        secrets = signing_secrets(config, state_folder())
        return CheckedFiles(config, pages, secrets, credentials(config))
    except ConfigError as error:
        raise ConfigError(error.located, source="reload") from error


def check_files(config: Config) -> Pages:
    """Check every file that serving needs, and return the pages. Raises ConfigError, StartError."""
    for key in filter(None, (config.server.tls_key, config.edge.tls_key)):
        check_not_writable(Path(key))
    TlsFiles.of(config)
    if config.tokens.secret_file:
        read_secrets(Path(config.tokens.secret_file))
    if config.edge.is_on:
        caddy_program()
        own_certificate(config.edge)
    admin_secrets(config)
    challenge_secrets(config)
    for room in config.rooms:
        invitation_keys(room)
    if config.store.url != EMBEDDED:
        _check_store_url(config.store.url)
    return Pages.of(config, asset_prefix=STATIC_PREFIX)


def _check_store_url(url: str) -> None:
    """Raise StartError for one that redis-py cannot read. Its words may quote the password."""
    try:
        RedisStore(url, timeout_s=1)
    except OSError as error:
        raise StartError(
            f"store.url: cannot use a TLS file that it names: {error.strerror}; expected PEM files"
        ) from None
    except (ValueError, RedisError):
        raise StartError(
            f"store.url: malformed ({_without_password(url)}); expected e.g. "
            "redis://USER:PASSWORD@HOST:PORT/DATABASE, user and password percent-encoded"
        ) from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _local_address(host: str) -> str:
    """An address a browser on this machine can open for a listener on `host`."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{host}]" if ":" in host else host


def _without_password(url: str) -> str:
    """The address without login, and without parameters, which may be secrets."""
    scheme, separator, rest = url.partition("://")
    address, _, parameters = rest.partition("?")
    if "@" in parameters:  # it is uncertain which of the two precedes the address
        return f"{scheme}{separator}…"
    return scheme + separator + address.rpartition("@")[2]
