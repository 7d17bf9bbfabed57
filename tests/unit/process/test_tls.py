"""The certificate of the public listener: errors, reloads, and what a handshake may negotiate."""

import ssl
from contextlib import suppress
from functools import cache
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
    client = connected_to(served(tmp_path).listener.context)
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
    files = served(tmp_path)
    (tmp_path / "cert.pem").write_text("")
    with pytest.raises(StartError):
        files.reload(config_of(tmp_path))
    der = connected_to(files.listener.context).getpeercert(binary_form=True)
    assert der is not None
    assert ssl.DER_cert_to_PEM_cert(der).encode() == leaf.cert_chain_pems[0].bytes()


@pytest.mark.parametrize("before", ["RSA", "ECDSA"])
def test_reload_with_another_key_type_ends_the_former(tmp_path: Path, before: str) -> None:
    """A context with both keys would serve the former one to clients that prefer its type."""
    after = "ECDSA" if before == "RSA" else "RSA"
    write_pair(tmp_path, leaf_of(before))
    files = served(tmp_path)
    assert connected_to(
        files.listener.context, tls_1_2(f"ECDHE-{before}-AES128-GCM-SHA256")
    ).version()

    write_pair(tmp_path, leaf_of(after))
    files = files.reload(config_of(tmp_path))
    assert connected_to(
        files.listener.context, tls_1_2(f"ECDHE-{before}-AES128-GCM-SHA256")
    ).version()
    files.serve()
    assert connected_to(
        files.listener.context, tls_1_2(f"ECDHE-{after}-AES128-GCM-SHA256")
    ).version()
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        connected_to(files.listener.context, tls_1_2(f"ECDHE-{before}-AES128-GCM-SHA256"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_is_resumed_until_another_certificate(
    tmp_path: Path, leaf: trustme.LeafCert, version: ssl.TLSVersion
) -> None:
    """A reload of the same files keeps the sessions; each connection receives a ticket."""
    write_pair(tmp_path, leaf)
    files = served(tmp_path)
    context = client_context()
    context.minimum_version = context.maximum_version = version
    first = connected_to(files.listener.context, context)
    assert not first.session_reused
    assert first.session is not None
    assert first.session.has_ticket

    files = files.reload(config_of(tmp_path))
    files.serve()
    second = connected_to(files.listener.context, context, session=first.session)
    assert second.session_reused
    assert connected_to(files.listener.context, context, session=second.session).session_reused

    write_pair(tmp_path, trustme.CA().issue_cert("two.test"))
    files.reload(config_of(tmp_path)).serve()
    assert not connected_to(files.listener.context, context, session=second.session).session_reused


@pytest.mark.parametrize("key", ["ECDSA", "RSA"])
@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"])
def test_tls_1_2_accepts_the_intermediate_ciphers(tmp_path: Path, key: str, cipher: str) -> None:
    write_pair(tmp_path, leaf_of(key))
    client = connected_to(served(tmp_path).listener.context, tls_1_2(f"ECDHE-{key}-{cipher}"))
    chosen = client.cipher()
    assert chosen is not None
    assert chosen[:2] == (f"ECDHE-{key}-{cipher}", "TLSv1.2")
    assert client.compression() is None


@pytest.mark.parametrize(
    "cipher",
    [
        "ECDHE-RSA-AES128-SHA256",
        "ECDHE-RSA-AES256-SHA384",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-RSA-CAMELLIA128-SHA256",
        "DHE-RSA-AES128-GCM-SHA256",
        "DHE-RSA-CHACHA20-POLY1305",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "NULL-SHA256",
        "ECDHE-RSA-NULL-SHA",
        "AECDH-AES128-SHA",
        "ADH-AES128-GCM-SHA256",
    ],
)
def test_tls_1_2_refuses_other_ciphers(tmp_path: Path, cipher: str) -> None:
    """CBC, DHE, RSA key exchange, without encryption, without a certificate."""
    write_pair(tmp_path, leaf_of("RSA"))
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        connected_to(served(tmp_path).listener.context, tls_1_2(f"{cipher}:@SECLEVEL=0"))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_older_versions_are_refused(tmp_path: Path, leaf: trustme.LeafCert, version: str) -> None:
    write_pair(tmp_path, leaf)
    context = client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        connected_to(served(tmp_path).listener.context, context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("curve", ["X25519", "prime256v1", "secp384r1"])
def test_curves_of_the_intermediate_list_are_accepted(
    tmp_path: Path, version: ssl.TLSVersion, curve: str
) -> None:
    write_pair(tmp_path, leaf_of("RSA"))
    context = client_context()
    context.minimum_version = context.maximum_version = version
    if curve != "X25519":  # OpenSSL's first choice, which not every Python can name
        context.set_ecdh_curve(curve)
    assert connected_to(served(tmp_path).listener.context, context).version()


@pytest.mark.parametrize("curve", ["secp224r1", "secp256k1", "brainpoolP256r1"])
def test_other_curves_are_refused(tmp_path: Path, curve: str) -> None:
    write_pair(tmp_path, leaf_of("RSA"))
    context = tls_1_2("ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0")
    context.set_ecdh_curve(curve)
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        connected_to(served(tmp_path).listener.context, context)


def test_client_chooses_the_cipher(tmp_path: Path) -> None:
    """A phone without AES instructions offers ChaCha20 first."""
    write_pair(tmp_path, leaf_of("RSA"))
    ciphers = ["ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256"]
    for order in (ciphers, ciphers[::-1]):
        client = connected_to(served(tmp_path).listener.context, tls_1_2(":".join(order)))
        assert (client.cipher() or ("",))[0] == order[0]


def served(folder: Path) -> TlsFiles:
    files = TlsFiles.of(config_of(folder))
    assert files is not None
    return files


@cache
def leaf_of(key: str) -> trustme.LeafCert:
    return trustme.CA().issue_cert("one.test", key_type=trustme.KeyType[key])


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def tls_1_2(ciphers: str) -> ssl.SSLContext:
    """A client that offers only these ciphers."""
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    return context


def connected_to(
    listener: ssl.SSLContext,
    context: ssl.SSLContext | None = None,
    *,
    session: ssl.SSLSession | None = None,
) -> ssl.SSLObject:
    """A client after its handshake and a response; in memory, without sockets. Raises SSLError of
    the client when the server refused."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = listener.wrap_bio(to_server, to_client, server_side=True)
    client = (context or client_context()).wrap_bio(to_client, to_server, session=session)
    for _ in range(3):
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        with suppress(ssl.SSLError):
            server.do_handshake()
    client.do_handshake()
    server.write(b"x")
    assert client.read() == b"x"  # after a ticket
    return client
