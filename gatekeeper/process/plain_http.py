"""A plain HTTP request on a TLS port gets a response that says so.

Theory of operation. OpenSSL notices in the first bytes of a handshake that they are no TLS. At that
point the SSL object still holds the buffer for outgoing bytes: the response goes there in place of
an alert, and the handshake asks for more input, so that the event loop sends what is there. The
next bytes of the client, its close, or the handshake's timeout end the connection. A handshake that
has begun as TLS never gets here, and a normal one is called as it would be without this module.
"""

from __future__ import annotations

import ssl
from typing import Final

from gatekeeper.proxy.own_response import plain_refusal

HANDSHAKE_TIMEOUT_S: Final = 15.0

# "GET", "POST", "HEAD" and "PUT"; "CONNECT"; any other bytes that are no TLS record.
_NO_TLS = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER"})
_RESPONSE: Final = plain_refusal(
    b"", 400, "This port serves HTTPS, and this was plain HTTP. Use an address with https://."
)


class _SniffingSSLObject(ssl.SSLObject):
    """The TLS side of one connection."""

    outgoing: ssl.MemoryBIO
    _has_begun = False
    _refused: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._refused is not None:
            raise self._refused
        try:
            super().do_handshake()
        except ssl.SSLWantReadError:
            self._has_begun |= self.outgoing.pending > 0
            raise
        except ssl.SSLError as error:
            if self._has_begun or error.reason not in _NO_TLS:
                raise
            self._refused = error
            self.outgoing.read()  # an alert, which a client of plain HTTP would read as a response
            self.outgoing.write(_RESPONSE)
            raise ssl.SSLWantReadError("the response is to be sent") from error


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
        wrapped.outgoing = outgoing
        return wrapped


def listener_context() -> ListenerContext:
    """As `ssl.create_default_context` makes it for a server."""
    return ListenerContext(ssl.PROTOCOL_TLS_SERVER)
