"""Wires the admin listener of one process group.

Rules. It runs in the supervisor, which serves no visitors and sees only figures. When the
supervisor exits, its workers stop too. The caller's stack undoes what is started here.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from pathlib import Path

from aiohttp import web

from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.auth import AdminAuth, Credential
from gatekeeper.admin.exposition import exposition
from gatekeeper.admin.listener import Admin
from gatekeeper.admin.monitor import Monitor
from gatekeeper.admin.rule_list import rules_json
from gatekeeper.admin.worker_totals import read_figures
from gatekeeper.config.schema import Config
from gatekeeper.config.secrets import admin_secrets
from gatekeeper.config.types import RoomName
from gatekeeper.errors import StartError, StoreError
from gatekeeper.pages.renderer import Pages
from gatekeeper.policy.access import access_rules
from gatekeeper.process.children import WorkerProcess
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.events import Events, NatsEvents, NoEvents
from gatekeeper.room.operator import Operator
from gatekeeper.room.store import RedisStore
from gatekeeper.room.worker_figures import Figures


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of one process group: lasting state, and the metrics files of its workers."""

    state: Path
    metrics: Path


class ControlPlane:
    """The admin listener with its store, events and operators."""

    def __init__(
        self, config: Config, *, workers: Sequence[WorkerProcess], pages: Pages, folders: Folders
    ) -> None:
        self._config = config
        self._workers = workers
        self._pages = pages
        self._folders = folders

    async def start(
        self,
        stack: AsyncExitStack,
        bound: socket.socket,
        *,
        store: RedisStore,
        events_url: str,
        signer: EventSigner,
    ) -> None:
        """Serve on the bound socket. Raises StartError."""
        config = self._config
        events: Events = NoEvents()
        if events_url != "off":
            events = NatsEvents(events_url, replica="operator", signer=signer)
            events.connect()
        stack.push_async_callback(events.close)
        operators: dict[RoomName, Operator] = {}
        for room in config.rooms:
            operators[room.name] = operator = Operator(store, events, room)
            stack.push_async_callback(operator.close)
        rules = access_rules(config.rules, default_rules=config.server.default_rules)
        audit = AuditLog(self._folders.state)
        monitor = Monitor(list(operators.values()), events, own=self._figures, down=self._down)
        await monitor.start()
        stack.push_async_callback(monitor.close)
        admin = Admin(
            operators,
            monitor=monitor,
            events_on=events_url != "off",
            auth=AdminAuth(
                credentials(config),
                audit=audit,
                trusted=[ip_network(network) for network in config.server.trusted_proxies],
            ),
            audit=audit,
            pages=self._pages,
            ready=partial(self._ready, store),
            exposition=partial(exposition, self._folders.metrics),
            rules=partial(rules_json, rules, self._folders.metrics),
        )
        runner = web.AppRunner(admin.application(), access_log=None, shutdown_timeout=2)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        try:
            await web.SockSite(runner, bound).start()
        except OSError as error:
            raise cannot_listen(config.admin.listen, error, key="admin.listen") from error

    def _figures(self) -> list[Figures]:
        return [
            read_figures(self._folders.metrics, replica=worker.replica, pid=worker.pid)
            for worker in self._workers
            if worker.serving and worker.pid is not None
        ]

    def _down(self) -> int:
        return sum(not worker.serving for worker in self._workers)

    async def _ready(self, store: RedisStore) -> list[str]:
        problems = [f"worker {w.number} is not serving" for w in self._workers if not w.serving]
        try:
            await store.ping()
        except StoreError as error:
            problems.append(error.public)
        return problems


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
