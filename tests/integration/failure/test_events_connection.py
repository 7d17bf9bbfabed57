"""One connection to NATS per replica, and a log that pairs each outage with its recovery."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from structlog.testing import capture_logs

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import VisitorId, new_visitor_id
from gatekeeper.room import events as events_module
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.events import NatsEvents
from gatekeeper.room.nats_client import NatsClient
from gatekeeper.room.state import RoomState
from tests.builders import SECRET, room_state
from tests.servers import EventsServer, eventually

ROOM = RoomName("events-connection")


@dataclass
class RecordingListener:
    """A room that records what it receives."""

    states: list[tuple[RoomState, float]] = field(default_factory=list)
    revoked: list[tuple[VisitorId, int]] = field(default_factory=list)
    known: tuple[RoomState, float] | None = None

    def receive_state(self, state: RoomState, *, sent_at_s: float) -> None:
        self.states.append((state, sent_at_s))

    def receive_revoked(self, visitors: Sequence[VisitorId], *, count: int) -> None:
        self.revoked += [(visitor, count) for visitor in visitors]

    def known_state(self) -> tuple[RoomState, float] | None:
        return self.known


@asynccontextmanager
async def running_events(url: str) -> AsyncIterator[NatsEvents]:
    events = NatsEvents(url, replica="r", signer=EventSigner([SECRET]))
    try:
        yield events
    finally:
        await events.close()


async def call_connect(events: NatsEvents) -> None:
    events.connect()


async def call_listen(events: NatsEvents) -> None:
    await events.listen(ROOM, RecordingListener())


async def call_subscribe_figures(events: NatsEvents) -> None:
    await events.subscribe_figures(lambda _: None)


CALLS = (call_connect, call_listen, call_subscribe_figures)


@pytest.fixture
def opened_clients(monkeypatch: pytest.MonkeyPatch) -> list[Client]:
    """Every client that tried to connect."""
    clients: list[Client] = []
    original = Client.connect

    async def connect(self: Client, *arguments: object, **options: object) -> None:
        clients.append(self)
        await original(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Client, "connect", connect)
    return clients


@pytest.mark.parametrize("call", CALLS)
async def test_connected_client_is_kept_by_later_calls(
    events_url: str,
    opened_clients: list[Client],
    call: Callable[[NatsEvents], Awaitable[None]],
) -> None:
    """A room that is added after the replica has connected, as at a slow start."""
    with capture_logs() as logs:
        async with running_events(events_url) as events:
            events.connect()
            await eventually(events.connected)
            await call(events)
            await eventually(lambda: events._connecting is None)
    assert len(opened_clients) == 1
    assert logs == []


async def test_messages_are_json_that_other_tools_can_read(events_url: str) -> None:
    """The subjects, the whole state with its version, and the signature beside it."""
    state = replace(room_state(), version=7)
    other = await nats.connect(events_url)
    subscription = await other.subscribe(f"gatekeeper.{ROOM}.*")
    await other.flush()
    async with running_events(events_url) as events:
        await events.listen(ROOM, RecordingListener())
        await eventually(events.connected)
        await events.publish_state(ROOM, state, sent_at_s=1.5)
        await events.publish_revoked(ROOM, [VisitorId("v" * 22)], count=3)
        messages = [await subscription.next_msg(timeout=10) for _ in range(2)]
    await other.close()
    assert [each.subject for each in messages] == [
        f"gatekeeper.{ROOM}.state",
        f"gatekeeper.{ROOM}.revoked",
    ]
    sent, revoked = [json.loads(each.data) for each in messages]
    assert (sent["version"], sent["mode"], sent["rate_per_minute"]) == (7, "auto", 500)
    assert revoked == {"visitors": ["v" * 22], "revocations": 3}
    assert all(each.headers for each in messages)


HEADERS = [
    b"NATS/1.0 503 \xff\r\n\r\n",
    b"NATS/1.0\r\n: x\r\n\r\n",
    b"NATS/1.0\r\nGatekeeper-Signature: \xff\r\n\r\n",
    b"NATS/1.0\r\nGatekeeper-Signature\r\n\r\n",
    b"NATS/1.0\r\n\r\n",
    b"x\r\n\r\n",
]


@pytest.mark.parametrize("headers", HEADERS)
async def test_malformed_headers_of_others_cost_no_message(
    events_url: str, headers: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any client may reach NATS. nats-py alone would read nothing more until a ping is missed."""
    monkeypatch.setattr(events_module, "_PING_INTERVAL_S", 600)  # no ping is missed here
    listener, subject = RecordingListener(), f"gatekeeper.{ROOM}.state".encode()
    reader, writer = await asyncio.open_connection(*events_url.removeprefix("nats://").split(":"))
    async with running_events(events_url) as events:
        await events.listen(ROOM, listener)
        await eventually(events.connected)
        await events._client.flush()
        size = len(headers)
        writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
        writer.write(b"HPUB %b %d %d\r\n%b{}\r\nPING\r\n" % (subject, size, size + 2, headers))
        while (await reader.readline()).strip() != b"PONG":
            pass
        async with running_events(events_url) as other:
            other.connect()
            await eventually(other.connected)
            await other.publish_revoked(ROOM, [VisitorId("v" * 22)], count=1)
            await eventually(lambda: listener.revoked)
    writer.close()


