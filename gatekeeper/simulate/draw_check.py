"""Reads the record of a draw and its participants from files or a gate, and verifies both.

Rules. The record is not trusted: it is parsed strictly, and everything derived is recomputed.
Downloads are bounded in size and time; the list of participants is streamed and never kept. The
address of a beacon comes from the record: its responses are bounded and parsed strictly too, and
only hashes of them are printed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import orjson

from gatekeeper.errors import GatekeeperError
from gatekeeper.policy.beacon import BeaconError
from gatekeeper.policy.draw_record import (
    MAX_RECORD_BYTES,
    DrawRecord,
    DrawRecordError,
    RecordBeacon,
    parse_record,
)
from gatekeeper.policy.draw_verification import DrawVerification
from gatekeeper.room.beacon_client import beacon_session, fetch_chain, fetch_round

_TIMEOUT: Final = aiohttp.ClientTimeout(total=600, sock_connect=10, sock_read=30)
_CHUNK_BYTES: Final = 64 * 1024
_MAX_LINE: Final = 128  # a real one has 64 digits
_NO_SIGNATURE: Final = (
    "not verified here: the beacon's own signature of that round (BLS); its operators' tools "
    "verify it"
)
_NO_BEACON: Final = (
    "no beacon: the operator of the gate could compute the order before the start, visitors could "
    "not"
)
_NO_LIST: Final = "not verified here: the list of participants, since there is no file of it"


@dataclass(slots=True)
class Findings:
    """Problems, one line each; what of the record could not be verified; and remarks."""

    problems: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


async def check_draw(
    read: AsyncIterator[bytes],
    *,
    has_list: bool,
    visitor: str = "",
    turn_us: int | None = None,
    commitment: str = "",
) -> Findings:
    """Verifies what `remote_draw` or `local_draw` reads; raises GatekeeperError.

    Without a list, only data that follows from the record is verified.
    """
    try:
        record = _parsed(await anext(read))
    except DrawRecordError as error:
        return Findings(problems=error.problems)
    verification = DrawVerification(
        record, visitor=visitor, turn_us=turn_us, commitment=commitment, has_list=has_list
    )
    if record.state == "drawn":
        await _read_lines(read, verification, limit=record.participants or 0)
    findings = Findings(problems=verification.problems())
    if record.note:
        findings.remarks.append(f"note of the record: {record.note}")
    if record.state == "drawn":
        await _describe(record, verification, findings)
    return findings


async def _describe(record: DrawRecord, verification: DrawVerification, findings: Findings) -> None:
    """Add remarks on the draw, and the parts that cannot be verified here."""
    if record.beacon is None:
        findings.remarks.append(_NO_BEACON)
    else:
        await _check_beacon(record, record.beacon, findings)
    if not verification.has_list:
        findings.remarks.append(_NO_LIST)
    place = verification.place()
    if place is not None:
        of_all = f", place {place.place} of {record.participants}" if place.place else ""
        lane = f", lane {place.lane}" if place.lane else ""
        findings.remarks.append(f"visitor {place.id_hash}: turn {place.turn_us}{of_all}{lane}")
    if not findings.problems:
        verified = "verified in part" if findings.unverified else "ok"
        of_list = (
            "participants" if verification.has_list else "participants according to the record"
        )
        findings.remarks.append(
            f"{verified}: the record of {record.event} in room {record.room} is consistent; "
            f"{record.participants} {of_list}"
        )


def _parsed(body: bytes) -> DrawRecord:
    if len(body) > MAX_RECORD_BYTES:
        raise DrawRecordError([f"the record has more than {MAX_RECORD_BYTES} bytes"])
    try:
        return parse_record(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise DrawRecordError(["the record is not JSON"]) from error


async def _read_lines(
    chunks: AsyncIterator[bytes], verification: DrawVerification, *, limit: int
) -> None:
    """Pass on each line, up to one more than `limit`, so that a longer list is detected."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            verification.line(line[:_MAX_LINE].decode("latin-1"))
            if verification.count > limit:
                return
        rest = rest[:_MAX_LINE]
    if rest:
        verification.line(rest.decode("latin-1"))


async def _check_beacon(record: DrawRecord, beacon: RecordBeacon, findings: Findings) -> None:
    if not beacon.url.startswith(("http://", "https://")):
        findings.problems.append(f"beacon.url: {beacon.url!r}; expected an http(s) URL")
        return
    number = beacon.round or 0
    try:
        async with beacon_session() as session:
            chain = await fetch_chain(session, beacon.url)
            first = chain.first_after(record.start_us)
            if first != number:
                findings.problems.append(
                    f"beacon.round: {number}; expected {first}, the first after the start"
                )
            found = await fetch_round(session, beacon.url, number)
    except BeaconError as error:
        findings.unverified.append(f"the beacon {beacon.url}: {error.public}")
        return
    if found.randomness.hex() != beacon.randomness:
        findings.problems.append(
            f"beacon.randomness: {beacon.randomness}; expected {found.randomness.hex()}, as the "
            "beacon publishes it"
        )
    findings.remarks += [f"beacon: round {number} of {beacon.url}", _NO_SIGNATURE]


async def local_draw(file: Path, participants: Path | None) -> AsyncIterator[bytes]:
    """The whole record of a file, then its list of participants in pieces."""
    with file.open("rb") as record:
        yield record.read(MAX_RECORD_BYTES + 1)
    if participants is None:
        return
    with participants.open("rb") as lines:
        while chunk := lines.read(_CHUNK_BYTES):
            yield chunk


async def remote_draw(url: str) -> AsyncGenerator[bytes]:
    """The whole record at `url`, then its list in pieces; raises GatekeeperError."""
    try:
        parts = urlsplit(url)
        listed = urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/participants"))
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            async with session.get(url, headers={"Accept": "application/json"}) as response:
                _expect_ok(response)
                yield await _bounded(response)
            async with session.get(listed, headers={"Accept": "text/plain"}) as response:
                _expect_ok(response)
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    yield chunk
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise GatekeeperError(f"{url} cannot be read: {error or type(error).__name__}") from error


def _expect_ok(response: aiohttp.ClientResponse) -> None:
    if response.status != 200:
        raise GatekeeperError(f"{response.url}: HTTP status {response.status}; expected 200")


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_RECORD_BYTES:
            break
    return bytes(body)
