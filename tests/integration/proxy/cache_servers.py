"""nginx and HAProxy as caches in front of a gate, with their default settings."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from tests.ports import free_port, until_listening

CacheKind = Literal["nginx", "haproxy"]

_START_S = 10.0
_PATH = "/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin"
_NGINX = """
daemon off;
user root;
pid {folder}/pid;
error_log {folder}/errors;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache keys_zone=cache:1m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {gate};
            proxy_cache cache;
            {more}
        }}
    }}
}}
"""
_HAPROXY = """
global
    maxconn 64
cache cache
    total-max-size 4
    max-age 600
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend cached
    bind 127.0.0.1:{port}
    http-request cache-use cache
    http-response cache-store cache
    default_backend gate
backend gate
    server gate {gate}
"""


@contextmanager
def running_cache(kind: CacheKind, gate_url: str, *, more: str = "") -> Iterator[str]:
    """The URL of a cache that forwards to the gate. `more` are directives of nginx."""
    binary = shutil.which(kind, path=_PATH)
    if binary is None:
        raise RuntimeError(f"these tests need {kind} (Debian: apt-get install {kind})")
    with TemporaryDirectory(prefix="gk-") as name:
        folder, port = Path(name), free_port()
        if kind == "nginx":
            file = folder / "nginx.conf"
            file.write_text(_NGINX.format(folder=folder, port=port, gate=gate_url, more=more))
            command = [binary, "-p", name, "-e", f"{name}/errors", "-c", str(file)]
        else:
            file = folder / "haproxy.cfg"
            file.write_text(_HAPROXY.format(port=port, gate=gate_url.removeprefix("http://")))
            command = [binary, "-db", "-f", str(file)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            until_listening(port, process, within_s=_START_S)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_START_S)
