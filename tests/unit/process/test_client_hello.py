"""Hellos with a finite-field Diffie-Hellman key share, sent in every possible way."""

import ssl
from contextlib import suppress

import pytest

from gatekeeper.process.client_hello import MAX_HANDSHAKE_BYTES, ClientHellos

X25519, P_256, FFDHE = 0x001D, 0x0017, {0x0100: 256, 0x0101: 384, 0x0102: 512, 0x0104: 1024}
X25519_SHARE = (X25519, b"\x07" * 32)


def sized(data: bytes, width: int) -> bytes:
    return len(data).to_bytes(width, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + sized(data, 2)


def hello(*shares: tuple[int, bytes], session_id: bytes = b"\x05" * 32) -> bytes:
    listed = b"".join(group.to_bytes(2, "big") + sized(key, 2) for group, key in shares)
    extensions = extension(43, b"\x02\x03\x04") + extension(51, sized(listed, 2))
    body = b"\x03\x03" + bytes(32) + sized(session_id, 1) + sized(b"\x13\x01", 2) + b"\x01\x00"
    return b"\x01" + sized(body + sized(extensions, 2), 3)


def records(message: bytes, *, most: int = 1 << 14) -> bytes:
    parts = [message[at : at + most] for at in range(0, len(message), most)]
    return b"".join(b"\x16\x03\x01" + sized(part, 2) for part in parts)


def is_refused(data: bytes, *, segment: int = 1 << 20) -> bool:
    hellos = ClientHellos()
    parts = [data[at : at + segment] for at in range(0, len(data), segment)]
    return True in [hellos.is_refused(part) for part in parts]


def finite_share(group: int) -> tuple[int, bytes]:
    return group, b"\x02" * FFDHE[group]


@pytest.mark.parametrize("segment", [1, 7, 1 << 20])
@pytest.mark.parametrize("most", [1, 50, 1 << 14])
@pytest.mark.parametrize("group", FFDHE)
def test_finite_field_share_is_refused(group: int, most: int, segment: int) -> None:
    """Alone or after another share, in any records and segments, also after a retry request."""
    alone, behind = hello(finite_share(group)), hello(X25519_SHARE, finite_share(group))
    short = hello((group, b"\x02"), X25519_SHARE)
    change_cipher = b"\x14\x03\x03\x00\x01\x01"
    for data in (
        records(alone, most=most),
        records(behind, most=most),
        records(short, most=most),
        records(hello(), most=most) + change_cipher + records(alone, most=most),
    ):
        assert is_refused(data, segment=segment)


@pytest.mark.parametrize("segment", [1, 7, 1 << 20])
def test_other_hellos_pass(segment: int) -> None:
    bytes_of_a_group = b"\x01\x00\x01\x00" * 8  # at a position that does not name a group
    for data in (
        records(hello(X25519_SHARE)),
        records(hello(X25519_SHARE, (P_256, b"\x04" * 65))),
        records(hello((X25519, bytes_of_a_group), session_id=bytes_of_a_group)),
        records(hello(X25519_SHARE))
        + b"\x17\x03\x03"
        + sized(records(hello(finite_share(256))), 2),
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        records(b"\x01\x00\x00\x04\x01\x00\x01\x00"),
    ):
        assert not is_refused(data, segment=segment)


def test_hello_of_a_real_client_passes() -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="a.test")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    assert not is_refused(outgoing.read())


def test_handshake_without_end_is_refused() -> None:
    """The data kept for a connection is bounded, also for records that never end."""
    assert not is_refused(records(b"\x01\xff\xff\xff" + bytes(MAX_HANDSHAKE_BYTES - 100)))
    assert is_refused(records(b"\x01\xff\xff\xff" + bytes(MAX_HANDSHAKE_BYTES)))
    assert is_refused(b"\x16\x03\x01\xff\xff" + bytes(MAX_HANDSHAKE_BYTES))


def test_data_after_the_handshake_is_not_kept() -> None:
    hellos = ClientHellos()
    assert not hellos.is_refused(b"\x17\x03\x03\x40\x00" + bytes(MAX_HANDSHAKE_BYTES * 4))
    assert not hellos.is_refused(records(hello(finite_share(256))))
