"""The audience of an invitation: its claim `aud` (RFC 7519 section 4.1.3).

Rules. Pure. An invitation without the claim is for this gate. With the claim, it has to name the
gate by `gatekeeper`, or by a configured host of its room or of the edge. A host is given alone or
as the origin of a URL; letter case and port are ignored. The Host of the request is not used: its
sender chooses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gatekeeper.policy.facts import HOST
from gatekeeper.policy.readings import host_labels, labels_match

GATE: Final = "gatekeeper"
_ADDRESS: Final = re.compile(rf"(?:https?://)?({HOST.pattern})/?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Audience:
    """The names of the gate for one room."""

    hosts: tuple[tuple[str, ...], ...] = ()  # labels; "*" is any one

    @classmethod
    def of_hosts(cls, hosts: Iterable[str]) -> Audience:
        """The audience for the configured `hosts`."""
        return cls(tuple(host_labels(host) for host in hosts))

    def is_named(self, names: Iterable[str]) -> bool:
        """Whether one of the values of `aud` is the gate."""
        return any(name == GATE or self._has_host(name) for name in names)

    def _has_host(self, name: str) -> bool:
        match = _ADDRESS.fullmatch(name)
        if match is None:
            return False
        labels = host_labels(match[1])
        return any(labels_match(host, labels) for host in self.hosts)


def audience_in(value: object) -> tuple[str, ...] | None:
    """The values of the claim, a text or a list of texts; None: it is neither."""
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in values):
        return None
    return tuple(values)
