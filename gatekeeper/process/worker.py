"""One replica: wires store, events, rooms, proxy and exits, and serves the public listener.

Rules. The supervisor starts a worker, passes it a `WorkerPlan` on standard input and keeps that
pipe open for commands (`commands`): when it closes, the supervisor is gone and the worker stops.
The worker prints one line of JSON on standard output once it serves, and one for each command.
SIGTERM stops it: no new connections, open requests finish within `shutdown_timeout`, then rooms and
origin connections close. SIGHUP is handled by the supervisor and ignored here.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvloop
from aiohttp.web import BaseRequest, Server

from gatekeeper import metrics
from gatekeeper.config.types import RoomName
from gatekeeper.errors import ConfigError, GatekeeperError, StartError
from gatekeeper.logs import log_suppressed, set_up_logging
from gatekeeper.policy.planned_events import SigningKeys
from gatekeeper.process.commands import WorkerPlan
from gatekeeper.process.edge_socket import edge_listener
from gatekeeper.process.open_files import file_limit, raise_file_limit
from gatekeeper.process.pass_report import PassReport
from gatekeeper.process.room_set import NewRoom, RoomSet
from gatekeeper.process.site import Site, SiteParts
from gatekeeper.process.tls import TlsFiles
from gatekeeper.process.worker_commands import obey_supervisor, report
from gatekeeper.proxy import SERVER_OPTIONS, Forwarder, ProxiedResponse
from gatekeeper.proxy.aiohttp_server import ConnectionHandler
from gatekeeper.proxy.fastpath.idle_connections import IdleConnection
from gatekeeper.proxy.fastpath.plain_listener import PlainListener
from gatekeeper.proxy.fastpath.server import FastPathServer
from gatekeeper.proxy.own_response import OwnResponse, StreamedResponse
from gatekeeper.proxy.write_deadline import WRITE_TIMEOUT_S
from gatekeeper.room.event_bus import Events, NoEvents
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.events import NatsEvents
from gatekeeper.room.openings import FileEvents
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.store import RedisStore
from gatekeeper.web.challenge_verifier import ChallengeVerifier
from gatekeeper.web.lasting_exchanges import LastingExchanges
from gatekeeper.web.stream import Streams

_BACKLOG = 4096
_HEARTBEAT_INTERVAL_S = 1.0
_EXIT_TIMEOUT_S = 15.0  # in addition to the shutdown timeout of open requests
# More than the objects of a thousand pending polls, which are all freed without the garbage
# collector. With its default of 700 it would traverse them several times in each turn of the loop.
_YOUNG_OBJECTS = 20_000


@dataclass(frozen=True, slots=True)
class _Preparation:
    """A plan with its files read and its new rooms started."""

    plan: WorkerPlan
    parts: SiteParts
    tls: TlsFiles | None
    new_rooms: dict[RoomName, NewRoom]


def _file_events(plan: WorkerPlan) -> FileEvents:
    return FileEvents(plan.config.schedule, SigningKeys(plan.secrets))


class Worker:
    """One replica in this process. `start`, then `close`.

    Without `fast_path`, aiohttp handles every request; only tests use that.
    """

    def __init__(self, plan: WorkerPlan, *, fast_path: bool = True) -> None:
        self._plan = plan
        self._with_fast_path = fast_path
        self._stack = AsyncExitStack()
        self.replica = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._tls = TlsFiles.of(plan.config)
        self._server: Server | None = None
        self._fast_path: FastPathServer | None = None
        self.streams = Streams([])
        self._listeners: list[asyncio.Server | PlainListener] = []
        self._prepared: _Preparation | None = None
        self._signer = EventSigner(plan.secrets)
        self.room_set: RoomSet
        self._forwarder: Forwarder
        self._verifier: ChallengeVerifier
        self._lasting: LastingExchanges
        self._site: Site | None = None
        self._passes = PassReport()

    @property
    def port(self) -> int:
        """The port that it listens on, also if the system chose it."""
        assert self._plan.listens
        return int(self._listeners[0].sockets[0].getsockname()[1])

    @property
    def site(self) -> Site:
        """The configuration and the exits that serve the next request."""
        assert self._site is not None
        return self._site

    @property
    def rooms(self) -> dict[RoomName, RoomReplica]:
        return self.room_set.replicas

    async def start(self) -> None:
        """Serve. Raises StartError or ConfigError and undoes what was started."""
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()

    async def _start(self, stack: AsyncExitStack) -> None:
        plan, config = self._plan, self._plan.config
        parts = SiteParts.read(config, plan.secrets)
        heartbeat = asyncio.create_task(self._heartbeat(), name="heartbeat")
        stack.callback(heartbeat.cancel)
        store = RedisStore(plan.store_url, timeout_s=config.store.timeout)
        stack.push_async_callback(store.close)
        events: Events = NoEvents()
        if plan.events_url != "off":
            events = NatsEvents(
                plan.events_url,
                replica=self.replica,
                signer=self._signer,
                on_reconnect=lambda: self.room_set.wake(),
            )
        stack.push_async_callback(events.close)
        self.room_set = RoomSet(
            store, events, replica=self.replica, on_change=self._follow_settings
        )
        stack.push_async_callback(self.room_set.close)
        self.room_set.configure_events(_file_events(plan))
        self.room_set.adopt(config.rooms, await self.room_set.start_new(config.rooms))
        self._forwarder = Forwarder(config.origin)
        stack.push_async_callback(self._forwarder.close)
        self._verifier = ChallengeVerifier()
        stack.push_async_callback(self._verifier.close)
        lasting = self._lasting = LastingExchanges()
        site = self._site_of(parts)
        self._fast_path = FastPathServer(
            self._forwarder.pool,
            admission=site.lookup,
            handler=self._new_handler,
            idle_timeout_s=SERVER_OPTIONS["keepalive_timeout"],
            client_timeout_s=config.origin.read_timeout,
            file_limit=file_limit(),
            handed_over=self._handed_over,
            handshakes=self._handshakes,
        )
        lasting.fast_path = self._fast_path
        self._serve_from_now_on(site)
        self._server = Server(self._handle, **SERVER_OPTIONS)  # type: ignore[arg-type]
        await self._listen(stack, self._fast_path)
        stack.callback(self._passes.close)
        metrics.flush()  # what the start counted, for readers of a gate that serves
        stack.callback(metrics.flush)
        stack.callback(heartbeat.cancel)  # before what it uses is closed
        sweep = asyncio.create_task(lasting.sweep_forever(), name="sweep of exchanges")
        stack.callback(lasting.close)
        stack.callback(sweep.cancel)

    # The site: serves the requests under one configuration.

    def _site_of(self, parts: SiteParts) -> Site:
        return Site(
            parts,
            self.room_set.in_force(),
            forwarder=self._forwarder,
            streams=self.streams,
            lasting=self._lasting,
            verifier=self._verifier,
            before=self._site,
        )

    def _serve_from_now_on(self, site: Site) -> None:
        """Replace the site; open requests keep theirs."""
        self._site = site
        self.streams.configure([gate.admission for gate in site.gates.values()])
        assert self._fast_path is not None
        self._fast_path.admission = site.lookup

    def _handle(
        self, request: BaseRequest
    ) -> Coroutine[Any, Any, OwnResponse | StreamedResponse | ProxiedResponse]:
        return self.site.handler.handle(request)

    def _follow_settings(self) -> None:
        """Rebuild the site after operators changed the settings of a room."""
        if self._site is not None:
            self._serve_from_now_on(self._site_of(self._site.parts))

    # Another configuration, in two steps.

    async def prepare(self, plan: WorkerPlan) -> None:
        """Read the files of the plan and start its new rooms. Raises ConfigError or StartError;
        then nothing changed."""
        await self.abort()
        if problems := self.room_set.event_problems(_file_events(plan), plan.config.rooms):
            raise ConfigError(problems, source="reload")
        parts = await asyncio.to_thread(
            SiteParts.read, plan.config, plan.secrets, before=self.site.parts
        )
        tls = self._tls.reload(plan.config) if self._tls is not None else None
        new_rooms = await self.room_set.start_new(plan.config.rooms)
        # Accept the new secrets already: another worker may commit first and sign with them.
        self.site.parts.keyring.accept(plan.secrets)
        self._prepared = _Preparation(plan, parts, tls, new_rooms)

    async def abort(self) -> None:
        """Drop the prepared plan."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self.site.parts.keyring.accept(())
            await self.room_set.drop(prepared.new_rooms)

    def commit(self) -> None:
        """Put the prepared plan in force from the next request on."""
        prepared, self._prepared = self._prepared, None
        assert prepared is not None
        self._plan = prepared.plan
        self._signer.use(prepared.plan.secrets)
        if prepared.tls is not None:
            self._tls = prepared.tls
            self._tls.serve()
        if prepared.parts.keyring is self.site.parts.keyring:
            prepared.parts.keyring.accept(())
        self.room_set.adopt(prepared.plan.config.rooms, prepared.new_rooms)
        self.room_set.configure_events(_file_events(prepared.plan))
        self._serve_from_now_on(self._site_of(prepared.parts))

    def _handed_over(self) -> list[ConnectionHandler]:
        """The connections that aiohttp serves."""
        assert self._server is not None
        return [each for each in self._server.connections if isinstance(each, ConnectionHandler)]

    def _handshakes(self) -> Iterable[IdleConnection]:
        """The connections whose TLS handshake has not ended."""
        return self._tls.listener.handshakes if self._tls is not None else ()

    def _new_handler(self, *, is_from_edge: bool = False) -> ConnectionHandler:
        assert self._server is not None
        handler = ConnectionHandler(
            self._server,
            refuse=self.site.refusals,
            write_timeout_s=max(WRITE_TIMEOUT_S, self._plan.config.origin.read_timeout),
        )
        handler.is_from_edge = is_from_edge
        return handler

    async def _listen(self, stack: AsyncExitStack, fast_path: FastPathServer) -> None:
        plan = self._plan
        loop = asyncio.get_running_loop()
        if plan.listens:
            protocol: Callable[[], asyncio.Protocol] = self._new_handler
            own: PlainListener | None = None
            if self._with_fast_path:
                protocol = fast_path
                if self._tls is None:
                    own = PlainListener(fast_path, backlog=_BACKLOG)
                    protocol = own.new_protocol
            if self._tls is not None:
                protocol = self._tls.listener.over_tls(protocol)
            try:
                listener = await loop.create_server(
                    protocol,
                    plan.host,
                    plan.port,
                    reuse_port=True,  # each worker accepts; the kernel distributes connections
                    backlog=_BACKLOG,
                )
            except OSError as error:
                raise StartError(
                    f"server.listen: cannot listen on {plan.host}:{plan.port}: {error.strerror}"
                ) from error
            self._listeners.append(listener if own is None else own.begin(listener))
        if plan.edge_socket:
            protocol = partial(self._new_handler, is_from_edge=True)
            if self._with_fast_path:
                protocol = fast_path.accept_from_edge
            self._listeners.append(
                await loop.create_unix_server(
                    protocol, sock=edge_listener(plan.edge_socket), backlog=_BACKLOG
                )
            )
        stack.push_async_callback(self._drain)

    async def _drain(self) -> None:
        """Stop accepting, let open requests finish, then close the remaining connections."""
        if self._server is None or self._fast_path is None:
            return
        for listener in self._listeners:
            listener.close()
        self._server.pre_shutdown()
        self.streams.close()
        limit_s = self._plan.config.server.shutdown_timeout
        # aiohttp applies its limit twice: until handlers end, and until they are cancelled.
        await asyncio.gather(self._server.shutdown(limit_s / 2), self._fast_path.close(limit_s))

    async def _heartbeat(self) -> None:
        """Write this worker's metrics, its heartbeat and the counts of suppressed log lines, once a
        second. It begins before the worker serves, since a start may wait for the store."""
        while True:
            if self._server is not None and self._fast_path is not None:
                on_fast_path = len(self._fast_path.connections) + len(self.streams)
                metrics.connections.set(len(self._server.connections) + on_fast_path)
                self._passes.tick(self.site.gates.values())
            metrics.flush()
            metrics.heartbeat.set_to_current_time()
            log_suppressed()
            await asyncio.sleep(_HEARTBEAT_INTERVAL_S)

    async def close(self) -> None:
        await self._stack.aclose()


async def serve(plan: WorkerPlan) -> None:
    """Run one worker until SIGTERM, or until the supervisor exits."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    worker = Worker(plan)
    await worker.start()
    report({"serving": worker.replica})
    commands = asyncio.create_task(obey_supervisor(worker, stop), name="commands")
    await stop.wait()
    # Once the supervisor has exited, no process kills a worker that hangs.
    limit_s = plan.config.server.shutdown_timeout + _EXIT_TIMEOUT_S
    loop.call_later(limit_s, os._exit, 1)
    commands.cancel()
    await worker.close()


def main() -> int:
    """`python -m gatekeeper.process.worker`, for the supervisor only."""
    size = int.from_bytes(sys.stdin.buffer.read(8), "big")
    plan: WorkerPlan = pickle.loads(sys.stdin.buffer.read(size))  # noqa: S301  from the supervisor
    set_up_logging(process=f"worker {os.getpid()}")
    raise_file_limit()
    gc.set_threshold(_YOUNG_OBJECTS)
    try:
        uvloop.run(serve(plan))
    except GatekeeperError as error:
        report({"failed": error.public})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
