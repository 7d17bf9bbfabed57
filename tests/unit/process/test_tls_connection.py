"""TLS on one connection, in memory: the socket's side in, the protocol's side out."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from gatekeeper.process import tls_listener
from gatekeeper.process.tls_connection import TlsConnection
from gatekeeper.process.tls_listener import TlsListener
from tests.servers import eventually

REQUEST = b"GET / HTTP/1.1\r\n\r\n"


class Socket(asyncio.Transport):
    """The socket of the connection; `sent` is for the client."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = self.aborted = self.paused = False
        self.unsent = 7  # bytes

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_reading(self) -> bool:
        return not self.paused

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Recorder(asyncio.Protocol):
    """The protocol behind TLS."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.received: list[bytes] = []
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.received.append(data)

    def eof_received(self) -> bool:
        self.events.append("eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(f"lost {exc}")

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")


@cache
def context() -> ssl.SSLContext:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.num_tickets = 1
    trustme.CA().issue_cert("one.test").configure_cert(server)
    return server


class Stage:
    """A connection and its client. The client's bytes go through `send`, the server's through
    `receive`."""

    def __init__(
        self,
        protocol: Recorder | None = None,
        *,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        key_log: Path | None = None,
    ) -> None:
        self.listener = TlsListener()
        self.listener.serve(context())
        self.protocol, self.socket = protocol or Recorder(), Socket()
        self.connection = self.listener.over_tls(lambda: self.protocol)()
        self.connection.connection_made(self.socket)
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        own.check_hostname, own.verify_mode = False, ssl.CERT_NONE
        own.minimum_version = own.maximum_version = version
        if key_log is not None:
            own.keylog_filename = str(key_log)
        self._incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = own.wrap_bio(self._incoming, self.outgoing)

    @classmethod
    def open(
        cls, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, key_log: Path | None = None
    ) -> Stage:
        """After the handshake; the client has sent all of it, and read what came back."""
        stage = cls(version=version, key_log=key_log)
        stage.shake_hands()
        stage.send()
        stage.receive()
        return stage

    def shake_hands(self) -> None:
        """Until the client is done; its last message is still in `outgoing`."""
        for _ in range(3):
            with suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
                return
            self.send()
            self.receive()
        raise AssertionError("no handshake")

    def send(self) -> None:
        if data := self.outgoing.read():
            self.connection.data_received(data)

    def receive(self) -> int:
        """Pass on what was sent to the client; how many writes of the socket it took."""
        sent, self.socket.sent = self.socket.sent, []
        for data in sent:
            self._incoming.write(data)
        return len(sent)

    def response(self) -> bytes:
        self.receive()
        return self.client.read(1 << 20)


class Records:
    """Records that a client of `Stage` sends by itself, after its handshake (RFC 8446): Python has
    no call for a KeyUpdate. Each changes the key of those after it."""

    def __init__(self, key_log: Path, cipher: tuple[str, str, int] | None) -> None:
        assert cipher is not None
        self._hash = hashes.SHA384() if cipher[0].endswith("SHA384") else hashes.SHA256()
        self._key_bytes = cipher[2] // 8
        lines = [line.split() for line in key_log.read_text().splitlines() if line[0] != "#"]
        self._secret = {words[0]: bytes.fromhex(words[2]) for words in lines}[
            "CLIENT_TRAFFIC_SECRET_0"
        ]

    def _expand(self, label: bytes, length: int) -> bytes:
        """`HKDF-Expand-Label` of section 7.1."""
        label = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
        return HKDFExpand(self._hash, length, info).derive(self._secret)

    def _record(self, content: bytes, *, number: int) -> bytes:
        """Section 5.2."""
        head = b"\x17\x03\x03" + (len(content) + 16).to_bytes(2, "big")
        nonce = int.from_bytes(self._expand(b"iv", 12), "big") ^ number
        key = AESGCM(self._expand(b"key", self._key_bytes))
        return head + key.encrypt(nonce.to_bytes(12, "big"), content, head)

    def key_update(self, *, after: bytes = b"") -> bytes:
        """A KeyUpdate that asks for that of the server (section 4.6.3); `after` data in a record of
        its own."""
        records = self._record(after + b"\x17", number=0) if after else b""
        records += self._record(b"\x18\0\0\x01\x01\x16", number=1 if after else 0)
        self._secret = self._expand(b"traffic upd", self._hash.digest_size)
        return records


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
    """One write of the socket for both."""
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
    stage.client.unwrap()  # it has that of the server


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
    stage.connection.pause_writing()  # before anyone could write
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


def updating(folder: Path) -> tuple[Stage, Records]:
    stage = Stage.open(key_log=folder / "keys")
    return stage, Records(folder / "keys", stage.client.cipher())


@pytest.mark.parametrize("data", [b"", b"x"], ids=["alone", "with data"])
async def test_key_updates_that_are_not_read_end_the_connection(
    tmp_path: Path, data: bytes
) -> None:
    """Also with data that gets no response."""
    stage, records = updating(tmp_path)
    for _ in range(1000):
        stage.connection.data_received(records.key_update(after=data))
        if stage.socket.aborted:
            break
    assert stage.socket.aborted
    assert sum(map(len, stage.socket.sent)) <= 10_000


async def test_key_updates_in_one_read_end_the_connection(tmp_path: Path) -> None:
    stage, records = updating(tmp_path)
    stage.connection.data_received(b"".join(records.key_update() for _ in range(1000)))
    assert stage.socket.aborted
    assert stage.socket.sent == []


@pytest.mark.parametrize("is_read", ["at once", "late"])
async def test_key_updates_of_a_client_that_reads_pass(tmp_path: Path, is_read: str) -> None:
    """Any number of them, also while it is behind with a long response."""
    stage, records = updating(tmp_path)
    if is_read == "at once":
        stage.socket.unsent = 0
    for number in range(1000):
        if is_read == "late" and number % 100 == 99:
            stage.connection.resume_writing()
        stage.connection.data_received(records.key_update())
    stage.protocol.transport.write(b"response")
    assert stage.response() == b"response"


async def test_protocol_can_be_replaced_while_it_receives() -> None:
    """As at a hand-over: the first request is served by the one, the next by the other."""
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
    """Also one that failed, and whose client does not read; a connection that is open stays."""
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
