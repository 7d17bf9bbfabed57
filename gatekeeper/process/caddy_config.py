"""The configuration of the edge's Caddy, in Caddy's JSON.

Rules. Pure. Requests reach the workers in HTTP/1.1 on connections that stay open, each worker with
its own socket: they are distributed round-robin, and a request that a killed worker cannot accept
goes to the next. Nothing is buffered. Caddy writes `X-Forwarded-*` itself; a client's own fields
are only trusted from `server.trusted_proxies`. http is redirected before a worker receives
anything. Caddy's own log is a file of limited size, and so is that of handshakes; its messages
about certificates go to its standard output, for the supervisor.

Three connection pools per worker: the worker serves polls and plain requests on its fast path, on
connections that carried no other request before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gatekeeper.config.edge_schema import EdgeConfig
from gatekeeper.process.edge_certificates import OwnCertificate
from gatekeeper.process.edge_handshakes import HANDSHAKE_LOG_MB
from gatekeeper.proxy.aiohttp_server import HEAD_TIMEOUT_S, SERVER_OPTIONS

Json = dict[str, Any]

_ZEROSSL: Final = "https://acme.zerossl.com/v2/DV90"
# While a worker restarts, visitors wait instead of seeing an error.
_RETRY_FOR_S = 15
_RETRY_EVERY_MS = 100
# Caddy closes an idle connection before the worker does, so that no request is lost to a race.
_IDLE_S = SERVER_OPTIONS["keepalive_timeout"] - 15
_MAX_IDLE_PER_WORKER = 256  # of each pool
_MAX_HEAD_BYTES = 65_536  # the workers refuse smaller ones with their own response
_LOG_MB = 10
_LOGS_KEPT = 2
# A reload leaves existing WebSockets open for this long: usually as long as a session may last.
_TUNNELS_STAY_OPEN = "24h"


@dataclass(frozen=True, slots=True)
class EdgeFiles:
    """The files of the edge, in its folder."""

    admin_socket: Path
    storage: Path
    log: Path
    handshakes: Path
    worker_sockets: tuple[Path, ...]


def caddy_config(
    edge: EdgeConfig,
    files: EdgeFiles,
    *,
    trusted: Sequence[str] = (),
    own: OwnCertificate | None = None,
) -> Json:
    """The configuration. `trusted` are the networks of proxies in front of the edge. The JSON holds
    the key of the operator's `own` certificate."""
    automatic = [domain for domain in edge.domains if own is None or domain not in own.domains]
    issuers = _issuers(edge)
    tls: Json = {}
    if automatic and issuers:
        tls["automation"] = {"policies": [{"subjects": automatic, "issuers": issuers}]}
    if own is not None:
        tls["certificates"] = {"load_pem": [{"certificate": own.chain, "key": own.key}]}
    return {
        "admin": {"listen": f"unix/{files.admin_socket}|0600", "config": {"persist": False}},
        "logging": {"logs": _logs(files)},
        "storage": {"module": "file_system", "root": str(files.storage)},
        "apps": {
            "http": {
                "http_port": edge.http_port,
                "https_port": edge.https_port,
                "servers": {
                    "https": _https_server(edge, files, trusted),
                    "http": _http_server(edge),
                },
            },
            "tls": tls,
            # Caddy's own CA, for "localhost" and names that no public CA certifies; it is never
            # installed in the system's trust store.
            "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
        },
    }


def _issuers(edge: EdgeConfig) -> list[Json]:
    """The issuers of certificates; None: Caddy's default, without an account."""
    account: Json = {"module": "acme"} | ({"email": edge.email} if edge.email else {})
    if edge.acme_ca:
        account["ca"] = edge.acme_ca
        if edge.acme_ca_root:
            account["trusted_roots_pem_files"] = [edge.acme_ca_root]
        return [account]
    # Caddy's default for an account with an email address: Let's Encrypt, then ZeroSSL.
    return [account, account | {"ca": _ZEROSSL}] if edge.email else []


