"""TLS on one connection, in memory, between a socket and a protocol."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from contextlib import suppress
from typing import Any

import pytest

from gatekeeper.process import tls_listener
from gatekeeper.process.tls_connection import TlsConnection
from gatekeeper.process.tls_listener import TlsListener
from tests.servers import eventually
from tests.unit.process.tls_in_memory import REQUEST, Recorder, Socket, Stage, context


async def test_request_and_response_pass() -> None:
    stage = Stage.open()
    stage.client.write(REQUEST)
    stage.send()
    assert stage.protocol.received == [REQUEST]
    stage.protocol.transport.write(b"response")
    assert stage.response() == b"response"


async def test_records_received_together_are_delivered_once() -> None:
    stage = Stage.open()
    body = b"x" * 40_000
    for part in (REQUEST, body):
        stage.client.write(part)
    stage.send()
    assert stage.protocol.received == [REQUEST + body]


async def test_record_in_parts_waits_for_its_rest() -> None:
    stage = Stage.open()
    stage.client.write(REQUEST)
    data = stage.outgoing.read()
    for at in range(len(data)):
        assert stage.protocol.received == []
        stage.connection.data_received(data[at : at + 1])
    assert stage.protocol.received == [REQUEST]


@pytest.mark.parametrize("type_", [bytes, bytearray, memoryview])
async def test_large_response_is_sent_whole(type_: type[Any]) -> None:
    stage = Stage.open()
    body = bytes(range(256)) * 4000
    stage.protocol.transport.write(type_(body))
    stage.receive()
    received = b""
    while len(received) < len(body):
        received += stage.client.read(1 << 20)
    assert received == body


async def test_ticket_leaves_with_the_response_of_an_immediate_request() -> None:
    """The socket is written once for both."""
    stage = Stage()
    stage.shake_hands()
    stage.client.write(REQUEST)
    stage.send()
    assert stage.protocol.received == [REQUEST]
    assert stage.socket.sent == []
    stage.protocol.transport.write(b"response")
    assert stage.receive() == 1
    assert stage.client.read(100) == b"response"
    assert stage.client.session is not None
    assert stage.client.session.has_ticket


async def test_ticket_leaves_at_once_without_a_request() -> None:
    stage = Stage()
    stage.shake_hands()
    stage.send()
    assert stage.receive() == 1
    with pytest.raises(ssl.SSLWantReadError):
        stage.client.read(1)
    assert stage.client.session is not None
    assert stage.client.session.has_ticket


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_close_sends_close_notify_and_does_not_wait(version: ssl.TLSVersion) -> None:
    stage = Stage.open(version=version)
    transport = stage.protocol.transport
    transport.write(b"last")
    transport.close()
    assert stage.socket.closed
    assert transport.is_closing()
    transport.write(b"more")
    transport.close()
    assert stage.response() == b"last"
    assert stage.client.read(100) == b"", "close_notify, and nothing after it"
    stage.client.write(REQUEST)
    stage.send()
    assert stage.protocol.received == []


async def test_close_notify_of_the_client_ends_the_input_and_closes() -> None:
    stage = Stage.open()
    stage.client.write(REQUEST)
    with suppress(ssl.SSLWantReadError):
        stage.client.unwrap()
    stage.send()
    assert stage.protocol.received == [REQUEST]
    assert stage.protocol.events == ["made", "eof"]
    assert stage.socket.closed
    stage.receive()
    stage.client.unwrap()  # the client has received the alert of the server


async def test_cut_below_tls_is_no_end_of_input() -> None:
    stage = Stage.open()
    stage.connection.eof_received()
    assert stage.protocol.transport.is_closing()
    stage.connection.connection_lost(None)
    assert stage.protocol.events == ["made", "lost None"]


async def test_damaged_record_gets_an_alert_and_ends_the_connection() -> None:
    stage = Stage.open()
    stage.client.write(REQUEST)
    damaged = bytearray(stage.outgoing.read())
    damaged[-1] ^= 1
    stage.connection.data_received(bytes(damaged))
    assert stage.protocol.received == []
    assert stage.socket.closed
    stage.receive()
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        stage.client.read(1)


async def test_failed_handshake_gets_an_alert_and_makes_no_connection() -> None:
    stage = Stage(version=ssl.TLSVersion.TLSv1_2)
    with suppress(ssl.SSLWantReadError):
        stage.client.do_handshake()
    damaged = stage.outgoing.read().replace(b"\x03\x03", b"\x03\x00")
    stage.connection.data_received(damaged)
    assert stage.socket.closed
    assert stage.socket.sent[0][0] == 21  # the type of alerts
    stage.connection.connection_lost(None)
    assert stage.protocol.events == []


async def test_flow_control_is_that_of_the_socket() -> None:
    stage = Stage()
    stage.connection.pause_writing()  # before any write
    stage.connection.resume_writing()
    stage.shake_hands()
    stage.send()
    transport = stage.protocol.transport
    transport.pause_reading()
    assert not transport.is_reading()
    transport.resume_reading()
    assert transport.is_reading()
    stage.connection.pause_writing()
    stage.connection.resume_writing()
    assert stage.protocol.events == ["made", "pause", "resume"]
    assert transport.get_write_buffer_size() == 7


async def test_protocol_can_be_replaced_while_it_receives() -> None:
    """As at a hand-over: one protocol serves the first request, the other one the next."""
    other = Recorder()

    class First(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.set_protocol(other)

    stage = Stage(First())
    stage.shake_hands()
    stage.send()
    for _ in range(2):
        stage.client.write(REQUEST)
        stage.send()
    assert (stage.protocol.received, other.received) == ([REQUEST], [REQUEST])
    stage.connection.connection_lost(None)
    assert other.events == ["lost None"]


async def test_connection_is_freed_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        stage = Stage.open()
        freed = weakref.ref(stage.protocol)
        stage.connection.connection_lost(None)
        del stage
        assert freed() is None
    finally:
        gc.enable()


async def test_only_unfinished_handshakes_are_listed() -> None:
    stage = Stage()
    assert list(stage.listener.handshakes) == [stage.connection]
    assert stage.connection.idle_since_s == pytest.approx(
        asyncio.get_running_loop().time(), abs=600
    )
    stage.shake_hands()
    stage.send()
    assert list(stage.listener.handshakes) == []

    stage = Stage()
    stage.connection.evict()
    assert stage.socket.aborted
    stage.connection.connection_lost(None)
    assert list(stage.listener.handshakes) == []


async def test_handshakes_end_after_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a failed one whose client does not read; an established connection stays open."""
    monkeypatch.setattr(tls_listener, "HANDSHAKE_TIMEOUT_S", 0.05)
    listener = TlsListener()
    listener.serve(context())
    sockets = [Socket(), Socket(), Socket()]
    connections = [TlsConnection(listener, Recorder()) for _ in sockets]
    for connection, socket in zip(connections, sockets, strict=True):
        connection.connection_made(socket)
    connections[0].data_received(REQUEST)
    assert b"HTTPS" in sockets[0].sent[0]
    listener.end(connections[1])
    await eventually(lambda: sockets[2].aborted)
    assert [each.aborted for each in sockets] == [True, False, True]
    connections.append(TlsConnection(listener, Recorder()))
    connections[3].connection_made(Socket())
    await eventually(lambda: not listener.handshakes)
