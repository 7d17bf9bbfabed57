"""The parent process: embedded servers, workers, and the admin listener.

Rules. Whatever is started here ends here, in the reverse order: workers first, so that requests
under way still find their store. A worker that dies is started again, with a growing pause; an
embedded server likewise, on the data it left. Nothing is served before everything it needs
answers, and what does not is named in one line. SIGHUP goes on to the workers.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from aiohttp import web
from prometheus_client.multiprocess import mark_process_dead

from gatekeeper.config import Config, RoomName
from gatekeeper.errors import ConfigError, StartError, StoreError
from gatekeeper.policy.rules import Rules
from gatekeeper.room.embedded import EmbeddedServer, start_events, start_store, state_folder
from gatekeeper.room.events import Events, NatsEvents, NoEvents
from gatekeeper.room.operator import Operator
from gatekeeper.room.store import RedisStore
from gatekeeper.values import MIN_SECRET_BYTES, split_listen
from gatekeeper.web.admin import STATIC_PREFIX, Admin
from gatekeeper.web.exposition import exposition
from gatekeeper.web.pages import Pages
from gatekeeper.worker import Plan, TlsFiles

_WORKER_START_TIMEOUT_S = 20.0
_WORKER_END_MARGIN_S = 5.0
_RESTART_PAUSE_S = (0.1, 0.5, 1, 2, 5)  # after the first, second … death in a row
_HEALTHY_AFTER_S = 30.0
_SECRET_NAME = "secret"  # noqa: S105  a file's name

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
        self._workers: list[_WorkerProcess] = []
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
        try:
            await store.ping()
        except StoreError as error:
            raise StartError(
                f"the store at {_without_password(self._store_url)} does not answer: start it, or "
                'set store.url ("embedded" brings its own)'
            ) from error
        metrics_folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory("gatekeeper")))
        plan = Plan(
            config=config,
            store_url=self._store_url,
            events_url=self._events_url,
            secrets=_secrets(config, folder),
            host=host,
            port=port,
        )
        count = config.server.workers
        count = _cores() if count == "auto" else count
        self._workers = [_WorkerProcess(plan, metrics_folder) for _ in range(count)]
        self._stack.push_async_callback(self._end_workers)
        await self._start_workers()
        admin_url = await self._start_admin(admin_socket, store, pages, metrics_folder)
        scheme = "https" if config.server.tls else "http"
        self.serving = Serving(f"{scheme}://{_reachable(host)}:{port}", admin_url, self._pids)

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
            raise _cannot_listen(listen, error, key=key) from error
        return bound

    async def _start_servers(self, folder: Path) -> None:
        if self._store_url == "embedded":
            self._store_url = await self._keep(partial(start_store, folder), "store")
        if self._events_url == "embedded":
            self._events_url = await self._keep(partial(start_events, folder), "events")

    async def _keep(self, start: Callable[[], Awaitable[EmbeddedServer]], name: str) -> str:
        keeper = _Keeper(start, name)
        self._stack.push_async_callback(keeper.end)
        return await keeper.start()

    async def _start_admin(
        self, bound: socket.socket, store: RedisStore, pages: Pages, metrics_folder: Path
    ) -> str:
        config = self._config
        events: Events = NoEvents()
        if self._events_url != "off":
            events = NatsEvents(self._events_url, replica="operator")
            events.connect()
        self._stack.push_async_callback(events.close)
        operators: dict[RoomName, Operator] = {}
        for room in config.rooms:
            operators[room.name] = operator = Operator(store, events, Rules.of(room))
            self._stack.push_async_callback(operator.close)

        async def ready() -> list[str]:
            problems = [f"worker {w.number} is down" for w in self._workers if not w.serving]
            try:
                await store.ping()
            except StoreError as error:
                problems.append(error.public)
            return problems

        admin = Admin(
            operators,
            token=config.admin.token,
            pages=pages,
            ready=ready,
            exposition=partial(exposition, metrics_folder),
        )
        runner = web.AppRunner(admin.application(), access_log=None, shutdown_timeout=2)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        try:
            await web.SockSite(runner, bound).start()
        except OSError as error:
            raise _cannot_listen(config.admin.listen, error, key="admin.listen") from error
        host, _ = split_listen(config.admin.listen)
        return f"http://{_reachable(host)}:{bound.getsockname()[1]}"


class _WorkerProcess:
    """A worker and its successors."""

    _numbers = iter(range(1, sys.maxsize))

    def __init__(self, plan: Plan, metrics_folder: Path) -> None:
        self.number = next(self._numbers)
        self.serving = False
        self._plan = plan
        self._metrics_folder = metrics_folder
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start and wait until it serves. Raises StartError."""
        await self._spawn()
        self._watch = asyncio.create_task(self._keep(), name=f"worker {self.number}")

    async def _spawn(self) -> None:
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "gatekeeper.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(self._metrics_folder)},
                start_new_session=True,  # Ctrl-C is for the supervisor, which ends workers in order
            )
        except OSError as error:  # no memory, too many processes: perhaps not for ever
            raise StartError(f"worker {self.number} cannot start: {error.strerror}") from error
        assert process.stdin is not None
        assert process.stdout is not None
        plan = pickle.dumps(self._plan)
        process.stdin.write(len(plan).to_bytes(8, "big") + plan)
        try:
            async with asyncio.timeout(_WORKER_START_TIMEOUT_S):
                said = json.loads(await process.stdout.readline() or b"{}")
        except (TimeoutError, ValueError) as error:
            process.kill()
            raise StartError(f"worker {self.number} did not start in time") from error
        if "serving" not in said:
            await process.wait()
            raise StartError(said.get("failed", f"worker {self.number} ended while starting"))
        self.serving = True

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        deaths = 0
        while self._process is not None:
            began_s = loop.time()
            code = await self._process.wait()
            self.serving = False
            mark_process_dead(self._process.pid, str(self._metrics_folder))  # type: ignore[no-untyped-call]
            log.error("worker_died", worker=self.number, code=code)
            deaths = 0 if loop.time() - began_s > _HEALTHY_AFTER_S else deaths + 1
            await asyncio.sleep(_RESTART_PAUSE_S[min(deaths, len(_RESTART_PAUSE_S)) - 1])
            try:
                await self._spawn()
            except StartError as error:
                log.error("worker_not_started", worker=self.number, error=error.public)  # noqa: TRY400

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def end(self) -> None:
        """Ask it to finish; kill it when it takes longer than it may."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        limit_s = self._plan.config.server.shutdown_timeout + _WORKER_END_MARGIN_S
        try:
            await asyncio.wait_for(self._process.wait(), limit_s)
        except TimeoutError:
            log.error("worker_killed", worker=self.number)  # noqa: TRY400
            self._process.kill()
            await self._process.wait()


class _Keeper:
    """An embedded server and its successors at the same address."""

    def __init__(self, start: Callable[[], Awaitable[EmbeddedServer]], name: str) -> None:
        self._start = start
        self._name = name
        self._server: EmbeddedServer | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> str:
        self._server = await self._start()
        self._watch = asyncio.create_task(self._keep(), name=f"keep {self._name}")
        return self._server.url

    async def _keep(self) -> None:
        while self._server is not None:
            code = await self._server.wait()
            log.error("embedded_server_died", server=self._name, code=code)
            await asyncio.sleep(_RESTART_PAUSE_S[0])
            try:
                self._server = await self._start()
            except (StartError, OSError) as error:
                log.error("embedded_server_not_started", error=str(error))  # noqa: TRY400
                await asyncio.sleep(_RESTART_PAUSE_S[-1])

    async def end(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._server is not None:
            await self._server.stop()


def check_files(config: Config) -> Pages:
    """The pages, after a look at every file that would keep a gate from starting."""
    server = config.server
    TlsFiles.of(config)
    if config.tokens.secret_file:
        _read_secrets(Path(config.tokens.secret_file))
    return Pages(
        templates=Path(server.templates) if server.templates else None,
        static=Path(server.static) if server.static else None,
        asset_prefix=STATIC_PREFIX,
    )


def _secrets(config: Config, folder: Path) -> tuple[bytes, ...]:
    """The configured secrets, or the key that this state folder keeps; made when it has none."""
    tokens = config.tokens
    if tokens.secrets:
        return tuple(secret.encode() for secret in tokens.secrets)
    if tokens.secret_file:
        return _read_secrets(Path(tokens.secret_file))
    path = folder / _SECRET_NAME
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
    return _read_secrets(path)


def _read_secrets(path: Path) -> tuple[bytes, ...]:
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


def _cannot_listen(listen: str, error: OSError, *, key: str) -> StartError:
    return StartError(
        f"cannot listen on {listen}: {error.strerror}; end what uses that port, or set {key}"
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reachable(host: str) -> str:
    """An address a browser on this machine can open for a listener on `host`."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{host}]" if ":" in host else host


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]
