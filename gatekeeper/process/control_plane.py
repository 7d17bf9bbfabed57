"""Wires the admin listener of one process group.

Rules. It runs in the supervisor, which serves no visitors and only reads figures. When the
supervisor exits, its workers stop too. The caller's stack undoes what is started here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from aiohttp import web

from gatekeeper.admin.admin_connections import AdminConnection
from gatekeeper.admin.audit import AuditLog, Outcome
from gatekeeper.admin.auth import AdminAuth, Credential
from gatekeeper.admin.draw_entries import DrawEntries
from gatekeeper.admin.edge_status import EdgeStatusSource, no_edge
from gatekeeper.admin.exposition import exposition
from gatekeeper.admin.history import Reading
from gatekeeper.admin.listener import Admin
from gatekeeper.admin.monitor import Monitor
from gatekeeper.admin.report_keeper import MinuteKeeper
from gatekeeper.admin.rule_list import rules_json
from gatekeeper.admin.worker_totals import read_figures
from gatekeeper.config.schema import Config, RoomConfig
from gatekeeper.config.secrets import admin_secrets
from gatekeeper.config.types import RoomName
from gatekeeper.errors import ConfigError, GatekeeperError, StartError, StoreError
from gatekeeper.pages.renderer import Pages
from gatekeeper.policy.default_rules import access_rules
from gatekeeper.policy.planned_events import SigningKeys
from gatekeeper.process.children import WorkerProcess
from gatekeeper.process.reload import CheckedFiles, Reloader
from gatekeeper.proxy.client_address import Network
from gatekeeper.room.event_bus import Events, NoEvents
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.events import NatsEvents
from gatekeeper.room.openings import FileEvents
from gatekeeper.room.operator import Operator
from gatekeeper.room.store import RedisStore
from gatekeeper.room.worker_figures import Figures

_RETRY_S = 1.0
_MAX_NOTE_CHARACTERS = 500  # of the audit log


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of one process group: lasting state, and the metrics files of its workers."""

    state: Path
    metrics: Path


