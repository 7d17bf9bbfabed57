"""Proxies in front of a gate, as `deploy/in-front` configures them.

Rules: in the files only addresses and ports are replaced. Each proxy has a certificate for `HOST`
from a CA of the tests.
"""

from __future__ import annotations

import socket
import ssl

import trustme

from tests.integration.forward_auth.proxies import Proxy, ProxyServer, Replacement

HOST = "shop.example.com"
_GATE: Replacement = (r"gate:8080", "127.0.0.1:{gate}")
_NGINX_FOLDERS = "".join(
    f"{kind}_temp_path {{folder}}/{kind}; "
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)
_CADDY = "admin off\n\tpersist_config off\n\tdefault_bind 127.0.0.1"
FRONTS = (
    Proxy(
        "nginx",
        ("nginx.conf",),
        (
            *("nginx", "-p", "{folder}", "-e", "{folder}/errors", "-c", "{folder}/nginx.conf"),
            *("-g", "daemon off; user root; pid {folder}/pid; error_log {folder}/errors;"),
        ),
        (
            _GATE,
            (r"listen 8000", "listen 127.0.0.1:{port}"),
            (r"listen 8443", "listen 127.0.0.1:{tls_port}"),
            (r"http {{", "http {{ access_log off; " + _NGINX_FOLDERS),
        ),
        deployed="in-front",
    ),
    Proxy(
        "haproxy",
        ("haproxy.cfg",),
        ("haproxy", "-db", "-C", "{folder}", "-f", "haproxy.cfg"),
        (
            _GATE,
            (r"bind :8000", "bind 127.0.0.1:{port}"),
            (r"bind :8443", "bind 127.0.0.1:{tls_port}"),
        ),
        deployed="in-front",
    ),
    Proxy(
        "caddy",
        ("Caddyfile",),
        ("caddy", "run", "--adapter", "caddyfile", "--config", "{folder}/Caddyfile"),
        (
            _GATE,
            (
                r"shop\.example\.com {{",
                "{{\n\t" + _CADDY + "\n\thttp_port {port}\n\thttps_port {tls_port}\n}}\n"
                "shop.example.com {{\n\ttls {folder}/site.crt {folder}/site.key",
            ),
        ),
        deployed="in-front",
    ),
    Proxy(
        "envoy",
        ("envoy.yaml",),
        (
            *("envoy", "-c", "{folder}/envoy.yaml", "--concurrency", "1", "--disable-hot-restart"),
            *("--log-level", "warning"),
        ),
        (
            (r"address: gate, port_value: 8080", "address: 127.0.0.1, port_value: {gate}"),
            (r"address: 0\.0\.0\.0, port_value: 8000", "address: 127.0.0.1, port_value: {port}"),
            (
                r"address: 0\.0\.0\.0, port_value: 8443",
                "address: 127.0.0.1, port_value: {tls_port}",
            ),
        ),
        deployed="in-front",
    ),
    Proxy(
        "traefik",
        ("traefik.yaml", "traefik-routes.yaml"),
        ("traefik", "--configFile={folder}/traefik.yaml"),
        (
            _GATE,
            (r'":8000"', "127.0.0.1:{port}"),
            (r'":8443"', "127.0.0.1:{tls_port}"),
            # One late response to the health check would stop all service, and a busy machine is
            # not an outage.
            (r"interval: 2s, timeout: 1s", "interval: 60s, timeout: 30s"),
            (r"filename: ", "filename: {folder}/"),
        ),
        deployed="in-front",
    ),
)


class FrontServer(ProxyServer):
    """A proxy that ends TLS in front of a gate."""

    def __init__(self, proxy: Proxy, authority: trustme.CA, *, gate: int) -> None:
        super().__init__(proxy, gate=gate, origin=0)
        self.tls_url = f"https://{HOST}:{self.tls_port}"
        self._trusting = ssl.create_default_context()
        authority.configure_trust(self._trusting)
        leaf = authority.issue_cert(HOST)
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        key = leaf.private_key_pem.bytes()
        for name, content in (("crt", chain), ("key", key), ("pem", chain + key)):
            (self.home / f"site.{name}").write_bytes(content)

    def _responds(self) -> bool:
        """Whether it responds with the right certificate: at first Traefik uses its own."""
        try:
            with (
                socket.create_connection(("127.0.0.1", self.tls_port), timeout=5) as plain,
                self._trusting.wrap_socket(plain, server_hostname=HOST),
            ):
                return super()._responds()
        except OSError:
            return False
