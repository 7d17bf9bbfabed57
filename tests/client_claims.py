"""Names of fields that only a proxy should set, but that a client may send too.

Rules: one list for the gate and for every file of `deploy/` with a proxy. The gate removes all
`X-Forwarded-*`; the files name those that frameworks read.
"""

from collections.abc import Iterator
from itertools import product

from gatekeeper.proxy.headers import PROXY_CLAIMS

_FORWARDED = (
    "by",
    "method",
    "path",
    "port",
    "prefix",
    "protocol",
    "scheme",
    "server",
    "ssl",
    "uri",
)
CLAIMS = (
    "forwarded",
    *sorted(name.decode() for name in PROXY_CLAIMS),
    *(f"x-forwarded-{name}" for name in _FORWARDED),
)


def spellings(name: str) -> Iterator[str]:
    """The name with "_" for some of its "-", since many sites read both as equal."""
    first, *words = name.split("-")
    for marks in product("-_", repeat=len(words)):
        if "_" in marks:
            yield first + "".join(map("".join, zip(marks, words, strict=True)))
