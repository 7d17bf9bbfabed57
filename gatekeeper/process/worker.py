"""One replica: wires store, events, rooms, proxy and exits, and serves the public listener.

Rules. The supervisor starts a worker, passes it a `WorkerPlan` on standard input and keeps that
pipe open: when it closes, the supervisor is gone and the worker stops. The worker prints one line
of JSON on standard output once it serves. SIGTERM stops it: no new connections, open requests
finish within `shutdown_timeout`, then rooms and origin connections close. SIGHUP reloads the TLS
certificate.
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
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_network

import structlog
import uvloop
from aiohttp.web import Server

from gatekeeper import metrics
from gatekeeper.config.schema import Config
from gatekeeper.config.types import RoomName
from gatekeeper.errors import GatekeeperError, StartError
from gatekeeper.logs import log_suppressed, set_up_logging
from gatekeeper.pages.renderer import Pages
from gatekeeper.policy.access import access_rules
from gatekeeper.policy.routing import Router
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Keyring, Tokens
from gatekeeper.process.tls import TlsFiles
from gatekeeper.proxy import SERVER_OPTIONS, Forwarder
from gatekeeper.proxy.aiohttp_server import ConnectionHandler
from gatekeeper.proxy.fastpath.server import FastPathServer
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.events import Events, NatsEvents, NoEvents
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.store import RedisStore
from gatekeeper.web.admission import Admission
from gatekeeper.web.cors import Cors
from gatekeeper.web.credentials import CookiePolicy, Credentials, all_cookie_names
from gatekeeper.web.endpoints import Endpoints
from gatekeeper.web.facts_reader import FactsReader
from gatekeeper.web.fastpath.lookup import FastPathLookup
from gatekeeper.web.handler import GateHandler
from gatekeeper.web.lasting_exchanges import LastingExchanges
from gatekeeper.web.pipeline import Pipeline, RoomGate
from gatekeeper.web.responses import Responses
from gatekeeper.web.stream import Streams

_BACKLOG = 4096
_HEARTBEAT_INTERVAL_S = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What the supervisor passes to a worker."""

    config: Config
    store_url: str
    events_url: str
    secrets: tuple[bytes, ...]
    host: str
    port: int


