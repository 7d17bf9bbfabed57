"""The cost of the gate's own TLS, compared with nginx and HAProxy with the same key.

Rules. As in `proxy.py`: one core for the proxies, the other for load and origin; medians over
interleaved rounds. The certificate is ECDSA P-256, as Let's Encrypt issues them by default, and
each proxy must negotiate TLS 1.3 with the load: TLS 1.2 resumes a session without a key exchange.
New connections are made by `openssl s_time`, which counts full and resumed handshakes separately;
wrk resumes sessions without reporting it.
"""

from __future__ import annotations

import re
import socket
import ssl
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import contenders
import load_generators
from contenders import RunningProcess
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from load_generators import Cost
from readme_section import table

_PATH, _CONNECTIONS = "/1k", 64
_KEPT = "1 KB on kept connections"
_NEW = "1 KB, a new connection and a full handshake per request"
_REUSED = "1 KB, a new connection that resumes a session, per request"
_STREAM = "10 MB streams, 8 at a time"
_STREAM_GB = 10_485_760 / 1e9
_CLIENTS = 8  # that open new connections


@dataclass(frozen=True)
class Pair:
    """The files of a certificate: the chain, its key, and both in one file."""

    cert: Path
    key: Path
    both: Path

    @classmethod
    def written_to(cls, folder: Path) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gate.test")])
        now = datetime.now(UTC)
        cert = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        pair = cls(folder / "tls.crt", folder / "tls.key", folder / "tls.pem")
        pair.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        pair.both.write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
        return pair


def section(origin: str, folder: Path, *, headers: Sequence[str], rounds: int, seconds: int) -> str:
    """The section of the report. `headers` are a browser's, with a valid pass."""
    pair = Pair.written_to(folder)
    keys = f'tls_cert = "{pair.cert}"\ntls_key = "{pair.key}"'
    listen = f"ssl; ssl_certificate {pair.cert}; ssl_certificate_key {pair.key}"
    listen += "; ssl_protocols TLSv1.2 TLSv1.3"  # the default of nginx 1.22 ends with TLS 1.2
    listen += "; ssl_session_cache shared:TLS:10m"  # else nginx resumes by tickets alone
    with ExitStack() as stack:
        proxies = []
        for proxy in (
            contenders.gatekeeper(origin, folder, server=keys),
            contenders.nginx(origin, folder, listen=listen),
            contenders.haproxy(origin, folder, bind=f"ssl crt {pair.both} alpn http/1.1"),
        ):
            stack.callback(proxy.stop)
            proxies.append(replace(proxy, url=proxy.url.replace("http:", "https:")))
            _require_tls_1_3(proxies[-1])
        costs = _runs(proxies, headers=headers, rounds=rounds, seconds=seconds)
    ours = proxies[0].name
    text = (
        "### TLS of the listener, a browser's headers\n\nOne certificate and key (ECDSA "
        "P-256) for all, TLS 1.3. A resumed session costs no signature; a client keeps the key "
        f"exchange. Medians of {rounds} rounds of {seconds} s with the lowest and highest."
    )
    for title, of in costs.items():
        unit = "CPU µs per request"
        cpu = {name: [cost.cpu_us_per_request for cost in runs] for name, runs in of.items()}
        if title is _STREAM:
            unit = "CPU ms per GB"
            cpu = {n: [us / 1e3 / _STREAM_GB for us in values] for n, values in cpu.items()}
        rows = [[name, _spread(cpu[name]), _ratio(cpu[ours], cpu[name])] for name in cpu]
        text += f"\n\n{table([title, unit, 'Gatekeeper as a ratio'], rows)}"
    return text


def _require_tls_1_3(proxy: RunningProcess) -> None:
    """Exits if the proxy negotiates another version."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = urlsplit(proxy.url)
    with (
        socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as raw,
        context.wrap_socket(raw) as connection,
    ):
        if connection.version() != "TLSv1.3":
            raise SystemExit(f"{proxy.name}: negotiates {connection.version()}; expected TLSv1.3")


def _runs(
    proxies: Sequence[RunningProcess], *, headers: Sequence[str], rounds: int, seconds: int
) -> dict[str, dict[str, list[Cost]]]:
    costs: dict[str, dict[str, list[Cost]]] = {
        title: {} for title in (_KEPT, _NEW, _REUSED, _STREAM)
    }
    for number in range(rounds + 1):
        for title, of in costs.items():
            for proxy in proxies:
                length_s = seconds if number else 1  # the first round warms up
                cost = _run(title, proxy, headers=list(headers), seconds=length_s)
                if number:
                    of.setdefault(proxy.name, []).append(cost)
    return costs


def _run(title: str, proxy: RunningProcess, *, headers: list[str], seconds: int) -> Cost:
    if title in {_KEPT, _STREAM}:
        path, connections = ("/10m", 8) if title is _STREAM else (_PATH, _CONNECTIONS)
        return load_generators.wrk(
            proxy, path, headers=headers, connections=connections, seconds=seconds
        )
    return _new_connections(proxy, headers=headers, seconds=seconds, resumed=title is _REUSED)


def _new_connections(
    proxy: RunningProcess, *, headers: list[str], seconds: int, resumed: bool
) -> Cost:
    """Clients that open one connection after the other, each for one request. Exits if a handshake
    is not of the required kind."""
    address = urlsplit(proxy.url).netloc
    # s_time sends "GET <path> HTTP/1.0", so the path contains the rest of the head.
    lines = [f"{_PATH} HTTP/1.1", f"Host: {address}", *headers, "Connection: close", "X-Ended-By:"]
    command = ["openssl", "s_time", "-connect", address, "-time", str(seconds)]
    command += ["-reuse" if resumed else "-new", "-www", "\r\n".join(lines)]
    before_s = proxy.cpu_s()
    with ThreadPoolExecutor(_CLIENTS) as pool:
        runs = [pool.submit(load_generators.run, command, seconds) for _ in range(_CLIENTS)]
        outputs = [run.result() for run in runs]
    cpu_s = proxy.cpu_s() - before_s
    connections = 0
    for output in outputs:
        # It prints a letter for each connection: "*" for a full handshake, "r" for a resumed
        # session. Clients that resume begin with one more connection, which gets the session.
        letters = re.search(r"^([*r]+)$", output, re.MULTILINE)
        count = re.search(r"(\d+) connections in \d+ real seconds, (\d+) bytes read", output)
        wanted = {"r" if resumed else "*"}
        if letters is None or set(letters[1]) != wanted or count is None or int(count[2]) < 1024:
            raise SystemExit(f"{proxy.name}: other handshakes than required:\n{output[-500:]}")
        connections += int(count[1]) + resumed
    return Cost(connections, cpu_s, float(seconds))


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    return f"{statistics.median(a / b for a, b in zip(ours, theirs, strict=True)):.2f}"
