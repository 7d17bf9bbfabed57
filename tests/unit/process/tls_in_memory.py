"""A TLS connection and its client, in memory, between a socket and a protocol."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import trustme

from gatekeeper.process.tls_listener import TlsListener

REQUEST = b"GET / HTTP/1.1\r\n\r\n"


class Socket(asyncio.Transport):
    """The socket of the connection; `sent` has the data for the client."""

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
        """Complete the handshake; both sides have read everything."""
        stage = cls(version=version, key_log=key_log)
        stage.shake_hands()
        stage.send()
        stage.receive()
        return stage

    def shake_hands(self) -> None:
        """Run the handshake until the client has completed it; its last message is still in
        `outgoing`."""
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
        """Deliver the sent data to the client. Returns the number of writes of the socket."""
        sent, self.socket.sent = self.socket.sent, []
        for data in sent:
            self._incoming.write(data)
        return len(sent)

    def response(self) -> bytes:
        self.receive()
        return self.client.read(1 << 20)
