"""The manifests of `deploy/in-front`, by the schemas of the programs that read them.

Rules: the schemas of the Gateway API are those of its release 1.6.1 (standard channel, v1), without
descriptions, and closed to unknown keys.
"""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from gatekeeper.proxy.aiohttp_server import SERVER_OPTIONS
from gatekeeper.proxy.headers import PROXY_CLAIMS

ROOT = Path(__file__).parents[2]
IN_FRONT = ROOT / "deploy" / "in-front"
SCHEMAS: dict[str, Any] = json.loads(
    (ROOT / "tests" / "testdata" / "gateway-api" / "schemas.json").read_text()
)
GATE = {"name": "gatekeeper", "port": 80}


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((IN_FRONT / name).read_text()))


@pytest.mark.parametrize("manifest", manifests("gateway-api.yaml"), ids=lambda each: each["kind"])
def test_gateway_manifest_matches_its_schema(manifest: dict[str, Any]) -> None:
    jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
    wrong = deepcopy(manifest)
    wrong["spec"]["hostname"] = ["shop.example.com"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMAS[manifest["kind"]])


def test_gateway_redirects_http_and_replaces_what_clients_send() -> None:
    gateway, plain, site = manifests("gateway-api.yaml")
    assert {each["name"] for each in gateway["spec"]["listeners"]} == {"http", "https"}
    [redirect] = plain["spec"]["rules"]
    assert "backendRefs" not in redirect
    assert redirect["filters"][0]["requestRedirect"]["scheme"] == "https"
    [rule] = site["spec"]["rules"]
    assert rule["backendRefs"] == [GATE]
    modifier = rule["filters"][0]["requestHeaderModifier"]
    assert modifier["set"] == [{"name": "X-Forwarded-Proto", "value": "https"}]
    removed = {name.lower().encode() for name in modifier["remove"]}
    assert removed == {b"x-forwarded-host", b"forwarded"} | PROXY_CLAIMS
    assert rule["timeouts"]["request"] == "0s"


def test_ingress_matches_the_strict_schema() -> None:
    ingress, claims = manifests("ingress-nginx.yaml")
    for manifest in (ingress, claims):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    annotations = ingress["metadata"]["annotations"]
    prefix = "nginx.ingress.kubernetes.io/"
    assert all(key.startswith(prefix) for key in annotations)
    assert annotations[f"{prefix}force-ssl-redirect"] == "true"
    assert annotations[f"{prefix}proxy-buffering"] == "off"
    [rule] = ingress["spec"]["rules"]
    service = rule["http"]["paths"][0]["backend"]["service"]
    assert service == {"name": "gatekeeper", "port": {"number": 80}}


def test_service_that_manifests_name_exists() -> None:
    deployed = yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text())
    services = {
        each["metadata"]["name"]: [port["port"] for port in each["spec"]["ports"]]
        for each in deployed
        if each["kind"] == "Service"
    }
    assert GATE["port"] in services["gatekeeper"]


@pytest.mark.parametrize("folder", ["in-front", "forward-auth"])
def test_proxies_close_idle_connections_before_the_gate_does(folder: str) -> None:
    """Otherwise a request may be sent on a connection that is just closing; a POST is not sent
    again."""
    limit_s = SERVER_OPTIONS["keepalive_timeout"]
    files = ROOT / "deploy" / folder
    envoy = yaml.safe_load((files / "envoy.yaml").read_text())["static_resources"]["clusters"]
    times = [
        options["common_http_protocol_options"]["idle_timeout"]
        for cluster in envoy
        if cluster["name"] in {"gate", "gate_status"}
        for options in cluster["typed_extension_protocol_options"].values()
    ]
    assert len(times) == 2
    traefik = yaml.safe_load((files / "traefik-routes.yaml").read_text())["http"]
    for name in ("gate", "status"):
        transport = traefik["services"][name]["loadBalancer"]["serversTransport"]
        options = traefik["serversTransports"][transport]["forwardingTimeouts"]
        times.append(options["idleConnTimeout"])
    caddy = (files / "Caddyfile").read_text()
    kept = re.findall(r"\tkeepalive ([0-9]+s)", caddy)
    assert len(kept) == len(re.findall(r"\treverse_proxy .*(?:gate:8080)", caddy))
    assert all(float(time.removesuffix("s")) < limit_s for time in [*times, *kept])


@pytest.mark.parametrize("folder", ["in-front", "forward-auth"])
def test_idle_websocket_lasts_an_hour(folder: str) -> None:
    """Caddy and Traefik set no limit."""
    files = ROOT / "deploy" / folder
    nginx = (files / "nginx.conf").read_text()
    site = re.search(r"location / \{(.*?)\n        \}", nginx, re.DOTALL)
    assert site is not None
    assert {"proxy_read_timeout 1h;", "proxy_send_timeout 1h;"} <= {
        line.partition("#")[0].strip() for line in site[1].splitlines()
    }
    assert re.search(r"\n +timeout tunnel 1h\b", (files / "haproxy.cfg").read_text())
    assert re.search(r"\n +stream_idle_timeout: 3600s\b", (files / "envoy.yaml").read_text())
