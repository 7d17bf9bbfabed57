"""Events between replicas over core NATS: absolute states and revocations, and the figures of each
replica for the control rooms of all process groups.

Rules. Delivery is at most once, since the store is the source of truth and every replica's pacer
reads it: nothing is queued for an unreachable server, nothing is retried, nothing blocks. A message
without a valid signature, or larger than the gate's own can be, is dropped. During a rollout
replicas run different releases: an unknown field is ignored, a missing one has its default. Times
are of the store's clock.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nats
import structlog
from nats.aio.msg import Msg

from gatekeeper.config.types import RoomName
from gatekeeper.policy.numbers import is_exact_int, is_exact_number
from gatekeeper.policy.tokens import VisitorId, is_visitor_id
from gatekeeper.room.event_bus import Listener
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.nats_client import NatsClient, login_of
from gatekeeper.room.state import RoomState, parse_json
from gatekeeper.room.worker_figures import Figures, parse_figures

_CONNECT_TIMEOUT_S = 2
_RECONNECT_WAIT_S = 1
_PING_INTERVAL_S = 5
_PUBLISH_TIMEOUT_S = 1
_ASK_TIMEOUT_S = 1
_CLOSE_TIMEOUT_S = 2
_CANCELLATIONS = 4
# A state has 600 bytes, a batch of revocations 3,000; the longest events of a room have 130,000.
_MAX_BYTES = 196_608
_MAX_PENDING, _MAX_PENDING_BYTES = 1_000, 32_768_000
_LOG_AGAIN_AFTER_S = 60.0  # any client can send any number of malformed messages
_FIGURES = "gatekeeper.figures"  # subjects of rooms have three parts

log = structlog.get_logger()


class NatsEvents:
    """Core NATS by URL; connects in the background, and again whenever the connection ends.

    A `file:` URL names the file with the address, which is read for each connection: a restarted
    private server has another address if a program took its port meanwhile.
    """

    def __init__(
        self,
        url: str,
        *,
        replica: str,
        signer: EventSigner,
        on_reconnect: Callable[[], None] = lambda: None,
    ) -> None:
        self._url = url
        self._replica = replica
        self._signer = signer
        self._on_reconnect = on_reconnect
        self._client = NatsClient()
        self._listeners: dict[RoomName, Listener] = {}
        self._responding: set[RoomName] = set()  # rooms of which this replica has a state
        self._up = asyncio.Event()
        self._receive_figures: Callable[[Figures], None] | None = None
        self._subscribed: set[str] = set()
        self._connecting: asyncio.Task[None] | None = None
        self._closing = self._is_up = self._has_logged_outage = False
        self._logged_malformed_at_s = self._logged_unreachable_at_s = float("-inf")

    def connected(self) -> bool:
        """Whether the server sends this replica every event from now on."""
        return self._is_up and self._client.is_connected

    async def listen(self, room: RoomName, listener: Listener) -> None:
        self._listeners[room] = listener
        self.connect()
        if self._client.is_connected:
            with suppress(nats.errors.Error):  # just closed: the next connection subscribes
                await self._subscribe(room)

    def forget(self, room: RoomName, listener: Listener) -> None:
        """Deliver no more events of a room that was removed; the subscription may stay."""
        if self._listeners.get(room) is listener:
            del self._listeners[room]
            self._responding.discard(room)

    async def is_known_elsewhere(self, room: RoomName) -> bool:
        """Whether another replica has a state of the room, which the listener then receives. Also
        true when none could be asked."""
        subject = f"gatekeeper.{room}.known"
        try:
            async with asyncio.timeout(_ASK_TIMEOUT_S):
                await self._up.wait()
                signed = self._signer.sign(subject, b"")
                message = await self._client.request(
                    subject, timeout=_ASK_TIMEOUT_S, headers=signed
                )
        except nats.errors.NoRespondersError:
            return False
        except (nats.errors.Error, OSError, TimeoutError) as error:
            log.warning("replicas_not_asked", room=room, error=str(error) or type(error).__name__)
            return True
        message.subject = subject  # it came to an inbox
        await self._on_state(message)
        return True

    async def respond_for(self, room: RoomName) -> None:
        """Respond to other replicas that ask for the room, from now on."""
        if room in self._responding or room not in self._listeners:
            return
        self._responding.add(room)
        if self._client.is_connected:
            with suppress(nats.errors.Error):
                await self._subscribe_known(room)

    async def subscribe_figures(self, receive: Callable[[Figures], None]) -> None:
        """Subscribe to the figures of replicas in other process groups."""
        self._receive_figures = receive
        self.connect()
        if self._client.is_connected:
            with suppress(nats.errors.Error):
                await self._subscribe_figures()

    def connect(self) -> None:
        """Begin to connect, also without a subscription. A client that is connected or reconnects
        is kept: a second one would receive every event twice."""
        if self._connecting is None and not self._is_client_alive():
            self._connecting = asyncio.create_task(self._connect(), name="connect to NATS")

    def _is_client_alive(self) -> bool:
        """Whether the client is connected, or reconnects without a call of `_connect`."""
        client = self._client
        return client.is_connected or client.is_connecting or client.is_reconnecting

    async def _connect(self) -> None:
        while not self._closing:
            self._client, self._subscribed = NatsClient(), set()
            try:
                await self._open()
            except Exception as error:  # noqa: BLE001  whatever failed is tried again
                self._log_unreachable(error)
                await self._close_client()
            if self._is_client_alive():  # it may also have been closed since
                break
            await asyncio.sleep(_RECONNECT_WAIT_S)
        self._connecting = None
        if not self._closing:
            self._on_up()

    def _log_unreachable(self, error: Exception) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._logged_unreachable_at_s >= _LOG_AGAIN_AFTER_S:
            self._logged_unreachable_at_s = now_s
            self._has_logged_outage = True
            log.warning("events_unreachable", error=str(error) or type(error).__name__)

    async def _open(self) -> None:
        url, in_file = self._url, self._url.startswith("file:")
        if in_file:
            url = _read(url)
        await self._client.connect(
            url,
            **login_of(url),
            name=f"gatekeeper {self._replica}",
            connect_timeout=_CONNECT_TIMEOUT_S,
            reconnect_time_wait=_RECONNECT_WAIT_S,
            max_reconnect_attempts=-1,
            ping_interval=_PING_INTERVAL_S,
            max_outstanding_pings=2,
            allow_reconnect=not in_file,  # else it is closed, and opened here
            no_echo=True,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
        )
        for room in tuple(self._listeners):
            await self._subscribe(room)
        for room in tuple(self._responding):
            await self._subscribe_known(room)
        if self._receive_figures is not None:
            await self._subscribe_figures()
        await self._client.flush(timeout=_CONNECT_TIMEOUT_S)  # the server has all of them

    async def _subscribe(self, room: RoomName) -> None:
        if room in self._subscribed:
            return
        self._subscribed.add(room)
        for subject, receive in (("state", self._on_state), ("revoked", self._on_revoked)):
            await self._subscribe_to(f"gatekeeper.{room}.{subject}", receive)

    async def _subscribe_known(self, room: RoomName) -> None:
        subject = f"gatekeeper.{room}.known"
        if subject not in self._subscribed:
            self._subscribed.add(subject)
            await self._subscribe_to(subject, self._on_known)

    async def _subscribe_figures(self) -> None:
        if _FIGURES not in self._subscribed:
            self._subscribed.add(_FIGURES)
            await self._subscribe_to(_FIGURES, self._on_figures)

    async def _subscribe_to(
        self, subject: str, receive: Callable[[Msg], Coroutine[Any, Any, None]]
    ) -> None:
        await self._client.subscribe(
            subject,
            cb=receive,
            pending_msgs_limit=_MAX_PENDING,
            pending_bytes_limit=_MAX_PENDING_BYTES,
        )

    async def publish_state(self, room: RoomName, state: RoomState, *, sent_at_s: float) -> None:
        body = state.to_json(sent_at=sent_at_s, replica=self._replica)
        await self._publish(f"gatekeeper.{room}.state", body)

    async def publish_revoked(
        self, room: RoomName, visitors: Sequence[VisitorId], *, count: int
    ) -> None:
        body = json.dumps({"visitors": list(visitors), "revocations": count}).encode()
        await self._publish(f"gatekeeper.{room}.revoked", body)

    async def publish_figures(self, figures: Figures) -> None:
        await self._publish(_FIGURES, figures.to_json())

    async def _publish(self, subject: str, body: bytes) -> None:
        if not self._client.is_connected:
            return
        try:
            async with asyncio.timeout(_PUBLISH_TIMEOUT_S):
                signed = self._signer.sign(subject, body)
                await self._client.publish(subject, body, headers=signed)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            log.warning("event_not_published", subject=subject, error=str(error))

    async def _on_state(self, message: Msg) -> None:
        try:
            state, more = parse_json(self._verified(message))
            sent_at_s = _time(more.get("sent_at"))
        except (ValueError, TypeError, RecursionError) as error:
            self._drop(message, error)
            return
        if (listener := self._listeners.get(_room_of(message.subject))) is not None:
            listener.receive_state(state, sent_at_s=sent_at_s)

    async def _on_known(self, message: Msg) -> None:
        """Another replica asks whether this one has a state of the room."""
        try:
            self._verified(message)
        except ValueError as error:
            self._drop(message, error)
            return
        listener = self._listeners.get(_room_of(message.subject))
        known = listener.known_state() if listener is not None else None
        if known is None or not message.reply:
            return
        state, now_s = known
        body = state.to_json(sent_at=now_s, replica=self._replica)
        with suppress(nats.errors.Error, OSError, TimeoutError):
            async with asyncio.timeout(_PUBLISH_TIMEOUT_S):
                signed = self._signer.sign(message.subject, body)
                await self._client.publish(message.reply, body, headers=signed)

    async def _on_revoked(self, message: Msg) -> None:
        try:
            visitors, count = _parse_revoked(self._verified(message))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self._drop(message, error)
            return
        if (listener := self._listeners.get(_room_of(message.subject))) is not None:
            listener.receive_revoked(visitors, count=count)

    async def _on_figures(self, message: Msg) -> None:
        try:
            figures = parse_figures(self._verified(message))
        except (ValueError, TypeError, RecursionError) as error:
            self._drop(message, error)
            return
        if self._receive_figures is not None:
            self._receive_figures(figures)

    def _verified(self, message: Msg) -> bytes:
        if len(message.data) > _MAX_BYTES:
            raise ValueError(f"expected at most {_MAX_BYTES} bytes, got {len(message.data)}")
        self._signer.verify(message.subject, message.data, message.headers)
        return message.data

    def _drop(self, message: Msg, error: Exception) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._logged_malformed_at_s >= _LOG_AGAIN_AFTER_S:
            self._logged_malformed_at_s = now_s
            log.warning("event_rejected", subject=message.subject, error=str(error))

    async def _on_error(self, error: Exception) -> None:
        if self._connecting is not None:  # the client tries again by itself
            self._log_unreachable(error)
        log.debug("events_error", error=str(error) or type(error).__name__)

    async def _on_disconnected(self) -> None:
        if self._is_up and not self._closing:
            self._has_logged_outage = True
            log.warning("events_unreachable")
        self._is_up = False
        self._up.clear()

    async def _on_reconnected(self) -> None:
        self._on_up()

    def _on_up(self) -> None:
        if self._has_logged_outage:
            log.info("events_recovered")
        self._is_up, self._has_logged_outage = True, False
        self._up.set()
        self._on_reconnect()

    async def _on_closed(self) -> None:
        """The client has stopped reconnecting: the server refused it, or may return at another
        address. Connect again later."""
        if not self._closing:
            self.connect()

    async def close(self) -> None:
        self._closing = True
        if self._connecting is not None:
            connecting = self._connecting
            # Again: its own wait_for (until Python 3.12) may swallow a cancellation.
            for _ in range(_CANCELLATIONS):
                connecting.cancel()
                await asyncio.wait({connecting}, timeout=_CLOSE_TIMEOUT_S / _CANCELLATIONS)
                if connecting.done():
                    break
        await self._close_client()

    async def _close_client(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._client.close()
        # AssertionError: the client had no address and did not begin to connect.
        except (nats.errors.Error, OSError, TimeoutError, AssertionError) as error:
            log.debug("events_close", error=str(error))


def _read(url: str) -> str:
    return Path(unquote(urlsplit(url).path)).read_text("utf-8")


def _room_of(subject: str) -> RoomName:
    return RoomName(subject.split(".")[1])


def _time(value: object) -> float:
    if not is_exact_number(value):
        raise ValueError("expected a time")
    return float(value)


def _parse_revoked(data: bytes) -> tuple[list[VisitorId], int]:
    raw = json.loads(data)
    visitors, count = raw["visitors"], raw["revocations"]
    if not is_exact_int(count) or not isinstance(visitors, list):
        raise ValueError("expected visitors and a count")
    if not all(map(is_visitor_id, visitors)):
        raise ValueError("expected visitor ids")
    return visitors, count
