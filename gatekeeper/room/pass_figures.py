"""Request counts of a pass, of one worker or of all: for the control room, never for a decision.

Rules. A list from another process is at most as long as our own, and a number is exact as a double.
An address is stored as a hash of 32 bits, only to count distinct ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gatekeeper.config.types import RoomName
from gatekeeper.policy.numbers import parse_count
from gatekeeper.policy.tokens import VisitorId, is_visitor_id

MAX_LISTED: Final = 20  # passes of one worker, and in the control room
MAX_ADDRESSES: Final = 16  # of one pass
_MAX_NAME: Final = 200
_MAX_BYTES: Final = 65_536  # of a file


@dataclass(frozen=True, slots=True)
class PassFigures:
    """The requests of one pass since it was first seen; `most`: the maximum in flight at the same
    time."""

    room: RoomName
    visitor: VisitorId
    requests: int
    most: int
    turned_away: int
    addresses: tuple[int, ...]


def merge_passes(lists: Iterable[Iterable[PassFigures]]) -> list[PassFigures]:
    """The passes of all workers, those with the most requests first. `most` is the maximum of any
    single worker, since the limit is per worker."""
    by_pass: dict[tuple[RoomName, VisitorId], PassFigures] = {}
    for figures in lists:
        for each in figures:
            known = by_pass.get((each.room, each.visitor))
            by_pass[each.room, each.visitor] = each if known is None else _sum(known, each)
    return sorted(by_pass.values(), key=lambda each: (-each.requests, each.visitor))


def busiest(passes: Iterable[PassFigures]) -> list[PassFigures]:
    """The `MAX_LISTED` busiest passes: half by number of requests, the rest by number of
    addresses."""
    by_requests = sorted(passes, key=lambda each: -each.requests)
    by_addresses = sorted(by_requests, key=lambda each: -len(each.addresses))
    first = by_requests[: MAX_LISTED // 2]
    rest = [each for each in by_addresses if each not in first]
    listed = first + rest[: MAX_LISTED - len(first)]
    return sorted(listed, key=lambda each: -each.requests)


def pass_file(folder: Path, pid: int) -> Path:
    """The file of the worker with `pid`, in the folder of its metrics."""
    return folder / f"passes_{pid}.json"


def encode_passes(passes: Iterable[PassFigures]) -> bytes:
    """The passes as `read_passes` reads them."""
    return json.dumps([asdict(each) for each in passes], separators=(",", ":")).encode()


def read_passes(file: Path) -> tuple[PassFigures, ...]:
    """The passes in a worker's file; none if the file is missing or malformed."""
    try:
        with file.open("rb") as opened:
            return parse_passes(json.loads(opened.read(_MAX_BYTES)))
    except (OSError, ValueError):
        return ()


def _sum(one: PassFigures, other: PassFigures) -> PassFigures:
    return PassFigures(
        room=one.room,
        visitor=one.visitor,
        requests=one.requests + other.requests,
        most=max(one.most, other.most),
        turned_away=one.turned_away + other.turned_away,
        addresses=tuple(sorted({*one.addresses, *other.addresses})),
    )


def parse_passes(value: object) -> tuple[PassFigures, ...]:
    """Figures as another process wrote them. Raises ValueError."""
    if not isinstance(value, list) or len(value) > MAX_LISTED:
        raise ValueError("expected a list of passes")
    return tuple(map(_parse_pass, value))


def _parse_pass(value: object) -> PassFigures:
    if not isinstance(value, dict):
        raise ValueError("expected a pass")  # noqa: TRY004  every refusal is a ValueError
    raw: dict[str, Any] = value
    room, visitor, addresses = raw.get("room"), raw.get("visitor"), raw.get("addresses")
    if not isinstance(room, str) or not 0 < len(room) <= _MAX_NAME or not room.isprintable():
        raise ValueError("expected the name of a room")
    if not isinstance(visitor, str) or not is_visitor_id(visitor):
        raise ValueError("expected a visitor id")
    if not isinstance(addresses, list) or len(addresses) > MAX_ADDRESSES:
        raise ValueError("expected a list of addresses")
    return PassFigures(
        room=RoomName(room),
        visitor=VisitorId(visitor),
        requests=parse_count(raw.get("requests")),
        most=parse_count(raw.get("most")),
        turned_away=parse_count(raw.get("turned_away")),
        addresses=tuple(map(parse_count, addresses)),
    )
