"""The certificates of the edge: the operator's own, and Caddy's reports about the others.

Rules. The state of a certificate is that which visitors are served: it comes from a handshake with
the edge. A certificate of the operator's own is checked before it is used. A failure of the CA is
one line for each attempt, with its reason and what to do.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.x509.oid import NameOID

from gatekeeper.admin.edge_status import Certificate, CertificateState
from gatekeeper.config.edge_schema import EdgeConfig
from gatekeeper.errors import StartError

EXPIRES_SOON_S: Final = 7 * 86_400.0
_HANDSHAKE_TIMEOUT_S = 5.0
_HANDSHAKES_AT_ONCE = 8
_MAX_REASON_CHARACTERS = 300
_ATTEMPT = re.compile(r"\[(?P<domain>[^\]]*)\] (?:Obtain|Renew): (?P<reason>.*)", re.DOTALL)
# Remedies for the errors of RFC 8555 section 6.7, and of Go's network library.
_REMEDIES = (
    (
        re.compile(
            r"acme:error:(connection|dns|unauthorized|incorrectResponse|tls)|invalid\)"
            r"|authorization took too long"  # from a CA that keeps trying to connect
        ),
        "the DNS of the domain to point to this machine, and its ports 80 and 443 to be reachable",
    ),
    (re.compile(r"acme:error:rateLimited"), "fewer certificates; the CA limits their number"),
    (
        re.compile(r"acme:error:(rejectedIdentifier|unsupportedIdentifier|malformed)"),
        "a domain for which this CA issues certificates",
    ),
    (re.compile(r"acme:error:caa"), "a CAA record that permits this CA"),
    (
        re.compile(r"provisioning client: (HTTP 4|response Content-Type|.*invalid character)"),
        "edge.acme_ca with the URL of the ACME directory of the CA",
    ),
    (re.compile(r"x509: "), "edge.acme_ca_root with the certificate of a private CA"),
    (
        re.compile(r"dial tcp|no such host|i/o timeout|deadline exceeded|connection re|EOF"),
        "the CA to be reachable from this machine",
    ),
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt to obtain or renew a certificate that failed."""

    domain: str
    reason: str
    retry_in_s: float | None

    @property
    def expected(self) -> str:
        """The remedy; "" if unknown."""
        return next((text for pattern, text in _REMEDIES if pattern.search(self.reason)), "")


@dataclass(frozen=True, slots=True)
class Success:
    """A certificate that was obtained or renewed."""

    domain: str
    issuer: str
    renewed: bool


def read_report(line: bytes) -> Success | Failure | None:
    """Parse a line of Caddy's log; None if it does not report on a certificate."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    text = {key: value for key, value in entry.items() if isinstance(value, str)}
    message = text.get("msg", "")
    if message in {"certificate obtained successfully", "certificate renewed successfully"}:
        renewed = "renewed" in message
        return Success(text.get("identifier", ""), text.get("issuer", ""), renewed)
    if entry.get("level") != "error" or message not in {"will retry", "job failed"}:
        return None
    match = _ATTEMPT.search(text.get("error", ""))
    if match is None:
        return None
    retry = entry.get("retrying_in")
    reason = " ".join(match["reason"].split())[:_MAX_REASON_CHARACTERS]
    return Failure(
        match["domain"], reason, float(retry) if isinstance(retry, int | float) else None
    )


def log_report(report: Success | Failure) -> None:
    """Log a report in one line."""
    match report:
        case Success(domain=domain, issuer=issuer, renewed=renewed):
            event = "certificate_renewed" if renewed else "certificate_obtained"
            log.info(event, domain=domain, issuer=issuer)
        case Failure(domain=domain, reason=reason, retry_in_s=retry_in_s):
            log.error(
                "certificate_not_obtained",
                domain=domain,
                problem=reason,
                expected=report.expected or None,
                retry_in_s=retry_in_s,
            )


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """The operator's own certificate, with the contents of its files when they were checked."""

    chain: str
    key: str = field(repr=False)
    domains: tuple[str, ...]  # the configured domains that it covers


