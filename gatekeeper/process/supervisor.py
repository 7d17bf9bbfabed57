"""The parent process: embedded servers, workers, and the admin listener.

Rules. Whatever is started here ends here, in the reverse order: workers first, so that requests
under way still find their store. What keeps a gate from serving is named in one line; a shared
store that is away does not. SIGHUP goes on to the workers.
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

from gatekeeper.admin import STATIC_PREFIX
from gatekeeper.config.schema import Config
from gatekeeper.config.secrets import admin_secrets, read_secrets, signing_secrets
from gatekeeper.config.types import split_listen
from gatekeeper.errors import StartError, StoreError
from gatekeeper.pages.renderer import Pages
from gatekeeper.process.children import KeptServer, WorkerProcess
from gatekeeper.process.control_plane import ControlPlane, Folders, cannot_listen
from gatekeeper.process.embedded import (
    EmbeddedServer,
    events_address,
    start_events,
    start_store,
    state_folder,
)
from gatekeeper.process.worker import TlsFiles, WorkerPlan
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.store import RedisStore, StoreRefused

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a gate can be reached once it serves."""

    url: str
    admin_url: str
    worker_pids: Callable[[], list[int]]


async def serve(
    config: Config,
    *,
    on_ready: Callable[[Serving], None],
    ended: asyncio.Event | None = None,
) -> None:
    """Run a gate until SIGTERM, SIGINT or `ended`. Raises StartError or ConfigError before that."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event() if ended is None else ended
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with AsyncExitStack() as stack:
        supervisor = Supervisor(config, stack)
        loop.add_signal_handler(signal.SIGHUP, supervisor.reload)
        await supervisor.start()
        on_ready(supervisor.serving)
        await ended.wait()
        log.info("ending")


class Supervisor:
    """One gate: its servers, workers and admin listener, all undone by `stack`."""

    def __init__(self, config: Config, stack: AsyncExitStack) -> None:
        self._config = config
        self._stack = stack
        self._workers: list[WorkerProcess] = []
        self._store_url = config.store.url
        self._events_url = config.events.url
        self.serving: Serving

    async def start(self) -> None:
        config = self._config
        pages = check_files(config)
        folder = state_folder()
        host, port = self._reserve_port()
        admin_socket = self._bind(config.admin.listen, key="admin.listen")
        await self._start_servers(folder)
        store = RedisStore(self._store_url, timeout_s=config.store.timeout)
        self._stack.push_async_callback(store.close)
        await self._greet(store)
        metrics_folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory("gatekeeper")))
        plan = WorkerPlan(
            config=config,
            store_url=self._store_url,
            events_url=self._events_url,
            secrets=signing_secrets(config, folder),
            host=host,
            port=port,
        )
        count = config.server.workers
        count = _cores() if count == "auto" else count
        self._workers = [WorkerProcess(plan, metrics_folder) for _ in range(count)]
        self._stack.push_async_callback(self._end_workers)
        await self._start_workers()
        admin_url = await self._start_admin(
            admin_socket,
            store,
            pages=pages,
            folders=Folders(state=folder, metrics=metrics_folder),
            seal=EventSigner(plan.secrets),
        )
        scheme = "https" if config.server.tls else "http"
        self.serving = Serving(f"{scheme}://{_reachable(host)}:{port}", admin_url, self._pids)

    async def _greet(self, store: RedisStore) -> None:
        """A store that is away may come; one that refuses needs another address or password."""
        address = _without_password(self._store_url)
        try:
            await store.ping()
        except StoreRefused as error:
            raise StartError(f"{error.public}: the one at {address}; see store.url") from error
        except StoreError:
            said = "does not answer: serving passes, and newcomers wait until it does"
            log.warning("store_unreachable", store=address, why=said)

    async def _start_workers(self) -> None:
        """All at once; the first that fails stops the others."""
        try:
            async with asyncio.TaskGroup() as group:
                for worker in self._workers:
                    group.create_task(worker.start())
        except ExceptionGroup as failed:
            first = failed.exceptions[0]
            raise first from first.__cause__

    async def _end_workers(self) -> None:
        await asyncio.gather(*(worker.end() for worker in self._workers))

    def reload(self) -> None:
        log.info("reloading")
        for worker in self._workers:
            if worker.serving:  # one that starts reads the files anyway, and would die of it
                worker.signal(signal.SIGHUP)

    def _pids(self) -> list[int]:
        return [worker.pid for worker in self._workers if worker.pid]

    def _reserve_port(self) -> tuple[str, int]:
        """Find out now, in one line, whether the port is free; hold it against others."""
        listen = self._config.server.listen
        with self._bind(listen, key="server.listen") as probe:
            port = int(probe.getsockname()[1])
        # Bound but not listening: it takes no connections, and no other program the port.
        host, _, _ = listen.rpartition(":")
        self._bind(f"{host}:{port}", key="server.listen", shared=True)
        return split_listen(listen)[0], port

    def _bind(self, listen: str, *, key: str, shared: bool = False) -> socket.socket:
        """A socket at that address which does not listen yet. `shared`: workers bind it too."""
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
        if self._store_url == "embedded":
            self._store_url = await self._keep(partial(start_store, folder), "store")
        if self._events_url == "embedded":
            await self._keep(partial(start_events, folder), "events")
            self._events_url = events_address(folder)

    async def _keep(self, start: Callable[[], Awaitable[EmbeddedServer]], name: str) -> str:
        keeper = KeptServer(start, name)
        self._stack.push_async_callback(keeper.end)
        return await keeper.start()

    async def _start_admin(
        self,
        bound: socket.socket,
        store: RedisStore,
        *,
        pages: Pages,
        folders: Folders,
        seal: EventSigner,
    ) -> str:
        control = ControlPlane(self._config, workers=self._workers, pages=pages, folders=folders)
        await control.start(self._stack, bound, store=store, events_url=self._events_url, seal=seal)
        host, _ = split_listen(self._config.admin.listen)
        return f"http://{_reachable(host)}:{bound.getsockname()[1]}"


def check_files(config: Config) -> Pages:
    """The pages, after a look at every file that would keep a gate from starting."""
    TlsFiles.of(config)
    if config.tokens.secret_file:
        read_secrets(Path(config.tokens.secret_file))
    admin_secrets(config)
    return Pages.of(config, asset_prefix=STATIC_PREFIX)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reachable(host: str) -> str:
    """An address a browser on this machine can open for a listener on `host`."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{host}]" if ":" in host else host


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]