def _logs(files: EdgeFiles) -> Json:
    return {
        "default": {
            "writer": {
                "output": "file",
                "filename": str(files.log),
                "mode": "0600",
                "roll_size_mb": _LOG_MB,
                "roll_keep": _LOGS_KEPT,
            },
            "exclude": ["http.log.access"],  # a line per request
            # Without query strings and header fields, which may contain tokens.
            "encoder": {
                "format": "filter",
                "wrap": {"format": "json"},
                "fields": {
                    "request>uri": {"filter": "regexp", "regexp": r"\?.*", "value": ""},
                    "request>headers": {"filter": "delete"},
                },
            },
        },
        "certificates": {
            "writer": {"output": "stdout"},
            "encoder": {"format": "json"},
            "include": ["tls.obtain", "tls.renew"],
        },
        "handshakes": {
            "level": "DEBUG",  # only these two loggers
            "include": ["events", "http.stdlib"],
            "writer": {
                "output": "file",
                "filename": str(files.handshakes),
                "mode": "0600",
                "roll_size_mb": HANDSHAKE_LOG_MB,
                "roll_keep": 1,
                "roll_gzip": False,
            },
            "encoder": {
                "format": "filter",
                "wrap": {"format": "json", "time_key": "", "level_key": "", "name_key": ""},
                "fields": {name: {"filter": "delete"} for name in ("id", "origin", "data")},
            },
        },
    }


def _address(edge: EdgeConfig, port: int) -> str:
    return f"[{edge.bind}]:{port}" if ":" in edge.bind else f"{edge.bind}:{port}"


def _https_server(edge: EdgeConfig, files: EdgeFiles, trusted: Sequence[str]) -> Json:
    polls = {"path": ["/.gatekeeper/status"], "method": ["GET"]}
    plain = {
        "method": ["GET", "HEAD"],
        "not": [{"header": {"Upgrade": ["*"]}}],
    }
    handlers: list[Json] = [
        {"match": [polls], "handle": [_to_workers(files)]},
        {"match": [plain], "handle": [_to_workers(files)]},
        {"handle": [_to_workers(files)]},
    ]
    server: Json = {
        "listen": [_address(edge, edge.https_port)],
        "read_header_timeout": f"{HEAD_TIMEOUT_S:g}s",
        "max_header_bytes": _MAX_HEAD_BYTES,
        "automatic_https": {"disable_redirects": True},  # `_http_server` has them
        "tls_connection_policies": [{}],
        "routes": [
            {
                "match": [{"host": list(edge.domains)}],
                "handle": [
                    {
                        "handler": "subroute",
                        "routes": [{"group": "pool", **each} for each in handlers],
                    }
                ],
                "terminal": True,
            },
            {"handle": [{"handler": "static_response", "status_code": 421}]},  # another host
        ],
        "logs": {},  # the reason for each 5xx
    }
    if trusted:
        server["trusted_proxies"] = {"source": "static", "ranges": list(trusted)}
    return server


def _to_workers(files: EdgeFiles) -> Json:
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"unix/{path}"} for path in files.worker_sockets],
        "transport": {
            "protocol": "http",
            "versions": ["1.1"],
            "compression": False,  # adds no `Accept-Encoding`
            "keep_alive": {
                "idle_timeout": f"{_IDLE_S:g}s",
                "max_idle_conns_per_host": _MAX_IDLE_PER_WORKER,
            },
        },
        "load_balancing": {
            "selection_policy": {"policy": "round_robin"},
            "try_duration": f"{_RETRY_FOR_S}s",
            "try_interval": f"{_RETRY_EVERY_MS}ms",
        },
        "flush_interval": -1,
        "stream_close_delay": _TUNNELS_STAY_OPEN,
    }


def _http_server(edge: EdgeConfig) -> Json:
    """Redirects to https, and serves the challenges of the CA (Caddy does so before the routes)."""
    redirects = []
    if edge.http_port != 80:
        # A client that names this port in Host is not behind port forwarding from 80.
        port = {"Host": {"pattern": f":{edge.http_port}$"}}
        redirects.append(_redirect(edge, {"header_regexp": port}, port=f":{edge.https_port}"))
    redirects.append(_redirect(edge, {}, port=""))
    return {
        "listen": [_address(edge, edge.http_port)],
        "read_header_timeout": f"{HEAD_TIMEOUT_S:g}s",
        "max_header_bytes": _MAX_HEAD_BYTES,
        "protocols": ["h1"],
        "routes": [
            *redirects,
            {"handle": [{"handler": "static_response", "status_code": 421}]},
        ],
    }


def _redirect(edge: EdgeConfig, match: Json, *, port: str) -> Json:
    address = f"https://{{http.request.host}}{port}{{http.request.uri}}"
    return {
        "match": [{"host": list(edge.domains), **match}],
        "handle": [
            {
                "handler": "static_response",
                "status_code": 308,
                "headers": {"Location": [address], "Connection": ["close"]},
            }
        ],
        "terminal": True,
    }