class ControlPlane:
    """The admin listener with its store, events and operators. `reload` is set before `start`."""

    def __init__(
        self,
        config: Config,
        *,
        workers: Sequence[WorkerProcess],
        pages: Pages,
        folders: Folders,
        secrets: tuple[bytes, ...],
        edge: EdgeStatusSource = no_edge,
    ) -> None:
        self._config = config
        self._workers = workers
        self._pages = pages
        self._folders = folders
        self._edge = edge
        self._signer = EventSigner(secrets)
        self._file_events = FileEvents(config.schedule, SigningKeys(secrets))
        self._operators: dict[RoomName, Operator] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._audit = AuditLog(folders.state)
        self._draw_entries = DrawEntries(self._audit)
        self._store: RedisStore
        self._events: Events = NoEvents()
        self._auth: AdminAuth
        self._monitor: Monitor
        self._minutes: MinuteKeeper
        self._admin: Admin
        self.reloader: Reloader

    async def start(
        self, stack: AsyncExitStack, bound: socket.socket, *, store: RedisStore, events_url: str
    ) -> None:
        """Serve on the bound socket. Raises StartError."""
        config = self._config
        self._store = store
        if events_url != "off":
            self._events = NatsEvents(events_url, replica="operator", signer=self._signer)
            self._events.connect()
        stack.push_async_callback(self._events.close)
        stack.push_async_callback(self._close_operators)
        self._operators = {room.name: self._operator_of(room) for room in config.rooms}
        self._auth = AdminAuth(credentials(config), audit=self._audit, trusted=_trusted(config))
        self._minutes = MinuteKeeper(self._operators, self._folders.state)
        await self._minutes.start()
        stack.push_async_callback(self._minutes.close)
        self._monitor = Monitor(
            list(self._operators.values()),
            self._events,
            own=self._figures,
            down=self._down,
            on_reading=self._receive_reading,
        )
        stack.push_async_callback(self._draw_entries.close)
        await self._monitor.start()
        stack.push_async_callback(self._monitor.close)
        self._admin = Admin(
            self._operators,
            monitor=self._monitor,
            minutes=self._minutes,
            events_on=events_url != "off",
            auth=self._auth,
            audit=self._audit,
            pages=self._pages,
            ready=partial(self._ready, store),
            exposition=lambda states, names, lanes, steered: exposition(
                self._folders.metrics,
                states,
                names,
                lanes=lanes,
                steered=steered,
                edge=self._edge(),
            ),
            rules=self._rules_of(config),
            reload=self.reloader.reload,
            edge=self._edge,
        )
        runner = web.AppRunner(self._admin.application(), access_log=None, shutdown_timeout=2)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(self._end_background)
        self._drop_outdated_soon()
        server = runner.server
        assert server is not None
        try:
            listener = await asyncio.get_running_loop().create_server(
                lambda: AdminConnection(server), sock=bound
            )
        except OSError as error:
            raise cannot_listen(config.admin.listen, error, key="admin.listen") from error
        stack.callback(listener.close)

    def configure(self, files: CheckedFiles) -> None:
        """Apply a configuration that the workers have already put in force."""
        config = self._config = files.config
        self._signer.use(files.secrets)
        self._file_events = FileEvents(config.schedule, SigningKeys(files.secrets))
        self._auth.configure(files.credentials, trusted=_trusted(config))
        before, self._operators = self._operators, {}
        for room in config.rooms:
            operator = before.pop(room.name, None) or self._operator_of(room)
            operator.configure(room, self._file_events)
            self._operators[room.name] = operator
        for removed in before.values():
            self._run_soon(removed.close())
        self._monitor.configure(list(self._operators.values()))
        self._minutes.configure(self._operators)
        self._admin.configure(self._operators, pages=files.pages, rules=self._rules_of(config))
        self._drop_outdated_soon()

    def _receive_reading(self, reading: Reading) -> None:
        self._minutes.add(reading)
        self._draw_entries.add(reading)

    def _operator_of(self, room: RoomConfig) -> Operator:
        return Operator(self._store, self._events, room, file_events=self._file_events)

    async def reload_by_signal(self) -> None:
        """SIGHUP: the outcome is in the log and in the audit log."""
        outcome: Outcome = "done"
        note = ""
        try:
            await self.reloader.reload()
        except ConfigError as error:
            outcome, note = "failed", "; ".join(error.problems)[:_MAX_NOTE_CHARACTERS]
        await self._audit.add("SIGHUP", "reload", address="", outcome=outcome, note=note)

    def _rules_of(self, config: Config) -> Callable[[], list[dict[str, object]]]:
        rules = access_rules(config.rules, default_rules=config.server.default_rules)
        return partial(rules_json, rules, self._folders.metrics)

    def _drop_outdated_soon(self) -> None:
        """Drop the overrides of keys whose value in the file has changed since."""
        for operator in self._operators.values():
            self._run_soon(self._drop_outdated(operator))

    async def _drop_outdated(self, operator: Operator) -> None:
        while self._operators.get(operator.rules.room) is operator:
            try:
                await operator.drop_outdated()
            except GatekeeperError:  # the store is unreachable
                await asyncio.sleep(_RETRY_S)
            else:
                return

    def _run_soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _end_background(self) -> None:
        for task in tuple(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _close_operators(self) -> None:
        for operator in self._operators.values():
            await operator.close()

    def _figures(self) -> list[Figures]:
        return [
            read_figures(self._folders.metrics, replica=worker.replica, pid=worker.pid)
            for worker in self._workers
            if worker.serving and worker.pid is not None
        ]

    def _down(self) -> int:
        return sum(not worker.serving for worker in self._workers)

    async def _ready(self, store: RedisStore) -> list[str]:
        problems = [worker.problem for worker in self._workers if worker.problem]
        try:
            await store.ping()
            problems += self._without_store()
        except StoreError as error:
            problems.append(error.public)
        edge = self._edge()
        if edge is not None and not edge.running:
            problems.append("the edge is not running")
        return problems

    def _without_store(self) -> list[str]:
        """Whether the store does not serve the workers: a read replica or a cluster that is down
        replies to `PING` and refuses other commands."""
        known = self._monitor.replicas
        return [
            f"the store does not serve worker {worker.number}"
            for worker in self._workers
            if worker.replica in known and not known[worker.replica].figures.store_up
        ]


def _trusted(config: Config) -> list[Network]:
    return [ip_network(network) for network in config.server.trusted_proxies]


def credentials(config: Config) -> list[Credential]:
    """The configured admin tokens. Raises ConfigError when a file cannot be read."""
    found = [
        Credential.of(token.name, token.role, secret=secret)
        for token, secret in zip(config.admin.tokens, admin_secrets(config), strict=True)
    ]
    if config.admin.token:
        found.insert(0, Credential.of("admin", "full", secret=config.admin.token.encode()))
    return found


def cannot_listen(listen: str, error: OSError, *, key: str) -> StartError:
    """The error of an address that cannot be bound; `key` is the key that sets it."""
    return StartError(
        f"{key}: cannot listen on {listen}: {error.strerror}; "
        f"stop the program that uses the port, or set another {key}"
    )
