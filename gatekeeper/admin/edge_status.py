"""The edge as operators see it: whether it runs, the certificate of each domain, handshakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

CertificateState = Literal["valid", "expires soon", "expired", "missing"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the edge serves for one domain. Times are seconds since the epoch."""

    domain: str
    state: CertificateState
    expires_at_s: float | None = None
    issuer: str = ""
    problem: str = ""  # of the last attempt to obtain or renew it, if that failed

    def as_json(self) -> dict[str, object]:
        return {
            "domain": self.domain,
            "state": self.state,
            "expires_at": self.expires_at_s,
            "issuer": self.issuer,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class Handshakes:
    """TLS handshakes since the gate started, and in the last minute. Full handshakes reached the
    certificate; resumed TLS 1.3 sessions are not counted. Failed handshakes are those over TCP,
    including connections closed during the handshake."""

    full: int = 0
    failed: int = 0
    full_last_minute: int = 0
    failed_last_minute: int = 0


@dataclass(frozen=True, slots=True)
class EdgeStatus:
    running: bool
    certificates: tuple[Certificate, ...] = ()
    handshakes: Handshakes = Handshakes()

    def as_json(self) -> dict[str, object]:
        certificates = [each.as_json() for each in self.certificates]
        return {
            "running": self.running,
            "certificates": certificates,
            "handshakes": asdict(self.handshakes),
        }


EdgeStatusSource = Callable[[], EdgeStatus | None]


def no_edge() -> EdgeStatus | None:
    """The source of a gate without an edge."""
    return None


_WORDS: Final = {"valid": "valid until", "expires soon": "expires soon:", "expired": "expired"}


def edge_lines(edge: dict[str, Any]) -> list[str]:
    """The lines of `gatekeeper status`, from the JSON of the admin API."""
    lines = [] if edge["running"] else ["edge: not running; it is being restarted"]
    for each in edge["certificates"]:
        problem = f"; {each['problem']}" if each["problem"] else ""
        if each["expires_at"] is None:
            lines.append(f"{each['domain']}: no certificate{problem}")
        else:
            at = datetime.fromtimestamp(each["expires_at"], UTC).isoformat(" ", "minutes")
            issuer = f", {each['issuer']}" if each["issuer"] else ""
            state = _WORDS[each["state"]]
            lines.append(f"{each['domain']}: certificate {state} {at}{issuer}{problem}")
    handshakes = edge["handshakes"]
    lines.append(
        f"TLS handshakes in the last minute: {handshakes['full_last_minute']:,} full, "
        f"{handshakes['failed_last_minute']:,} failed; since the start: {handshakes['full']:,} and "
        f"{handshakes['failed']:,}"
    )
    return lines
