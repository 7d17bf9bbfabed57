"""The edge's certificates, and the log about them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme

from gatekeeper.admin.edge_status import Certificate
from gatekeeper.config.edge_schema import EdgeConfig
from gatekeeper.errors import StartError
from gatekeeper.process import edge_certificates
from gatekeeper.process.edge_certificates import (
    Failure,
    Success,
    certificate_state,
    log_report,
    own_certificate,
    read_report,
    served_certificates,
)
from tests.ports import closed_port

# Lines of Caddy 2.11 about a private CA, no CA, and Let's Encrypt.
REFUSED = (
    "[a.example.com] Obtain: [a.example.com] creating new order: attempt 1: https://ca/new-order: "
    "HTTP 400 urn:ietf:params:acme:error:rejectedIdentifier - The server will not issue "
    "certificates for the identifier (ca=https://ca/directory)"
)
UNREACHABLE = (
    "[a.example.com] Obtain: registering account [] with server: provisioning client: performing "
    'request: Get "https://ca/d": dial tcp 127.0.0.1:9: connect: connection refused'
)
ELSEWHERE = (
    "[a.example.com] Renew: [a.example.com] solving challenges: a.example.com: no solvers available"
    " for remaining challenges; last error: HTTP 403 urn:ietf:params:acme:error:unauthorized - "
    "203.0.113.9: Invalid response from http://a.example.com/.well-known/acme-challenge/x: 404"
)
NO_DNS = ELSEWHERE.replace("unauthorized", "dns").replace("403", "400")
SLOW = (
    "[a.example.com] Obtain: [a.example.com] solving challenges: [a.example.com] authorization "
    "took too long (order=https://ca/acme/local/order/x) (ca=https://ca/acme/local/directory)"
)
NO_DIRECTORY = (
    "[a.example.com] Obtain: registering account [] with server: provisioning client: HTTP 404: no"
)
HTML = NO_DIRECTORY.replace(
    "HTTP 404: no", "response Content-Type is text/html but target container is not io.Writer"
)
LIMITED = REFUSED.replace("rejectedIdentifier", "rateLimited").replace("400", "429")
UNTRUSTED = UNREACHABLE.replace(
    "dial tcp 127.0.0.1:9: connect: connection refused",
    "tls: failed to verify certificate: x509: certificate signed by unknown authority",
)


def line(**fields: Any) -> bytes:
    return json.dumps({"level": "error", "logger": "tls.obtain"} | fields).encode() + b"\n"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (REFUSED, "a domain for which this CA issues certificates"),
        (UNREACHABLE, "the CA to be reachable from this machine"),
        (ELSEWHERE, "the DNS of the domain to point to this machine, and its ports 80 and 443"),
        (NO_DNS, "the DNS of the domain to point to this machine, and its ports 80 and 443"),
        (SLOW, "the DNS of the domain to point to this machine, and its ports 80 and 443"),
        (NO_DIRECTORY, "edge.acme_ca with the URL of the ACME directory of the CA"),
        (HTML, "edge.acme_ca with the URL of the ACME directory of the CA"),
        (LIMITED, "fewer certificates; the CA limits their number"),
        (UNTRUSTED, "edge.acme_ca_root with the certificate of a private CA"),
        ("[a.example.com] Obtain: something new", ""),
    ],
)
def test_failure_is_one_line_with_a_remedy(error: str, expected: str) -> None:
    report = read_report(line(msg="will retry", error=error, retrying_in=60))
    assert isinstance(report, Failure)
    assert (report.domain, report.retry_in_s) == ("a.example.com", 60.0)
    assert report.expected.startswith(expected)
    assert bool(report.expected) == bool(expected)
    with structlog.testing.capture_logs() as logs:
        log_report(report)
    [entry] = logs
    assert (entry["event"], entry["log_level"]) == ("certificate_not_obtained", "error")
    assert "\n" not in entry["problem"]
    assert not entry["problem"].startswith("[a.example.com] Obtain")


def test_long_failure_is_cut() -> None:
    report = read_report(line(msg="will retry", error="[a] Obtain: " + "x y\n" * 1000))
    assert isinstance(report, Failure)
    assert len(report.reason) == 300
    assert report.retry_in_s is None


@pytest.mark.parametrize(
    ("message", "renewed", "event"),
    [
        ("certificate obtained successfully", False, "certificate_obtained"),
        ("certificate renewed successfully", True, "certificate_renewed"),
    ],
)
def test_success_is_one_line(message: str, renewed: bool, event: str) -> None:
    text = line(level="info", msg=message, identifier="a.example.com", issuer="ca")
    assert read_report(text) == Success("a.example.com", "ca", renewed)
    with structlog.testing.capture_logs() as logs:
        log_report(Success("a.example.com", "ca", renewed))
    assert [each["event"] for each in logs] == [event]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"panic: oh\n",
        b"[]\n",
        b"\xff\n",
        line(msg="could not get certificate from issuer", error=REFUSED),
        line(msg="will retry", error="without a domain"),
        line(msg="will retry", error=5),
        line(level="info", msg="acquiring lock", identifier="a.example.com"),
    ],
)
def test_other_lines_report_nothing(text: bytes) -> None:
    assert read_report(text) is None


DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("left_s", "lifetime_s", "state"),
    [
        (30 * DAY_S, 90 * DAY_S, "valid"),
        (7 * DAY_S + 1, 90 * DAY_S, "valid"),
        (7 * DAY_S, 90 * DAY_S, "expires soon"),
        (1, 90 * DAY_S, "expires soon"),
        (0, 90 * DAY_S, "expired"),
        (-DAY_S, 90 * DAY_S, "expired"),
        (DAY_S / 5, DAY_S / 2, "valid"),
        (DAY_S / 9, DAY_S / 2, "expires soon"),
    ],
)
def test_certificate_that_should_have_been_renewed_expires_soon(
    left_s: float, lifetime_s: float, state: str
) -> None:
    assert certificate_state(left_s, lifetime_s=lifetime_s) == state


# Certificates of the operator.


def edge(folder: Path, *names: str, domains: tuple[str, ...]) -> EdgeConfig:
    leaf = trustme.CA().issue_cert(*names)
    leaf.private_key_and_cert_chain_pem.write_to_path(str(folder / "own.pem"))
    path = str(folder / "own.pem")
    return EdgeConfig.model_validate({"domains": domains, "tls_cert": path, "tls_key": path})


@pytest.mark.parametrize(
    ("names", "domains", "named"),
    [
        (["a.example"], ("a.example", "b.example"), ("a.example",)),
        (["*.a.example"], ("x.a.example", "a.example"), ("x.a.example",)),
        (["*.a.example"], ("*.a.example", "x.y.a.example"), ("*.a.example",)),
        (["*.a.example"], ("xa.example",), ()),
    ],
)
def test_own_certificate_counts_for_what_it_names(
    tmp_path: Path, names: list[str], domains: tuple[str, ...], named: tuple[str, ...]
) -> None:
    own = own_certificate(edge(tmp_path, *names, domains=domains))
    assert own is not None
    assert own.domains == named
    assert own.chain.startswith("-----BEGIN")
    assert own.key not in repr(own)


@pytest.mark.parametrize("name", ["a.example", "*.x.a.example", "*.example"])
def test_wildcard_that_the_certificate_does_not_name_is_refused(tmp_path: Path, name: str) -> None:
    wildcard = edge(tmp_path, name, domains=("*.a.example",))
    with pytest.raises(StartError, match=r"edge.domains: \*\.a\.example is not in .*own\.pem"):
        own_certificate(wildcard)


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAA\n"])
def test_file_that_is_no_certificate_is_refused(tmp_path: Path, text: str) -> None:
    own = edge(tmp_path, "a.example", domains=("a.example",))
    (tmp_path / "own.pem").write_text(text)
    with pytest.raises(StartError, match=r"edge.tls_cert: cannot use .*own\.pem with"):
        own_certificate(own)


async def test_edge_that_hangs_is_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is running, and accepts connections."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(edge_certificates, "_HANDSHAKE_TIMEOUT_S", 0.05)
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    certificate = await certificate_at(server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    assert certificate.state == "missing"
    assert certificate.problem == "the edge completes no handshake within 0.05 s"


async def test_edge_that_does_not_run_has_no_certificate_yet() -> None:
    refused = await certificate_at(closed_port())
    assert (refused.state, refused.problem) == ("missing", "")


async def certificate_at(port: int) -> Certificate:
    edge = EdgeConfig.model_validate({"domains": ["a.example"], "https_port": port})
    [certificate] = await served_certificates(edge, failures=(), now_s=0)
    return certificate


def test_without_a_certificate_everything_is_automatic() -> None:
    assert own_certificate(EdgeConfig(domains=("a.example",))) is None
