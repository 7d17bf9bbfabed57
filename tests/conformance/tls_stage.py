"""A certificate for a stage with TLS."""

import ssl
from pathlib import Path
from typing import NamedTuple

import trustme


class Tls(NamedTuple):
    """The gate's [server] with a certificate, and the context of a client that trusts it."""

    toml: str
    client: ssl.SSLContext


def certificate(folder: Path) -> Tls:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    client = ssl.create_default_context()
    authority.configure_trust(client)
    toml = f'[server]\ntls_cert = "{folder}/cert.pem"\ntls_key = "{folder}/key.pem"\n'
    return Tls(toml, client)
