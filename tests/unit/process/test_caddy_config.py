"""The JSON configuration of the edge's Caddy; the integration tests run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gatekeeper.config.edge_schema import EdgeConfig
from gatekeeper.process.caddy_config import EdgeFiles, caddy_config
from gatekeeper.process.edge_certificates import OwnCertificate

HOME = Path("/state/edge")
FILES = EdgeFiles(
    handshakes=Path("/state/edge/handshakes.log"),
    admin_socket=HOME / "admin.sock",
    storage=HOME / "certificates",
    log=HOME / "caddy.log",
    worker_sockets=(HOME / "worker-1.sock", HOME / "worker-2.sock"),
)
DOMAINS = ("shop.example.com", "www.example.com")


def edge(**keys: Any) -> EdgeConfig:
    return EdgeConfig.model_validate({"domains": DOMAINS} | keys)


def all_of(value: object, key: str) -> list[Any]:
    """Every value of `key`, at any depth."""
    found = []
    if isinstance(value, dict):
        found += [value[key]] if key in value else []
        found += [each for inner in value.values() for each in all_of(inner, key)]
    elif isinstance(value, list):
        found += [each for inner in value for each in all_of(inner, key)]
    return found


def handlers(config: object) -> list[dict[str, Any]]:
    return [each for inner in all_of(config, "handle") for each in inner]


def test_every_pool_reaches_every_worker_unbuffered() -> None:
    proxies = [each for each in handlers(caddy_config(edge(), FILES)) if "upstreams" in each]
    assert len(proxies) == 3
    for proxy in proxies:
        dialled = [each["dial"] for each in proxy["upstreams"]]
        assert dialled == ["unix//state/edge/worker-1.sock", "unix//state/edge/worker-2.sock"]
        assert proxy["flush_interval"] == -1
        assert proxy["transport"]["versions"] == ["1.1"]
        assert proxy["transport"]["compression"] is False
        assert proxy["transport"]["keep_alive"]["idle_timeout"] == "60s"  # the workers: 75 s


def test_only_configured_domains_reach_a_worker() -> None:
    servers = caddy_config(edge(), FILES)["apps"]["http"]["servers"]
    for server in servers.values():
        *matched, last = server["routes"]
        assert all(route["match"][0]["host"] == list(DOMAINS) for route in matched)
        assert last["handle"] == [{"handler": "static_response", "status_code": 421}]
    assert not [each for each in handlers(servers["http"]) if each["handler"] != "static_response"]


@pytest.mark.parametrize(
    ("keys", "listen"),
    [
        ({}, [":443"]),
        ({"bind": "203.0.113.5", "https_port": 8443}, ["203.0.113.5:8443"]),
        ({"bind": "2001:db8::1"}, ["[2001:db8::1]:443"]),
    ],
)
def test_edge_listens_where_configured(keys: dict[str, Any], listen: list[str]) -> None:
    config = caddy_config(edge(**keys), FILES)
    assert config["apps"]["http"]["servers"]["https"]["listen"] == listen


def test_admin_socket_is_closed_to_other_users() -> None:
    config = caddy_config(edge(), FILES)
    assert config["admin"]["listen"] == "unix//state/edge/admin.sock|0600"
    assert config["admin"]["config"] == {"persist": False}


@pytest.mark.parametrize(
    ("keys", "issuers"),
    [
        ({}, []),
        (
            {"email": "ops@example.com"},
            [
                {"module": "acme", "email": "ops@example.com"},
                {
                    "module": "acme",
                    "email": "ops@example.com",
                    "ca": "https://acme.zerossl.com/v2/DV90",
                },
            ],
        ),
        (
            {"acme_ca": "https://ca.example/dir"},
            [{"module": "acme", "ca": "https://ca.example/dir"}],
        ),
        (
            {"acme_ca": "https://ca.example/dir", "email": "a@b.c", "acme_ca_root": "README.md"},
            [
                {
                    "module": "acme",
                    "email": "a@b.c",
                    "ca": "https://ca.example/dir",
                    "trusted_roots_pem_files": ["README.md"],
                }
            ],
        ),
    ],
)
def test_authority_is_the_configured_one(keys: dict[str, Any], issuers: list[Any]) -> None:
    tls = caddy_config(edge(**keys), FILES)["apps"]["tls"]
    assert [each for found in all_of(tls, "issuers") for each in found] == issuers


def test_own_certificate_leaves_the_other_domains_automatic() -> None:
    own = OwnCertificate("chain", "key", ("www.example.com",))
    tls = caddy_config(edge(email="a@b.c"), FILES, own=own)["apps"]["tls"]
    assert all_of(tls, "subjects") == [["shop.example.com"]]
    assert all_of(tls, "load_pem") == [[{"certificate": "chain", "key": "key"}]]
    everything = OwnCertificate("chain", "key", DOMAINS)
    tls = caddy_config(edge(email="a@b.c"), FILES, own=everything)["apps"]["tls"]
    assert "automation" not in tls


def test_only_trusted_proxies_are_believed() -> None:
    assert all_of(caddy_config(edge(), FILES), "trusted_proxies") == []
    config = caddy_config(edge(), FILES, trusted=["10.0.0.0/8"])
    assert all_of(config, "trusted_proxies") == [{"source": "static", "ranges": ["10.0.0.0/8"]}]


def test_log_is_bounded_and_has_no_tokens() -> None:
    log = caddy_config(edge(), FILES)["logging"]["logs"]["default"]
    assert (log["writer"]["roll_size_mb"], log["writer"]["roll_keep"]) == (10, 2)
    assert log["exclude"] == ["http.log.access"]
    assert log["encoder"]["fields"]["request>headers"] == {"filter": "delete"}
    assert log["encoder"]["fields"]["request>uri"]["regexp"] == r"\?.*"
    handshakes = caddy_config(edge(), FILES)["logging"]["logs"]["handshakes"]
    assert (handshakes["writer"]["roll_size_mb"], handshakes["writer"]["roll_keep"]) == (4, 1)
    assert handshakes["include"] == ["events", "http.stdlib"]
    assert handshakes["encoder"]["fields"]["data"] == {"filter": "delete"}
