"""TLS on one connection of the public listener: the protocol of its socket, and the transport of
the protocol behind it.

Theory of operation. OpenSSL reads and writes two buffers in memory. Bytes from the socket go into
one; the contents of the other are sent. The event loops have their own TLS layer. This one exists
because theirs costs more for each request, exposes a connection only after its handshake, and waits
for the client at the end of every connection (docs/decisions/0112).

    handshake ──done──▶ open: `connection_made` of the protocol behind it
        │                 ├──close_notify or end of input of the client──▶ closing
        │                 └──`close`, `abort`, a damaged record──▶ closing
        └──plain HTTP, a refused hello, an error, 15 s──▶ closing ──▶ `connection_lost`

Rules. Received bytes are decrypted at once and never buffered here, so that the flow control of the
socket applies. TLS's own messages (tickets, RFC 8446 section 4.6) are sent with the next response,
or at once if no request came with them. A client can cause them repeatedly (`KeyUpdate`, section
4.6.3) without reading them: the flow control of responses does not cover this, so they have their
own limit, and a client beyond it is disconnected. `close` sends close_notify and does not wait for
that of the client (section 6.1): as without TLS, the connection closes when its write buffer is
sent. A client that closes its half closes both, as with the event loops' TLS.

Plain HTTP on this port gets a plain response with the reason. OpenSSL detects it in the first bytes
of a handshake. A handshake that began as TLS never gets one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from gatekeeper.process.client_hello import ClientHellos
from gatekeeper.proxy.own_response import plain_refusal

# "GET", "POST", "HEAD" and "PUT"; "CONNECT"; any other bytes that are not a TLS record.
_NO_TLS = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER"})
_REASON: Final = "This port serves HTTPS, and this was plain HTTP. Use an address with https://."
_FIRST_BYTES: Final = 5  # of a TLS record (RFC 8446 section 5.1); enough for the method
_MAX_RECORD: Final = 1 << 14  # bytes of content (RFC 8446 section 5.1)
# TLS's own messages: bytes that wait for the next response, and bytes that a client does not read.
# A KeyUpdate is 27 bytes, and a client needs one for hundreds of gigabytes.
_MAX_HELD: Final = 2048
_MAX_UNREAD: Final = 8192


class HandshakeList(Protocol):
    """The listener, as a connection uses it."""

    @property
    def context(self) -> ssl.SSLContext:
        """The context of new connections."""
        ...

    def begin(self, connection: TlsConnection) -> float:
        """Its handshake is awaited; returns when, by the loop's clock."""
        ...

    def end(self, connection: TlsConnection) -> None:
        """Its handshake is done, or it is closed. May be called again."""
        ...


class _FirstFlight:
    """The first bytes of a handshake, in both directions."""

    __slots__ = ("first", "has_sent", "hellos")

    def __init__(self) -> None:
        self.hellos = ClientHellos()
        self.first = b""
        self.has_sent = False


class TlsConnection(asyncio.Protocol, asyncio.Transport):
    """One connection. `protocol` is behind TLS: it is called once the handshake is done."""

    __slots__ = (
        "_beginning",
        "_closing",
        "_context",
        "_deliver",
        "_incoming",
        "_listener",
        "_outgoing",
        "_protocol",
        "_since_s",
        "_socket",
        "_tls",
        "_unread",
    )

    def __init__(self, listener: HandshakeList, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._listener = listener
        self._context = listener.context
        self._protocol: asyncio.BaseProtocol | None = protocol
        self._deliver: Callable[[bytes], None]
        self._socket: asyncio.Transport
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject
        self._beginning: _FirstFlight | None = _FirstFlight()  # None: the handshake is done
        self._closing = False
        self._since_s = 0.0
        self._unread = 0  # maximum number of bytes that TLS has sent itself

    # The socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._since_s = self._listener.begin(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._incoming.write(data)
        if self._beginning is None:
            self._read()
        else:
            self._shake_hands(self._beginning, data)

    def _shake_hands(self, beginning: _FirstFlight, received: bytes) -> None:
        if len(beginning.first) < _FIRST_BYTES:
            beginning.first += received[:_FIRST_BYTES]
        if beginning.hellos.is_refused(received):
            self.abort()
            return
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            beginning.has_sent |= self._outgoing.pending > 0
            self._flush()
            return
        except ssl.SSLError as error:
            if error.reason in _NO_TLS and not beginning.has_sent:
                self._outgoing.read()  # an alert, which would be read as a response
                self._socket.write(plain_refusal(beginning.first, 400, _REASON))
            self._end()
            return
        self._beginning = None
        self._listener.end(self)
        assert self._protocol is not None
        self.set_protocol(self._protocol)
        self._protocol.connection_made(self)
        if self._incoming.pending and not self._closing:
            self._read()
        else:
            self._flush()

    def _read(self) -> None:
        """Deliver all received bytes. OpenSSL keeps an incomplete record until its rest arrives."""
        parts: list[bytes] = []
        has_ended = False
        try:
            while part := self._tls.read(_MAX_RECORD):
                parts.append(part)
                if not self._incoming.pending:
                    break
            else:
                has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._end()
            return
        if parts:
            self._deliver(parts[0] if len(parts) == 1 else b"".join(parts))
        if not parts or self._outgoing.pending > _MAX_HELD:
            self._flush()
        if has_ended and not self._closing:
            cast(asyncio.Protocol, self._protocol).eof_received()
            self.close()

    def _flush(self) -> None:
        """Send TLS's own messages, and disconnect a client that does not read them."""
        if not self._outgoing.pending:
            return
        if self._beginning is None:
            held = self._unread if self._socket.get_write_buffer_size() else 0
            self._unread = held + self._outgoing.pending
        if self._unread > _MAX_UNREAD:
            self.abort()
        else:
            self._socket.write(self._outgoing.read())

    def _end(self) -> None:
        """Close after an error of TLS; the client receives its alert."""
        self._closing = True
        self._flush()
        self._socket.close()

    def eof_received(self) -> None:
        """The client closed the connection without close_notify; the socket closes."""
        self._closing = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        protocol, self._protocol = self._protocol, None
        if self._beginning is not None:
            self._listener.end(self)
        elif protocol is not None:
            del self._deliver
            protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._beginning is None and self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._unread = 0  # the client reads again
        if self._beginning is None and self._protocol is not None:
            self._protocol.resume_writing()

    # A handshake in progress, as a connection that can be evicted

    @property
    def idle_since_s(self) -> float | None:
        return self._since_s

    def evict(self) -> None:
        self.abort()

    # The side of the protocol behind TLS

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._closing or not data:
            return
        try:
            sent = self._tls.write(data)
            while sent < len(data):
                sent += self._tls.write(memoryview(data)[sent:])
        except ssl.SSLError:
            self._end()
        else:
            self._socket.write(self._outgoing.read())

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        # It waits for the client's close_notify, or the handshake is not done.
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()
        self._socket.close()

    def abort(self) -> None:
        self._closing = True
        self._socket.abort()

    def is_closing(self) -> bool:
        return self._closing or self._socket.is_closing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self._deliver = cast(asyncio.Protocol, protocol).data_received

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        match name:
            case "sslcontext":
                return self._context
            case "ssl_object":
                return self._tls
            case _:
                return self._socket.get_extra_info(name, default)

    def can_write_eof(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return self._socket.is_reading()

    def pause_reading(self) -> None:
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        self._socket.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._socket.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._socket.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        return self._socket.get_write_buffer_size()
