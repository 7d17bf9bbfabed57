"""nginx, HAProxy, Caddy, Envoy and Traefik, each with its configuration of `deploy/forward-auth`.

Rules: in the files only addresses and the paths of a program's own files are replaced. A test that
lets requests pass while the gate is unreachable changes only what the file names for that.
"""

from __future__ import annotations

import re
import shutil
import signal
import sysconfig
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.client_claims import CLAIMS, spellings
from tests.ports import free_port
from tests.servers import Server

DEPLOY = Path(__file__).parents[3] / "deploy"
_PATH = f"{sysconfig.get_path('scripts')}:/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin"

Replacement = tuple[str, str]

# Some proxies refuse a request with more than a hundred fields.
_MAX_FIELDS = 30
_SPELLED = tuple(each for name in CLAIMS for each in spellings(name))
CLAIMING_FIELDS = [
    dict.fromkeys(names, "/claim")
    for names in (
        CLAIMS,
        *(_SPELLED[at : at + _MAX_FIELDS] for at in range(0, len(_SPELLED), _MAX_FIELDS)),
    )
]


@dataclass(frozen=True)
class Proxy:
    """One proxy, with its `files` in a folder of `deploy/`. `command` may name {folder};
    replacements are regular expressions, and may name {gate}, {origin}, {port}, {tls_port} and
    {folder}."""

    name: str
    files: tuple[str, ...]
    command: tuple[str, ...]
    replaced: tuple[Replacement, ...]
    fail_open: Replacement | None = None
    waiting_status: int = 503
    unreachable_status: int = 503
    replaces_cache_control: bool = True
    deployed: str = "forward-auth"
    runs_commands: bool = True  # sends the command in `Gatekeeper-Command` to the gate


_ADDRESSES: tuple[Replacement, ...] = (
    (r"gate:8080", "127.0.0.1:{gate}"),
    (r"origin:9000", "127.0.0.1:{origin}"),
)
_NGINX_FOLDERS = "".join(
    f"{kind}_temp_path {{folder}}/{kind}; "
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)
_CADDY_OPTIONS = "{{\n\tadmin off\n\tpersist_config off\n\tdefault_bind 127.0.0.1\n}}\n"
NGINX = Proxy(
    "nginx",
    ("nginx.conf",),
    (
        *("nginx", "-p", "{folder}", "-e", "{folder}/errors", "-c", "{folder}/nginx.conf"),
        *("-g", "daemon off; user root; pid {folder}/pid; error_log {folder}/errors;"),
    ),
    (
        *_ADDRESSES,
        (r"listen 8000", "listen 127.0.0.1:{port}"),
        (
            r"http {{",
            "http {{ access_log off; " + _NGINX_FOLDERS,
        ),
    ),
    fail_open=(r"# error_page 502", "error_page 502"),
)
HAPROXY = Proxy(
    "haproxy",
    ("haproxy.cfg", "gatekeeper.lua"),
    ("haproxy", "-db", "-C", "{folder}", "-f", "haproxy.cfg"),
    (*_ADDRESSES, (r"bind :8000", "bind 127.0.0.1:{port}")),
    fail_open=(r"http-request return status 503", "# http-request return status 503"),
)
CADDY = Proxy(
    "caddy",
    ("Caddyfile",),
    ("caddy", "run", "--adapter", "caddyfile", "--config", "{folder}/Caddyfile"),
    (
        *_ADDRESSES,
        (
            r"shop\.example\.com {{",
            _CADDY_OPTIONS + "http://:{port} {{",
        ),
        (r"127\.0\.0\.1:8001", "127.0.0.1:{tls_port}"),
    ),
    fail_open=(r"# open: ", ""),
    unreachable_status=502,
    runs_commands=False,
)
ENVOY = Proxy(
    "envoy",
    ("envoy.yaml",),
    (
        *("envoy", "-c", "{folder}/envoy.yaml", "--concurrency", "1", "--disable-hot-restart"),
        *("--log-level", "warning"),
    ),
    (
        (r"address: gate, port_value: 8080", "address: 127.0.0.1, port_value: {gate}"),
        (r"address: origin, port_value: 9000", "address: 127.0.0.1, port_value: {origin}"),
        (r"address: 0\.0\.0\.0, port_value: 8000", "address: 127.0.0.1, port_value: {port}"),
    ),
    fail_open=(r"failure_mode_allow: false", "failure_mode_allow: true"),
    waiting_status=429,
)
TRAEFIK = Proxy(
    "traefik",
    ("traefik.yaml", "traefik-routes.yaml"),
    ("traefik", "--configFile={folder}/traefik.yaml"),
    (
        *_ADDRESSES,
        (r'":8000"', "127.0.0.1:{port}"),
        (r"filename: ", "filename: {folder}/"),
    ),
    unreachable_status=500,
    replaces_cache_control=False,
    runs_commands=False,
)
PROXIES = (NGINX, HAPROXY, CADDY, ENVOY, TRAEFIK)


class ProxyServer(Server):
    """A proxy between visitors at `url`, the gate and the origin. `cookies` are the names
    that the gate's cookies can have."""

    orphaned = signal.SIGTERM  # nginx's workers continue after the master is killed

    def __init__(
        self,
        proxy: Proxy,
        *,
        gate: int,
        origin: int,
        cookies: tuple[str, ...] = (),
        fail_open: bool = False,
        also: Replacement | None = None,
    ) -> None:
        super().__init__()
        self.port, self.tls_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        values = {"gate": gate, "origin": origin, "folder": self.home}
        values |= {"port": self.port, "tls_port": self.tls_port}
        replaced = list(proxy.replaced)
        if fail_open:
            assert proxy.fail_open is not None
            replaced.append(proxy.fail_open)
        if also is not None:
            replaced.append(also)
        texts = {name: (DEPLOY / proxy.deployed / name).read_text() for name in proxy.files}
        for pattern, replacement in replaced:
            sought, by = pattern.replace("{{", r"\{"), replacement.format(**values)
            assert any(re.search(sought, text) for text in texts.values()), pattern
            by = by.replace("\\", "\\\\")
            texts = {name: re.sub(sought, by, text) for name, text in texts.items()}
        named = "".join(f"\n          - {name}" for name in cookies)
        for name, text in texts.items():
            (self.home / name).write_text(
                text.replace("addAuthCookiesToResponse:", f"addAuthCookiesToResponse:{named}")
            )
        self._words = [word.format(**values) for word in proxy.command]

    def _command(self) -> list[str]:
        program = shutil.which(self._words[0], path=_PATH)
        if program is None:
            raise RuntimeError(f"these tests need {self._words[0]} (.ci/run, pyproject.toml)")
        return [program, *self._words[1:]]

    def _responds(self) -> bool:
        """Traefik listens before it knows its routes, and then responds with 404."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/.gatekeeper/health")
            return connection.getresponse().status != HTTPStatus.NOT_FOUND
        except OSError:
            return False
        finally:
            connection.close()


# An unreachable gate closes the site; if the proxy supports it, it may also open the site.
each_failure_mode = pytest.mark.parametrize(
    ("proxy", "fail_open"),
    [(proxy, False) for proxy in PROXIES]
    + [(proxy, True) for proxy in PROXIES if proxy.fail_open is not None],
    ids=lambda value: value.name if isinstance(value, Proxy) else "open" if value else "closed",
)
