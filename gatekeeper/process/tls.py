"""The certificate of the public listener.

Rules. A reload loads the files into the same context, so open connections are not touched. A pair
that cannot be used is refused before it replaces the one in use.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace

from gatekeeper.config.schema import Config
from gatekeeper.errors import StartError
from gatekeeper.process.plain_http import listener_context


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate and its key, and the context that serves with them."""

    cert: str
    key: str
    context: ssl.SSLContext

    @classmethod
    def of(cls, config: Config) -> TlsFiles | None:
        """The loaded files, or None for plain HTTP. Raises StartError."""
        if not config.server.tls:
            return None
        context = listener_context()
        context.set_alpn_protocols(["http/1.1"])
        files = cls(config.server.tls_cert, config.server.tls_key, context)
        files.load()
        return files

    def checked(self, config: Config) -> TlsFiles:
        """The files of another configuration for the same context, not loaded yet. Raises
        StartError when they cannot be used."""
        files = replace(self, cert=config.server.tls_cert, key=config.server.tls_key)
        files.load_into(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
        return files

    def load(self) -> None:
        """Load both files, into a spare context first. Raises StartError and changes nothing."""
        for context in (ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), self.context):
            self.load_into(context)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Raises StartError."""
        try:
            # Any password, even a wrong one, keeps OpenSSL from asking on the terminal.
            context.load_cert_chain(self.cert, self.key, password="")
        except (OSError, ssl.SSLError) as error:
            raise StartError(
                f"server.tls_cert: cannot use {self.cert} with {self.key} ({error}); "
                "expected a PEM certificate chain and its key without a password"
            ) from error