def own_certificate(edge: EdgeConfig) -> OwnCertificate | None:
    """The operator's own certificate, if configured. Raises StartError if it is unusable, or lacks
    a wildcard of the configuration."""
    if not edge.tls_cert:
        return None
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            edge.tls_cert, edge.tls_key, password=""
        )
        chain, key = Path(edge.tls_cert).read_text(), Path(edge.tls_key).read_text()
        names = _names(x509.load_pem_x509_certificate(chain.encode()))
    except (OSError, ValueError) as error:
        raise StartError(
            f"edge.tls_cert: cannot use {edge.tls_cert} with {edge.tls_key} ({error}); "
            "expected a PEM certificate chain and its key without a password"
        ) from error
    named = tuple(domain for domain in edge.domains if _is_named(domain, names))
    for domain in edge.domains:
        if domain.startswith("*.") and domain not in named:
            raise StartError(
                f"edge.domains: {domain} is not in {edge.tls_cert}, which names "
                f"{', '.join(names) or 'no domain'}; expected a certificate that names it"
            )
    return OwnCertificate(chain, key, named)


async def served_certificates(
    edge: EdgeConfig, *, failures: Iterable[Failure], now_s: float
) -> tuple[Certificate, ...]:
    """The certificate of each domain, as the edge serves it now."""
    problems = {failure.domain: failure.reason for failure in failures}
    at_once = asyncio.Semaphore(_HANDSHAKES_AT_ONCE)

    async def look(domain: str) -> Certificate:
        async with at_once:
            return await _served(edge, domain, problem=problems.get(domain, ""), now_s=now_s)

    return tuple(await asyncio.gather(*(look(domain) for domain in edge.domains)))


async def _served(edge: EdgeConfig, domain: str, *, problem: str, now_s: float) -> Certificate:
    try:
        der = await _handshake(edge, domain.replace("*", "www"))
    except TimeoutError:
        hangs = f"the edge completes no handshake within {_HANDSHAKE_TIMEOUT_S:g} s"
        return Certificate(domain, "missing", problem=hangs)
    if der is None:
        return Certificate(domain, "missing", problem=problem)
    try:
        found = x509.load_der_x509_certificate(der)
        expires_at_s = found.not_valid_after_utc.timestamp()
        lifetime_s = expires_at_s - found.not_valid_before_utc.timestamp()
        issuer = _issuer(found)
    except ValueError as error:  # of a chain that was loaded nevertheless
        return Certificate(domain, "missing", problem=f"unreadable certificate: {error}")
    state = certificate_state(expires_at_s - now_s, lifetime_s=lifetime_s)
    return Certificate(domain, state, expires_at_s, issuer, problem)


def certificate_state(left_s: float, *, lifetime_s: float) -> CertificateState:
    """Renewal begins with a third of the lifetime left: with a quarter left, it counts as
    failed."""
    if left_s <= 0:
        return "expired"
    return "expires soon" if left_s <= min(EXPIRES_SOON_S, lifetime_s / 4) else "valid"


async def _handshake(edge: EdgeConfig, name: str) -> bytes | None:
    """The certificate that is served for `name`, unverified; None if there is none. Raises
    TimeoutError."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_HANDSHAKE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(
                edge.bind or "127.0.0.1", edge.https_port, ssl=context, server_hostname=name
            )
            try:
                tls = writer.get_extra_info("ssl_object")
                der: bytes | None = tls.getpeercert(binary_form=True)
                return der
            finally:
                writer.close()
    except TimeoutError:  # an OSError too
        raise
    except OSError:
        return None


def _issuer(certificate: x509.Certificate) -> str:
    for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME):
        for attribute in certificate.issuer.get_attributes_for_oid(oid):
            return str(attribute.value)
    return ""


def _names(certificate: x509.Certificate) -> list[str]:
    with suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    return []


def _is_named(domain: str, names: Sequence[str]) -> bool:
    """Whether a domain is among the names (RFC 9525 section 6.3): a wildcard is the whole first
    label."""
    _, _, parent = domain.partition(".")
    return domain in names or (not domain.startswith("*.") and f"*.{parent}" in names)
