"""Each proxy while the site or the gate is unreachable.

Rules: each test starts its own proxies; they share the gate and the origin.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from tests.gates.origin import Origin
from tests.integration.forward_auth.auth_stage import Stage, hanging_gate
from tests.integration.forward_auth.browserlike import PRIVATE, ProxyVisitor
from tests.integration.forward_auth.proxies import PROXIES, TRAEFIK, Proxy, each_failure_mode

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(90)]


@pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.name)
async def test_site_that_is_down_costs_no_pass(stage: Stage, proxy: Proxy) -> None:
    elsewhere = replace(stage, origin=Origin("http://127.0.0.1:1"))
    async with elsewhere.running(proxy) as served, ProxyVisitor(served, "open") as visitor:
        response = await visitor.get("/cart")
        assert response.status in {502, 503}
        assert visitor.pass_
        if proxy.replaces_cache_control:
            assert response.headers.get("Cache-Control", PRIVATE) == PRIVATE


@pytest.mark.parametrize("fail_open", [False, True], ids=["closed", "open"])
async def test_gate_that_hangs_closes_or_opens(stage: Stage, *, fail_open: bool) -> None:
    """All proxies at the same time: each waits for the timeout of its check, which is 30 s for
    Traefik."""
    before = len(stage.origin.requests)
    proxies = [each for each in PROXIES if each is not TRAEFIK]
    async with hanging_gate() as port, AsyncExitStack() as stack:
        running = [stage.running(each, gate_port=port, fail_open=fail_open) for each in proxies]
        served = [await stack.enter_async_context(each) for each in running]
        visitors = [await stack.enter_async_context(ProxyVisitor(each, "line")) for each in served]
        responses = await asyncio.gather(*(visitor.get("/cart") for visitor in visitors))
    statuses = [response.status for response in responses]
    if fail_open:
        assert statuses == [200] * len(proxies)
    else:
        assert set(statuses) <= {503, 504}
        assert len(stage.origin.requests) == before


@each_failure_mode
async def test_gate_that_is_down_closes_or_opens(
    stage: Stage, proxy: Proxy, *, fail_open: bool
) -> None:
    before = len(stage.origin.requests)
    async with (
        stage.running(proxy, gate_port=1, fail_open=fail_open) as served,
        ProxyVisitor(served, "line") as visitor,
    ):
        response = await visitor.get("/cart", {"X-Gatekeeper-Visitor": "forged"})
        if fail_open:
            assert (response.status, response.json["path"]) == (200, "/cart")
            assert response.json["visitor"] is None
        else:
            assert response.status == proxy.unreachable_status
            assert len(stage.origin.requests) == before
