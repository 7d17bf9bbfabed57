"""Key updates (RFC 8446) that a client sends: their responses are bounded."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.unit.process.tls_in_memory import Stage


class Records:
    """Records that the test encrypts for a client of `Stage` after its handshake (RFC 8446), since
    Python has no call for a KeyUpdate. Each KeyUpdate changes the key of later records."""

    def __init__(self, key_log: Path, cipher: tuple[str, str, int] | None) -> None:
        assert cipher is not None
        self._hash = hashes.SHA384() if cipher[0].endswith("SHA384") else hashes.SHA256()
        self._key_bytes = cipher[2] // 8
        lines = [line.split() for line in key_log.read_text().splitlines() if line[0] != "#"]
        self._secret = {words[0]: bytes.fromhex(words[2]) for words in lines}[
            "CLIENT_TRAFFIC_SECRET_0"
        ]

    def _expand(self, label: bytes, length: int) -> bytes:
        """`HKDF-Expand-Label` of section 7.1."""
        label = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
        return HKDFExpand(self._hash, length, info).derive(self._secret)

    def _record(self, content: bytes, *, number: int) -> bytes:
        """A record by section 5.2."""
        head = b"\x17\x03\x03" + (len(content) + 16).to_bytes(2, "big")
        nonce = int.from_bytes(self._expand(b"iv", 12), "big") ^ number
        key = AESGCM(self._expand(b"key", self._key_bytes))
        return head + key.encrypt(nonce.to_bytes(12, "big"), content, head)

    def key_update(self, *, after: bytes = b"") -> bytes:
        """A KeyUpdate that requests one of the server (section 4.6.3). `after`: data in a record
        before it."""
        records = self._record(after + b"\x17", number=0) if after else b""
        records += self._record(b"\x18\0\0\x01\x01\x16", number=1 if after else 0)
        self._secret = self._expand(b"traffic upd", self._hash.digest_size)
        return records


def updating(folder: Path) -> tuple[Stage, Records]:
    stage = Stage.open(key_log=folder / "keys")
    return stage, Records(folder / "keys", stage.client.cipher())


@pytest.mark.parametrize("data", [b"", b"x"], ids=["alone", "with data"])
async def test_key_updates_that_are_not_read_end_the_connection(
    tmp_path: Path, data: bytes
) -> None:
    """Also with data that gets no response."""
    stage, records = updating(tmp_path)
    for _ in range(1000):
        stage.connection.data_received(records.key_update(after=data))
        if stage.socket.aborted:
            break
    assert stage.socket.aborted
    assert sum(map(len, stage.socket.sent)) <= 10_000


async def test_key_updates_in_one_read_end_the_connection(tmp_path: Path) -> None:
    stage, records = updating(tmp_path)
    stage.connection.data_received(b"".join(records.key_update() for _ in range(1000)))
    assert stage.socket.aborted
    assert stage.socket.sent == []


@pytest.mark.parametrize("is_read", ["at once", "late"])
async def test_key_updates_of_a_client_that_reads_pass(tmp_path: Path, is_read: str) -> None:
    """Any number of key updates, also while the client still reads a long response."""
    stage, records = updating(tmp_path)
    if is_read == "at once":
        stage.socket.unsent = 0
    for number in range(1000):
        if is_read == "late" and number % 100 == 99:
            stage.connection.resume_writing()
        stage.connection.data_received(records.key_update())
    stage.protocol.transport.write(b"response")
    assert stage.response() == b"response"
