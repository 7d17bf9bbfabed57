"""The certificate of the public listener: errors, and what a failed reload keeps."""

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gatekeeper.config.schema import Config
from gatekeeper.errors import StartError
from gatekeeper.process.tls import TlsFiles
from tests.builders import parse_config


@pytest.fixture(scope="module")
def leaf() -> trustme.LeafCert:
    return trustme.CA().issue_cert("one.test")


def write_pair(folder: Path, leaf: trustme.LeafCert) -> None:
    (folder / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    (folder / "key.pem").write_bytes(leaf.private_key_pem.bytes())


def config_of(folder: Path) -> Config:
    keys = f'tls_cert = "{folder}/cert.pem"\ntls_key = "{folder}/key.pem"'
    return parse_config(f"[server]\n{keys}\n", folder=folder)


def test_plain_http_has_no_files() -> None:
    assert TlsFiles.of(Config()) is None


def test_listener_speaks_http_1_1_only(tmp_path: Path, leaf: trustme.LeafCert) -> None:
    write_pair(tmp_path, leaf)
    files = TlsFiles.of(config_of(tmp_path))
    assert files is not None
    client = connected_to(files.context)
    assert client.selected_alpn_protocol() == "http/1.1"
    assert client.version() in {"TLSv1.2", "TLSv1.3"}


@pytest.mark.parametrize("damage", ["cert", "key", "other key", "encrypted key"])
def test_unusable_pair_is_a_start_error(
    tmp_path: Path, leaf: trustme.LeafCert, damage: str
) -> None:
    """The error names the key and both files; a password is not prompted for."""
    write_pair(tmp_path, leaf)
    key = tmp_path / "key.pem"
    match damage:
        case "cert":
            (tmp_path / "cert.pem").write_text("-----BEGIN NOTHING-----\n")
        case "key":
            key.write_text("-----BEGIN NOTHING-----\n")
        case "other key":
            key.write_bytes(trustme.CA().issue_cert("two.test").private_key_pem.bytes())
        case _:
            private = load_pem_private_key(leaf.private_key_pem.bytes(), password=None)
            key.write_bytes(
                private.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.BestAvailableEncryption(b"sesame"),
                )
            )
    with pytest.raises(StartError) as caught:
        TlsFiles.of(config_of(tmp_path))
    start = f"server.tls_cert: cannot use {tmp_path}/cert.pem with {tmp_path}/key.pem ("
    assert caught.value.public.startswith(start)
    assert caught.value.public.endswith(
        "expected a PEM certificate chain and its key without a password"
    )


def test_missing_file_is_a_start_error(tmp_path: Path, leaf: trustme.LeafCert) -> None:
    write_pair(tmp_path, leaf)
    config = config_of(tmp_path)
    (tmp_path / "key.pem").unlink()
    with pytest.raises(StartError, match=r"server\.tls_cert: cannot use .* No such file"):
        TlsFiles.of(config)


def test_failed_reload_keeps_the_certificate_in_use(tmp_path: Path, leaf: trustme.LeafCert) -> None:
    write_pair(tmp_path, leaf)
    files = TlsFiles.of(config_of(tmp_path))
    assert files is not None
    (tmp_path / "cert.pem").write_text("")
    with pytest.raises(StartError):
        files.load()
    der = connected_to(files.context).getpeercert(binary_form=True)
    assert der is not None
    assert ssl.DER_cert_to_PEM_cert(der).encode() == leaf.cert_chain_pems[0].bytes()


def connected_to(context: ssl.SSLContext) -> ssl.SSLObject:
    """A client after its handshake with a server of `context`; in memory, without sockets."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    client_context.set_alpn_protocols(["h2", "http/1.1"])
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server)
    for _ in range(4):
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client
