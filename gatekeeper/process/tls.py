"""The certificate and the TLS parameters of the public listener.

Rules. The parameters are Mozilla's intermediate configuration. A reload creates a new context for
new connections, since a context keeps one certificate for each key type; open connections are not
affected. Unchanged files keep the context, and with it the sessions that clients resume. An
unusable pair is refused before it replaces the one in use.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gatekeeper.config.schema import Config
from gatekeeper.errors import StartError
from gatekeeper.process.tls_listener import TlsListener

# https://wiki.mozilla.org/Security/Server_Side_TLS, "Intermediate", for TLS 1.2. Without its DHE
# suites: they need parameters of their own, and each handshake costs the server far more than the
# client. The suites of TLS 1.3 are those of OpenSSL, all of which are on the list.
_TLS_1_2_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
# One session ticket per connection is enough: a browser returns with as many connections as it had.
# OpenSSL's default of two costs 6 % more per handshake.
_TICKETS: Final = 1


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate and its key, loaded, and the listener that serves with them."""

    listener: TlsListener
    context: ssl.SSLContext
    digest: bytes  # of both files

    @classmethod
    def of(cls, config: Config) -> TlsFiles | None:
        """Load the files and serve with them; None for plain HTTP. Raises StartError."""
        if not config.server.tls:
            return None
        files = cls(TlsListener(), *_load(config.server.tls_cert, config.server.tls_key))
        files.serve()
        return files

    def reload(self, config: Config) -> TlsFiles:
        """Load the files of another configuration for the same listener, without serving them yet.
        Raises StartError if they are unusable."""
        context, digest = _load(config.server.tls_cert, config.server.tls_key)
        return self if digest == self.digest else TlsFiles(self.listener, context, digest)

    def serve(self) -> None:
        """Serve with these files from the next connection on."""
        self.listener.serve(self.context)


def _load(cert: str, key: str) -> tuple[ssl.SSLContext, bytes]:
    """A context with these files, and their digest. Raises StartError."""
    context = _intermediate_context()
    try:
        digest = hashlib.sha256(Path(cert).read_bytes() + b"\0" + Path(key).read_bytes()).digest()
        # Any password, even a wrong one, keeps OpenSSL from asking on the terminal.
        context.load_cert_chain(cert, key, password="")
    except (OSError, ssl.SSLError) as error:
        raise StartError(
            f"server.tls_cert: cannot use {cert} with {key} ({error}); "
            "expected a PEM certificate chain and its key without a password"
        ) from error
    return context, digest


def _intermediate_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(_TLS_1_2_CIPHERS))
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # Prefer the client's order: it knows whether it computes AES or ChaCha20 faster.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = _TICKETS
    context.set_alpn_protocols(["http/1.1"])
    return context
