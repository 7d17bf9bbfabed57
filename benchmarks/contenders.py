"""The proxies that `proxy.py` compares, each as one worker on one core, and the origin.

Rules. Every contender forwards to the same nginx over kept connections, logs nothing, and adds
what a reverse proxy must. Configurations are what each project's own documentation recommends
for this; where one does more work (verifies the JWT), its name says so.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROXY_CORE, LOAD_CORE = 0, 1
SECRET = "benchmark-secret-of-more-than-thirty-two-bytes"
_START_TIMEOUT_S = 15.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Running:
    """A contender that serves."""

    name: str
    url: str
    process: subprocess.Popen[bytes]

    def cpu_s(self) -> float:
        """User and system time of the process and all its children that live, seconds."""
        return sum(_cpu_s(pid) for pid in _tree(self.process.pid))

    def rss_bytes(self) -> int:
        pages = sum(
            int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            for pid in _tree(self.process.pid)
        )
        return pages * os.sysconf("SC_PAGESIZE")

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


def start_origin(folder: Path) -> Running:
    """nginx with files of 1 KB, 100 KB and 10 MB, on the core of the load."""
    root = folder / "files"
    root.mkdir()
    for name, size in (("1k", 1024), ("100k", 102_400), ("10m", 10_485_760)):
        (root / name).write_bytes(os.urandom(size))
    port = free_port()
    config = f"""
        daemon off; worker_processes 1; pid {folder}/origin.pid; error_log {folder}/origin.log;
        events {{ worker_connections 20000; }}
        http {{
            access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
            server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; }}
        }}"""
    return _nginx("origin", config, port, folder, core=LOAD_CORE)


def nginx(origin: str, folder: Path) -> Running:
    port = free_port()
    config = f"""
        daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
        events {{ worker_connections 20000; }}
        http {{
            access_log off; keepalive_requests 100000000;
            upstream origin {{ server {origin}; keepalive 256; keepalive_requests 100000000; }}
            server {{
                listen 127.0.0.1:{port} backlog=4096;
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
    return _nginx("nginx", config, port, folder, core=PROXY_CORE)


def haproxy(origin: str, folder: Path) -> Running:
    return _haproxy("HAProxy", origin, folder, rule="")


def haproxy_jwt(origin: str, folder: Path) -> Running:
    rule = f'http-request deny unless {{ req.cook(gatekeeper),jwt_verify("HS256","{SECRET}") 1 }}'
    return _haproxy("HAProxy, verifying the JWT", origin, folder, rule=rule)


def _haproxy(name: str, origin: str, folder: Path, *, rule: str) -> Running:
    port = free_port()
    path = folder / f"haproxy-{port}.cfg"
    path.write_text(f"""
global
    nbthread 1
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 60s
    option forwardfor
    http-reuse always
frontend public
    bind 127.0.0.1:{port}
    {rule}
    default_backend origin
backend origin
    server origin {origin}
""")
    return _start(name, [_program("haproxy"), "-f", str(path), "-db"], port, folder)


def caddy(origin: str, folder: Path) -> Running:
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
    command = [_program("caddy"), "run", "--config", str(path), "--adapter", "caddyfile"]
    environment = {"GOMAXPROCS": "1", "XDG_DATA_HOME": str(folder), "HOME": str(folder)}
    return _start("Caddy", command, port, folder, environment=environment)


def client_session(origin: str, folder: Path) -> Running:
    port = free_port()
    script = Path(__file__).with_name("client_session_proxy.py")
    command = [sys.executable, str(script), origin, str(port)]
    return _start("aiohttp ClientSession", command, port, folder)


def gatekeeper(origin: str, folder: Path) -> Running:
    port, admin = free_port(), free_port()
    path = folder / f"gatekeeper-{port}.toml"
    path.write_text(f"""
[server]
listen = "127.0.0.1:{port}"
[origin]
url = "http://{origin}"
[tokens]
secrets = ["{SECRET}"]
[admin]
listen = "127.0.0.1:{admin}"
""")
    command = [sys.executable, "-m", "gatekeeper.cli", "serve", "-c", str(path)]
    environment = {"GATEKEEPER_STATE_DIR": str(folder / f"state-{port}")}
    return _start("Gatekeeper", command, port, folder, environment=environment)


ALL: tuple[Callable[[str, Path], Running], ...] = (
    gatekeeper,
    nginx,
    haproxy,
    haproxy_jwt,
    caddy,
    client_session,
)


def _nginx(name: str, config: str, port: int, folder: Path, *, core: int) -> Running:
    path = folder / f"nginx-{port}.conf"
    # As root nginx would change to another user, who may not read our folder.
    user = "user root;" if os.geteuid() == 0 else ""
    path.write_text(user + config)
    command = [_program("nginx"), "-c", str(path), "-p", str(folder)]
    return _start(name, command, port, folder, core=core)


def _program(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        raise SystemExit(f"{name} is missing; `make bench-proxy` installs it")
    return path


def _start(
    name: str,
    command: list[str],
    port: int,
    folder: Path,
    *,
    core: int = PROXY_CORE,
    environment: dict[str, str] | None = None,
) -> Running:
    with (folder / f"log-{port}").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return Running(name, f"http://127.0.0.1:{port}", process)
        time.sleep(0.05)
    process.kill()
    raise SystemExit(f"{name} does not serve:\n{(folder / f'log-{port}').read_text()[-2000:]}")


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
    return (int(fields[11]) + int(fields[12])) / _TICKS
