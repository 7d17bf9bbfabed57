"""Requests that no client library sends, and a proxy with a failing script.

Rules: each test starts its own proxies; they share the gate and the origin.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress

import pytest

from tests.integration.forward_auth.auth_stage import RunningProxy, Stage
from tests.integration.forward_auth.browserlike import ADDRESS, ProxyVisitor
from tests.integration.forward_auth.proxies import HAPROXY, Proxy, each_failure_mode

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(90)]


async def raw_request(served: RunningProxy, head: bytes) -> bytes:
    """The first line of the response to these bytes, or b""."""
    port = int(served.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(ADDRESS, 0))
    try:
        with suppress(OSError):
            writer.write(head)
            async with asyncio.timeout(30):
                return (await reader.readline()).rstrip()
    finally:
        writer.close()
    return b""


def head_of(served: RunningProxy, line: str, fields: Iterable[str]) -> bytes:
    """`{name}` in a line stands for the name of the proxy."""
    name = served.proxy.name
    has_host = any(each.startswith("Host:") for each in fields)
    hosts = [] if has_host else ["Host: line.{name}.localhost"]
    lines = [line, *hosts, "Connection: close", *fields, "", ""]
    text = "\r\n".join(each.replace("{name}", name) for each in lines)
    return text.encode(errors="surrogateescape")


ODD_HEADS: Mapping[str, tuple[str, list[str]]] = {
    "90 fields": ("GET /cart HTTP/1.1", [f"X-Field-{number}: a" for number in range(90)]),
    "96 fields": ("GET /cart HTTP/1.1", [f"X-Field-{number}: a" for number in range(96)]),
    "99 fields": ("GET /cart HTTP/1.1", [f"X-Field-{number}: a" for number in range(99)]),
    "96 times one field": ("GET /cart HTTP/1.1", ["X-Field: a"] * 96),
    "200 fields": ("GET /cart HTTP/1.1", [f"X-Field-{number}: a" for number in range(200)]),
    "14 KB": ("GET /cart HTTP/1.1", [f"X-Field-{number}: {'a' * 7000}" for number in range(2)]),
    "58 KB": ("GET /cart HTTP/1.1", [f"X-Field-{number}: {'a' * 7250}" for number in range(8)]),
    "900 KB": ("GET /cart HTTP/1.1", [f"X-Field-{number}: {'a' * 7500}" for number in range(120)]),
    "16 KB address": (f"GET /{'a' * 16_000} HTTP/1.1", []),
    "8 KB address": (f"GET /{'a' * 8150} HTTP/1.1", []),
    "method": ("G!#$ /cart HTTP/1.1", []),
    "long method": (f"{'A' * 300} /cart HTTP/1.1", []),
    "GET *": ("GET * HTTP/1.1", []),
    "PUT *": ("PUT * HTTP/1.1", []),
    "CONNECT": ("CONNECT shop.example:443 HTTP/1.1", []),
    "proxy's name": ("GET /cart HTTP/1.1", ["X-Gatekeeper-Proxy: x", "X-Gatekeeper-Proxy: y"]),
    "empty address": ("GET /cart HTTP/1.1", ["X-Forwarded-For: ", "X-Forwarded-Host: "]),
    "gate's time": ("GET /cart HTTP/1.1", ["X-Envoy-Upstream-Rq-Timeout-Ms: 1"]),
    "list of hosts": ("GET /cart HTTP/1.1", ["X-Forwarded-Host: open.localhost, a"]),
    "two hosts": (
        "GET /cart HTTP/1.1",
        ["Host: line.{name}.localhost", "Host: open.{name}.localhost"],
    ),
    "hosts in one": (
        "GET /cart HTTP/1.1",
        ["Host: line.{name}.localhost,open.{name}.localhost"],
    ),
    "no letters": ("GET /cart HTTP/1.1", ["Cookie: \udcff", "Accept-Language: \udcff"]),
}


@each_failure_mode
async def test_malformed_check_is_refused_and_the_proxy_survives(
    stage: Stage, proxy: Proxy, *, fail_open: bool
) -> None:
    """The gate is running: a request of a client must not look like an unreachable gate."""
    async with (
        stage.running(proxy, fail_open=fail_open) as served,
        ProxyVisitor(served, "line") as visitor,
    ):
        before = len(stage.origin.requests)
        for name, (line, fields) in ODD_HEADS.items():
            status = await raw_request(served, head_of(served, line, fields))
            assert not status.startswith(b"HTTP/1.1 2"), name
            after = await visitor.get("/cart", {"Sec-Fetch-Dest": "image"})
            assert after.status == proxy.waiting_status, name
        assert len(stage.origin.requests) == before


async def test_failure_of_the_proxys_own_script_closes(stage: Stage) -> None:
    before = len(stage.origin.requests)
    for fail_open in (False, True):
        async with (
            stage.running(
                HAPROXY, fail_open=fail_open, also=(r"local count = 0", "error('no')")
            ) as served,
            ProxyVisitor(served, "line") as visitor,
        ):
            visitor.hold_pass()
            assert (await visitor.get("/cart")).status == 503
    assert len(stage.origin.requests) == before