class Worker:
    """One replica in this process. `start`, then `close`.

    Without `fast_path`, aiohttp handles every request; only tests ask for that.
    """

    def __init__(self, plan: WorkerPlan, *, fast_path: bool = True) -> None:
        self._plan = plan
        self._with_fast_path = fast_path
        self._stack = AsyncExitStack()
        self.replica = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.rooms: dict[RoomName, RoomReplica] = {}
        self._tls = TlsFiles.of(plan.config)
        self._server: Server | None = None
        self._fast_path: FastPathServer | None = None
        self.streams = Streams([])
        self._listener: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port it listens on, also when the plan left the choice to the system."""
        assert self._listener is not None
        return int(self._listener.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Serve. Raises StartError or ConfigError and undoes what was started."""
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()

    async def _start(self, stack: AsyncExitStack) -> None:
        plan, config = self._plan, self._plan.config
        pages = Pages.of(config)
        store = RedisStore(plan.store_url, timeout_s=config.store.timeout)
        stack.push_async_callback(store.close)
        events: Events = NoEvents()
        if plan.events_url != "off":
            events = NatsEvents(
                plan.events_url,
                replica=self.replica,
                signer=EventSigner(plan.secrets),
                on_reconnect=self._wake_rooms,
            )
        stack.push_async_callback(events.close)
        keyring = Keyring(plan.secrets)
        cookies = CookiePolicy.of(config.tokens)
        gates: dict[RoomName, RoomGate] = {}
        for room_config in config.rooms:
            name = room_config.name
            room = RoomReplica(store, events, Rules.of(room_config), replica=self.replica)
            stack.push_async_callback(room.close)
            self.rooms[name] = room
            credentials = Credentials(
                Tokens(keyring, name), cookie=config.tokens.cookie, room=name, policy=cookies
            )
            gates[name] = RoomGate(Admission(room, room_config), credentials)
        async with asyncio.TaskGroup() as group:  # an unreachable store costs one timeout, not each
            for room in self.rooms.values():
                group.create_task(room.start())
        forwarder = Forwarder(config.origin)
        stack.push_async_callback(forwarder.close)
        responses = Responses(pages, Cors(config.rooms))
        rules = access_rules(config.rules, default_rules=config.server.default_rules)
        router = Router(config.rooms, rules)
        metrics.declare(gates, rules=[rule.name for rule in rules])
        pipeline = Pipeline(router, gates)
        facts = FactsReader(
            trusted=[ip_network(network) for network in config.server.trusted_proxies],
            tls=config.server.tls,
        )
        own_cookies = all_cookie_names(config.tokens.cookie, gates)
        endpoints = Endpoints(pipeline, responses)
        self.streams = Streams([gate.admission for gate in gates.values()])
        self._fast_path = FastPathServer(
            forwarder.pool,
            admission=FastPathLookup(
                pipeline=pipeline,
                facts=facts,
                origin=config.origin,
                endpoints=endpoints,
                responses=responses,
                streams=self.streams,
                own_cookies=own_cookies,
            ),
            handler=self._new_handler,
            idle_timeout_s=SERVER_OPTIONS["keepalive_timeout"],
            client_timeout_s=config.origin.read_timeout,
        )
        lasting = LastingExchanges(self._fast_path)
        gate_handler = GateHandler(
            pipeline=pipeline,
            facts=facts,
            forwarder=forwarder,
            responses=responses,
            endpoints=endpoints,
            own_cookies=own_cookies,
            lasting=lasting,
        )
        self._server = Server(gate_handler.handle, **SERVER_OPTIONS)  # type: ignore[arg-type]
        await self._listen(stack, self._fast_path if self._with_fast_path else self._new_handler)
        heartbeat = asyncio.create_task(self._heartbeat(), name="heartbeat")
        stack.callback(metrics.flush)
        stack.callback(heartbeat.cancel)
        sweep = asyncio.create_task(lasting.sweep_forever(), name="sweep of exchanges")
        stack.callback(lasting.close)
        stack.callback(sweep.cancel)

    def _new_handler(self) -> ConnectionHandler:
        assert self._server is not None
        return ConnectionHandler(self._server)

    def _wake_rooms(self) -> None:
        """Let every pacer ask the store now: events may have been missed."""
        for room in self.rooms.values():
            room.wake()

    async def _listen(
        self, stack: AsyncExitStack, protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(
                protocol,
                self._plan.host,
                self._plan.port,
                reuse_port=True,  # each worker accepts; the kernel distributes
                backlog=_BACKLOG,
                ssl=self._tls.context if self._tls else None,
            )
        except OSError as error:
            where = f"{self._plan.host}:{self._plan.port}"
            raise StartError(
                f"server.listen: cannot listen on {where}: {error.strerror}"
            ) from error
        stack.push_async_callback(self._drain)

    async def _drain(self) -> None:
        """Stop accepting, let open requests finish, then close what is left."""
        if self._listener is None or self._server is None or self._fast_path is None:
            return
        self._listener.close()
        self._server.pre_shutdown()
        self.streams.close()
        limit_s = self._plan.config.server.shutdown_timeout
        # aiohttp applies its limit twice: until handlers end, and until they are cancelled.
        await asyncio.gather(self._server.shutdown(limit_s / 2), self._fast_path.close(limit_s))

    async def _heartbeat(self) -> None:
        """Write this worker's metrics, its heartbeat and what its log left out, once a second."""
        assert self._server is not None
        assert self._fast_path is not None
        while True:
            on_fast_path = len(self._fast_path.connections) + len(self.streams)
            metrics.connections.set(len(self._server.connections) + on_fast_path)
            metrics.flush()
            metrics.heartbeat.set_to_current_time()
            log_suppressed()
            await asyncio.sleep(_HEARTBEAT_INTERVAL_S)

    def reload_tls(self) -> None:
        """Load the certificate files again. A pair that cannot be used changes nothing."""
        if self._tls is None:
            return
        try:
            self._tls.load()
        except GatekeeperError as error:
            log.error("tls_not_reloaded", error=error.public)  # noqa: TRY400  the message is enough
        else:
            log.info("tls_reloaded")

    async def close(self) -> None:
        await self._stack.aclose()


async def serve(plan: WorkerPlan) -> None:
    """Run one worker until SIGTERM, or until the supervisor exits."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    worker = Worker(plan)
    loop.add_signal_handler(signal.SIGHUP, worker.reload_tls)
    await worker.start()
    print(json.dumps({"serving": worker.replica}), flush=True)  # noqa: T201  for the supervisor
    watch = asyncio.create_task(_stop_with_supervisor(stop), name="watch supervisor")
    await stop.wait()
    watch.cancel()
    await worker.close()


async def _stop_with_supervisor(stop: asyncio.Event) -> None:
    """Set `stop` when standard input closes: the supervisor has exited."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()
    stop.set()


def main() -> int:
    """`python -m gatekeeper.process.worker`, for the supervisor only."""
    size = int.from_bytes(sys.stdin.buffer.read(8), "big")
    plan: WorkerPlan = pickle.loads(sys.stdin.buffer.read(size))  # noqa: S301  from the supervisor
    set_up_logging(process=f"worker {os.getpid()}")
    try:
        uvloop.run(serve(plan))
    except GatekeeperError as error:
        print(json.dumps({"failed": error.public}), flush=True)  # noqa: T201  for the supervisor
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
