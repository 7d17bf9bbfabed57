"""The ways in which an origin could read the path and the query of a request target.

Rules. Pure. What is forwarded stays byte for byte; this is about what is matched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote

_PLAIN = re.compile(r"(/[A-Za-z0-9_~-]+)*/?")  # has one reading only
_SLASHES = re.compile(r"/{2,}")
_DECODE_ROUNDS = 2  # an origin behind another proxy may decode twice


def path_of(target: str) -> str:
    """The path as it came, without query and fragment."""
    return target.partition("?")[0].partition("#")[0]


def path_readings(target: str) -> Iterator[str]:
    """The path as it came, without its query, and as an origin could read it.

    An origin may decode it, take `\\` for `/`, drop parameters of segments, and resolve dots, each
    with or without the others. That `//` is `/` is no reading of its own: sloppy links have it, and
    origins treat them alike. But it counts where dots are resolved: `/a//../b` is `/a/b` (RFC 3986
    section 5.2.4) or `/b`.
    """
    path = path_of(target)
    reading = _merged(path)
    yield reading
    if _PLAIN.fullmatch(reading):
        return
    yield from _readings_of(path)
    for _ in range(_DECODE_ROUNDS):
        decoded = unquote(path, errors="replace")
        if decoded == path:
            return
        path = decoded
        yield from _readings_of(path)


def _readings_of(path: str) -> Iterator[str]:
    for mapped in dict.fromkeys((path, path.replace("\\", "/"))):
        for plain in dict.fromkeys((mapped, _without_parameters(mapped))):
            merged = _merged("/" + plain if plain[:1] != "/" else plain)
            yield merged
            if "/." in plain:
                yield _resolved(merged)
                yield _merged(_resolved(plain))


def _merged(path: str) -> str:
    return _SLASHES.sub("/", path)


def _without_parameters(path: str) -> str:
    """RFC 3986 section 3.3: some servers drop the parameters of a segment before they match."""
    if ";" not in path:
        return path
    return "/".join(segment.partition(";")[0] for segment in path.split("/"))


def _resolved(path: str) -> str:
    """Without dot segments, as RFC 3986 section 5.2.4 removes them; an empty segment is one."""
    kept: list[str] = []
    segment = ""
    for segment in path.split("/")[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    ends_with_slash = segment in (".", "..")
    return "/" + "/".join(kept) + ("/" if ends_with_slash and kept else "")


def query_pairs(query: str, separator: str) -> list[tuple[str, str]]:
    """The parameters of a query, decoded."""
    return parse_qsl(query, keep_blank_values=True, errors="replace", separator=separator)


def loose_name(name: str) -> str:
    """The name of a parameter as PHP reads it: without blanks at its beginning, cut at NUL, and
    with `_` for blanks and dots."""
    return name.lstrip(" \t\r\n\v\f").partition("\0")[0].replace(" ", "_").replace(".", "_")


def host_labels(host: str) -> tuple[str, ...]:
    """The labels of a Host, lower-case, without its port and the root's dot."""
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    return tuple(name.lower().rstrip(".").split("."))


def labels_match(pattern: tuple[str, ...], labels: tuple[str, ...]) -> bool:
    """Whether a pattern of labels covers these; `*` is one label."""
    return len(pattern) == len(labels) and all(
        want in ("*", have) for want, have in zip(pattern, labels, strict=True)
    )
