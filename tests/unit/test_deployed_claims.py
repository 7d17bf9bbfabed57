"""Every file of `deploy/` that forwards requests removes every claim that the gate removes."""

import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.client_claims import CLAIMS, spellings

DEPLOY = Path(__file__).parents[2] / "deploy"
# Fields that these programs set or remove by default, in the spelling with "-".
OF_TRAEFIK = {
    "x-real-ip",
    *(f"x-forwarded-{n}" for n in ("method", "port", "prefix", "server", "uri")),
}
OF_INGRESS = {"x-real-ip", "x-forwarded-port", "x-forwarded-scheme"}


def values_of(key: str, tree: Any) -> Iterator[Any]:
    """Each value under this key, at any depth."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from values_of(key, value)
    elif isinstance(tree, list):
        for value in tree:
            yield from values_of(key, value)


def nginx(text: str) -> Iterator[str]:
    [site] = re.findall(r"location / \{(.*?)\n        \}", text, re.DOTALL)
    yield from re.findall(r'proxy_set_header (\S+) (?:""|\$remote_addr);', site)


def haproxy(text: str) -> Iterator[str]:
    for pattern in re.findall(r"http-request del-header (\^\S+\$) -m reg", text):
        yield from (name for name in (*CLAIMS, *SPELLED) if re.fullmatch(pattern, name))


def caddy(text: str) -> Iterator[str]:
    patterns = re.findall(r"request_header -(\S+)", text)
    for pattern in patterns:
        yield from (name for name in CLAIMS if fnmatchcase(name, pattern.lower()))


def envoy(text: str) -> Iterator[str]:
    tree = yaml.safe_load(text)
    for names in values_of("request_headers_to_remove", tree):
        yield from names
    yield from values_of("remove", tree)


def traefik(text: str) -> Iterator[str]:
    middlewares = yaml.safe_load(text)["http"]["middlewares"]
    fields = middlewares["claims"]["headers"]["customRequestHeaders"]
    yield from (name for name, value in fields.items() if value == "")
    yield from OF_TRAEFIK


def ingress(text: str) -> Iterator[str]:
    for fields in values_of("data", list(yaml.safe_load_all(text))):
        yield from (name for name, value in fields.items() if value == "")
    yield from OF_INGRESS


SPELLED = tuple(each for name in CLAIMS for each in spellings(name))
FILES: dict[str, Callable[[str], Iterator[str]]] = {
    "haproxy.cfg": haproxy,
    "in-front/nginx.conf": nginx,
    "in-front/haproxy.cfg": haproxy,
    "in-front/Caddyfile": caddy,
    "in-front/envoy.yaml": envoy,
    "in-front/traefik-routes.yaml": traefik,
    "in-front/ingress-nginx.yaml": ingress,
    "forward-auth/nginx.conf": nginx,
    "forward-auth/haproxy.cfg": haproxy,
    "forward-auth/Caddyfile": caddy,
    "forward-auth/envoy.yaml": envoy,
    "forward-auth/traefik-routes.yaml": traefik,
}


@pytest.mark.parametrize("file", FILES)
def test_file_removes_every_claim_of_a_client(file: str) -> None:
    removed = {name.lower() for name in FILES[file]((DEPLOY / file).read_text())}
    assert set(CLAIMS) - removed == set()


@pytest.mark.parametrize(
    "file", [file for file, names in FILES.items() if names in {haproxy, traefik}]
)
def test_file_removes_every_spelling_of_a_claim(file: str) -> None:
    """The other proxies drop names with "_"."""
    removed = {name.lower() for name in FILES[file]((DEPLOY / file).read_text())}
    assert set(SPELLED) - removed == set()


def test_no_file_that_passes_requests_on_is_left_out() -> None:
    own = {"traefik.yaml", "gatekeeper.toml", "gatekeeper.lua", "gateway-api.yaml"}
    found = {
        path.relative_to(DEPLOY).as_posix()
        for folder in ("in-front", "forward-auth")
        for path in (DEPLOY / folder).iterdir()
        if path.name not in own
    }
    assert found == set(FILES) - {"haproxy.cfg"}