async def test_replica_is_connected_once_it_is_subscribed(
    events_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_subscribe, subscribe = asyncio.Event(), asyncio.Event(), Client.subscribe

    async def held(self: Client, *arguments: Any, **options: Any) -> Subscription:
        begun.set()
        await may_subscribe.wait()
        return await subscribe(self, *arguments, **options)

    monkeypatch.setattr(Client, "subscribe", held)
    async with running_events(events_url) as events:
        await events.listen(ROOM, RecordingListener())
        await begun.wait()
        assert events._client.is_connected
        assert not events.connected()
        may_subscribe.set()
        await eventually(events.connected)


async def test_close_ends_a_client_that_swallows_a_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, swallowed = asyncio.Event(), 0

    async def connect(*_: object, **__: object) -> None:
        nonlocal swallowed
        begun.set()
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 2:
                    raise

    monkeypatch.setattr(Client, "connect", connect)
    async with running_events("nats://127.0.0.1:1") as events:
        events.connect()
        await begun.wait()
        connecting = events._connecting
    assert connecting is not None
    assert connecting.cancelled()


async def test_missing_address_file_is_read_again(tmp_path: Path, events_url: str) -> None:
    file = tmp_path / "address"
    async with running_events(file.as_uri()) as events:
        events.connect()
        with capture_logs() as logs:
            await eventually(lambda: "events_unreachable" in [each["event"] for each in logs])
        file.write_text(events_url)
        await eventually(events.connected)


async def test_room_added_after_connecting_receives_events_once(events_url: str) -> None:
    listener, visitor = RecordingListener(), new_visitor_id()
    async with running_events(events_url) as receiver, running_events(events_url) as sender:
        for events in (receiver, sender):
            events.connect()
            await eventually(events.connected)
        await receiver.listen(RoomName("another"), RecordingListener())
        await receiver.listen(ROOM, listener)
        await receiver._client.flush(timeout=5)
        for count in (1, 2):
            await sender.publish_revoked(ROOM, [visitor], count=count)
        await eventually(lambda: (visitor, 2) in listener.revoked)
    assert listener.revoked == [(visitor, 1), (visitor, 2)]


async def test_flush_sends_subscriptions_before_its_ping() -> None:
    """Otherwise the server may forward events before it knows the subscription."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"s","version":"2.10.0","max_payload":1048576}\r\n')
        while line := await reader.readline():
            received.append(line.split()[0])
            if received[-1] == b"PING":
                writer.write(b"PONG\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = NatsClient()
    async with server:
        await client.connect(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await client.subscribe("subject")
        await client.flush()
        assert received == [b"CONNECT", b"PING", b"SUB", b"PING"]
        await client.close()


async def test_client_that_reconnects_by_itself_is_kept(
    private_events: EventsServer, opened_clients: list[Client]
) -> None:
    async with running_events(private_events.url) as events:
        await events.listen(ROOM, RecordingListener())
        await eventually(events.connected)
        private_events.kill()
        await eventually(lambda: not events.connected())
        await events.listen(RoomName("another"), RecordingListener())
        await asyncio.to_thread(private_events.start)
        await eventually(events.connected)
    assert len(opened_clients) == 1


async def test_each_logged_outage_is_followed_by_its_recovery(
    private_events: EventsServer,
) -> None:
    """Also the outage that the replica finds at its start."""
    private_events.kill()
    with capture_logs() as logs:

        def logged() -> list[str]:
            return [line["event"] for line in logs if line["log_level"] != "debug"]

        async with running_events(private_events.url) as events:
            events.connect()
            await eventually(lambda: logged() == ["events_unreachable"])
            await asyncio.to_thread(private_events.start)
            await eventually(lambda: logged() == ["events_unreachable", "events_recovered"])
            private_events.kill()
            await eventually(lambda: logged()[2:] == ["events_unreachable"])
            await asyncio.to_thread(private_events.start)
            await eventually(lambda: logged()[2:] == ["events_unreachable", "events_recovered"])


class LoginServer(EventsServer):
    """NATS with a login, in the syntax of its configuration."""

    def __init__(self, login: str) -> None:
        super().__init__()
        self._login = login

    def _command(self) -> list[str]:
        command = super()._command()
        with (self.home / "nats.conf").open("a") as file:
            file.write(f"authorization {{ {self._login} }}\n")
        return command


@pytest.mark.parametrize(
    ("login", "spelled"),
    [
        ('user: "gate", password: "s p@ce"', "gate:s%20p%40ce"),
        ('user: "g@te", password: "plain"', "g%40te:plain"),
        ('token: "t/ken"', "t%2Fken"),
    ],
)
async def test_login_in_the_url_is_percent_encoded(login: str, spelled: str) -> None:
    with LoginServer(login) as server:
        async with running_events(server.url.replace("://", f"://{spelled}@")) as events:
            events.connect()
            await eventually(events.connected)
