"""A certificate for a stage with TLS."""

import ssl
from pathlib import Path

import trustme


def certificate(folder: Path) -> tuple[str, ssl.SSLContext]:
    """The gate's [server] with a certificate, and the context of a client that trusts it."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return f'[server]\ntls_cert = "{folder}/cert.pem"\ntls_key = "{folder}/key.pem"\n', context
