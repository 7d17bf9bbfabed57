"""A plain HTTP request on a TLS port gets a response that says so.

Theory of operation. OpenSSL notices in the first bytes of a handshake that they are no TLS. At that
point the SSL object still holds the buffer for outgoing bytes: the response goes there in place of
an alert. From then on the object carries nothing: the handshake counts as done, the listener's
protocol reads the end of its input at once, and what it writes is dropped. So the event loop sends
the response, shuts the connection down and closes it, in its usual order. A handshake that has
begun as TLS never gets here, and a normal one is called as it would be without this module.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

from gatekeeper.proxy.own_response import plain_refusal

HANDSHAKE_TIMEOUT_S: Final = 15.0

# "GET", "POST", "HEAD" and "PUT"; "CONNECT"; any other bytes that are no TLS record.
_NO_TLS = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER"})
_REASON: Final = "This port serves HTTPS, and this was plain HTTP. Use an address with https://."
_FIRST_BYTES: Final = 5  # of a TLS record (RFC 8446 section 5.1); enough for the method


class _SniffingSSLObject(ssl.SSLObject):
    """The TLS side of one connection."""

    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    _first = b""
    _has_begun = False
    _is_refused = False

    def do_handshake(self) -> None:
        if self._is_refused:
            return
        if len(self._first) < _FIRST_BYTES:
            received = self.incoming.read()
            self.incoming.write(received)
            self._first += received[:_FIRST_BYTES]
        try:
            super().do_handshake()
        except ssl.SSLWantReadError:
            self._has_begun |= self.outgoing.pending > 0
            raise
        except ssl.SSLError as error:
            if self._has_begun or error.reason not in _NO_TLS:
                raise
            self._is_refused = True
            self.outgoing.read()  # an alert, which a client of plain HTTP would read as a response
            self.outgoing.write(plain_refusal(self._first, 400, _REASON))

    def getpeercert(self, binary_form: bool = False) -> Any:
        return None if self._is_refused else super().getpeercert(binary_form)

    def pending(self) -> int:
        return 1 if self._is_refused else super().pending()  # the end of input

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002  as its base has it
        if self._is_refused:
            return b"" if buffer is None else 0
        return super().read(len, buffer)

    def write(self, data: Any) -> int:
        return len(data) if self._is_refused else super().write(data)

    def unwrap(self) -> None:
        if not self._is_refused:
            super().unwrap()


class ListenerContext(ssl.SSLContext):
    """The context of a listener."""

    sslobject_class = _SniffingSSLObject

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        wrapped = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(wrapped, _SniffingSSLObject)
        wrapped.incoming, wrapped.outgoing = incoming, outgoing
        return wrapped


def listener_context() -> ListenerContext:
    """As `ssl.create_default_context` makes it for a server."""
    return ListenerContext(ssl.PROTOCOL_TLS_SERVER)
