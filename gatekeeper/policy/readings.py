"""The ways in which an origin could read the path of a request target.

Rules. Pure. What is forwarded stays byte for byte; this is about what is matched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from posixpath import normpath
from urllib.parse import unquote

_PLAIN = re.compile(r"(/[A-Za-z0-9_~-]+)*/?")  # has one reading only
_SLASHES = re.compile(r"/{2,}")
_DECODE_ROUNDS = 2  # an origin behind another proxy may decode twice


def path_of(target: str) -> str:
    """The path as it came, without query and fragment."""
    return target.partition("?")[0].partition("#")[0]


def path_readings(target: str) -> Iterator[str]:
    """The path as it came, without its query, and as an origin could read it.

    That `//` is `/` is no second reading: sloppy links have it, and origins treat them alike.
    """
    reading = _SLASHES.sub("/", path_of(target))
    yield reading
    if _PLAIN.fullmatch(reading):
        return
    for _ in range(_DECODE_ROUNDS):
        reading = unquote(reading, errors="replace").replace("\\", "/")
        # RFC 3986 section 3.3: parameters of a segment; some servers drop them before matching.
        plain = "/".join(segment.partition(";")[0] for segment in reading.split("/"))
        resolved = "/" + normpath("/" + plain).lstrip("/")
        yield resolved + "/" if plain.endswith("/") and resolved != "/" else resolved


def host_labels(host: str) -> tuple[str, ...]:
    """The labels of a Host, lower-case, without its port and the root's dot."""
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    return tuple(name.lower().rstrip(".").split("."))


def labels_match(pattern: tuple[str, ...], labels: tuple[str, ...]) -> bool:
    """Whether a pattern of labels covers these; `*` is one label."""
    return len(pattern) == len(labels) and all(
        want in ("*", have) for want, have in zip(pattern, labels, strict=True)
    )
