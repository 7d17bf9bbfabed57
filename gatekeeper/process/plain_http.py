"""How a connection of a TLS port begins: plain HTTP gets a response that says so, and a client
hello that costs too much is refused (`client_hello`).

Theory of operation. OpenSSL notices in the first bytes of a handshake that they are no TLS. At that
point the SSL object still holds the buffer for outgoing bytes: the response goes there in place of
an alert. From then on the object carries nothing: the handshake counts as done, the listener's
protocol reads the end of its input at once, and writes nothing. So the event loop sends the
response, shuts the connection down and closes it, in its usual order. A handshake that has begun as
TLS never gets here.

The event loop calls these objects for each request. So they also report without OpenSSL, at a tenth
of the cost, that there is nothing to read.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gatekeeper.process.client_hello import ClientHellos
from gatekeeper.proxy.own_response import plain_refusal

HANDSHAKE_TIMEOUT_S: Final = 15.0

# "GET", "POST", "HEAD" and "PUT"; "CONNECT"; any other bytes that are no TLS record.
_NO_TLS = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER"})
_REASON: Final = "This port serves HTTPS, and this was plain HTTP. Use an address with https://."
_FIRST_BYTES: Final = 5  # of a TLS record (RFC 8446 section 5.1); enough for the method
_MAX_RECORD: Final = 1 << 14  # bytes of content (RFC 8446 section 5.1)


@dataclass(slots=True)
class _FirstFlight:
    """What a connection began with."""

    hellos: ClientHellos
    first: bytes = b""
    has_begun: bool = False
    is_refused: bool = False


class _SniffingSSLObject(ssl.SSLObject):
    """The TLS side of one connection."""

    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    beginning: _FirstFlight

    def attach(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        """Before the event loop uses it. It keeps `read`, `write` and `pending`, and calls them for
        each request: the methods of `SSLObject` would only call these native ones."""
        self.incoming, self.outgoing, self.beginning = (
            incoming,
            outgoing,
            _FirstFlight(ClientHellos()),
        )
        native = self._sslobj  # type: ignore[attr-defined]
        self.read = _reader(native, incoming, self.beginning)  # type: ignore[method-assign]
        self.write = native.write  # type: ignore[method-assign]
        self.pending = native.pending  # type: ignore[method-assign]

    def do_handshake(self) -> None:
        beginning = self.beginning
        if beginning.is_refused:
            return
        received = self.incoming.read()
        if not received:
            raise _want_read()  # the event loop begins before the first bytes
        self.incoming.write(received)
        if len(beginning.first) < _FIRST_BYTES:
            beginning.first += received[:_FIRST_BYTES]
        if beginning.hellos.is_refused(received):
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, "a hello that the listener refuses")
        try:
            super().do_handshake()
        except ssl.SSLWantReadError:
            beginning.has_begun |= self.outgoing.pending > 0
            raise
        except ssl.SSLError as error:
            if beginning.has_begun or error.reason not in _NO_TLS:
                raise
            beginning.is_refused = True
            self.outgoing.read()  # an alert, which a client of plain HTTP would read as a response
            self.outgoing.write(plain_refusal(beginning.first, 400, _REASON))
            self.incoming.write(b"\0")  # so that the event loop reads, and finds the end of input

    def getpeercert(self, binary_form: bool = False) -> Any:
        return None if self.beginning.is_refused else super().getpeercert(binary_form)

    def unwrap(self) -> None:
        if not self.beginning.is_refused:
            super().unwrap()


def _reader(native: Any, incoming: ssl.MemoryBIO, beginning: _FirstFlight) -> Callable[..., Any]:
    """`read` of one connection. It does not hold the `SSLObject`: that is freed without the garbage
    collector."""
    read, pending = native.read, native.pending
    has_ended = False

    def read_record(size: int = _MAX_RECORD, buffer: Any = None) -> Any:
        nonlocal has_ended
        if not incoming.pending and not has_ended and not pending():
            raise _want_read()
        if beginning.is_refused:
            return b"" if buffer is None else 0
        try:
            # OpenSSL returns one record at most; a larger buffer is allocated for nothing.
            got = read(min(size, _MAX_RECORD)) if buffer is None else read(size, buffer)
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError:
            has_ended = True
            raise
        if not got:
            has_ended = True
        return got

    return read_record


def _want_read() -> ssl.SSLWantReadError:
    """What OpenSSL reports without bytes to read; its own report costs ten times as much."""
    return ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "no bytes to read")


class ListenerContext(ssl.SSLContext):
    """The context of a listener: new connections get the current one of `serve`."""

    _current: ssl.SSLContext | None = None

    def serve(self, context: ssl.SSLContext) -> None:
        """From the next connection on."""
        self._current = context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        assert self._current is not None
        wrapped = self._current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(wrapped, _SniffingSSLObject)
        wrapped.attach(incoming, outgoing)
        return wrapped


def server_context() -> ssl.SSLContext:
    """A context for `ListenerContext.serve`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _SniffingSSLObject
    return context
