"""Actions and figures of all workers of one gate.

Rules: all tests share one gate, each in rooms of its own, and leave it serving.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from tests.gates import GateProcess, Origin, Visitor
from tests.integration.ops.process_settings import settings
from tests.servers import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOMS = """
[[room]]
name = "default"
rate = "0"

[[room]]
name = "counted"
path = "/counted/"
rate = "0"

[[room]]
name = "side"
path = "/side/"
rate = "60/min"

[[rule]]
name = "own-hooks"
action = "queue"
path = "/hooks/own/**"

[[rule]]
name = "hooks"
action = "bypass"
path = "/hooks/**"
"""
FAMILIES = {
    "gatekeeper_requests": "counter",
    "gatekeeper_arrived": "counter",
    "gatekeeper_released": "counter",
    "gatekeeper_admitted": "counter",
    "gatekeeper_abandoned": "counter",
    "gatekeeper_queue_length": "gauge",
    "gatekeeper_active": "gauge",
    "gatekeeper_rate_per_minute": "gauge",
    "gatekeeper_mode": "gauge",
    "gatekeeper_watermark_timestamp_seconds": "gauge",
    "gatekeeper_store_seconds": "histogram",
    "gatekeeper_origin_seconds": "histogram",
    "gatekeeper_origin_server_errors": "counter",
    "gatekeeper_wait_seconds": "histogram",
    "gatekeeper_watermark_lag_seconds": "histogram",
    "gatekeeper_event_delay_seconds": "histogram",
    "gatekeeper_store_up": "gauge",
    "gatekeeper_events_up": "gauge",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_per_core() -> AsyncIterator[GateProcess]:
    """A gate with `workers = "auto"`."""
    async with Origin.running() as origin:
        toml = settings(origin.url, server='workers = "auto"', more=ROOMS)
        with GateProcess(toml) as gate:
            yield await gate.wait_until_serving()


async def test_workers_share_one_port_and_one_line(one_per_core: GateProcess) -> None:
    visitors = [Visitor(one_per_core.url) for _ in range(12)]
    try:
        for visitor in visitors:
            assert (await visitor.get())[0] == 503
        # Each status request uses a new connection, so any worker serves it.
        positions = []
        for visitor in visitors:
            response = await visitor.request(
                "GET", "/.gatekeeper/status?room=default", headers={"Connection": "close"}
            )
            positions.append(response.json["position"])
        assert positions == list(range(1, 13))
    finally:
        for visitor in visitors:
            await visitor.session.close()


async def test_workers_auto_is_one_per_core(one_per_core: GateProcess) -> None:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    assert len(one_per_core.workers()) == cores


async def test_sighup_without_tls_keeps_serving(one_per_core: GateProcess) -> None:
    before = one_per_core.workers()
    one_per_core.process.send_signal(signal.SIGHUP)
    await eventually(lambda: '"reloaded"' in one_per_core.errors())
    async with Visitor(one_per_core.url) as visitor:
        assert (await visitor.request("GET", "/.gatekeeper/health")).status == 200
    assert one_per_core.workers() == before


async def test_metrics_of_all_workers_are_complete(one_per_core: GateProcess) -> None:
    async with Visitor(one_per_core.admin_url) as operator:
        response = await operator.request("GET", "/metrics")
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in text_string_to_metric_families(response.text)}
        assert {name: families[name].type for name in FAMILIES} == FAMILIES
        assert all(family.documentation for family in families.values())

        for _ in range(3):  # each may reach another worker
            async with Visitor(one_per_core.url) as inside, Visitor(one_per_core.url) as outside:
                await inside.enter("/side/")
                assert (await inside.get("/side/"))[0] == 200
                assert (await outside.get("/counted/"))[0] == 503
                assert (await outside.status(room="counted"))["state"] == "waiting"

        async def counted() -> bool:
            samples = {
                (sample.name, *sorted(sample.labels.values())): sample.value
                for family in text_string_to_metric_families(
                    (await operator.request("GET", "/metrics")).text
                )
                for sample in family.samples
            }
            return (
                samples["gatekeeper_requests_total", "counted", "waiting"] == 3
                and samples.get(("gatekeeper_requests_total", "forwarded", "side")) == 6
                and samples["gatekeeper_origin_seconds_count", "side"] == 6
                and samples["gatekeeper_wait_seconds_bucket", "60.0", "side"] == 3
                and samples["gatekeeper_wait_seconds_count", "counted"] == 0
                and samples["gatekeeper_queue_length", "counted"] == 3
                and samples["gatekeeper_arrived_total", "counted"] == 3
                and samples["gatekeeper_active", "side"] == 3
                and samples["gatekeeper_store_up", "side"] == 1
                and samples["gatekeeper_events_up",] == 1
            )

        async with asyncio.timeout(40):
            while True:
                if await counted():
                    break
                await asyncio.sleep(0.1)


async def test_rules_lists_what_each_rule_has_matched(one_per_core: GateProcess) -> None:
    async with Visitor(one_per_core.url) as visitor, Visitor(one_per_core.admin_url) as operator:
        for path in ("/hooks/a", "/hooks/b", "/hooks/own/a", "/x"):
            await visitor.request("GET", path)

        async def are_counted() -> bool:
            """A worker writes its counters every second, see `process.metrics_files`."""
            listed = (await operator.request("GET", "/admin/rules")).json["rules"]
            return [rule["matches"] for rule in listed[:2]] == [1, 2]

        await eventually(are_counted)
    listed = await one_per_core.command("rules", "--json")
    assert listed.returncode == 0, listed.stderr
    rules = {rule["name"]: rule for rule in json.loads(listed.stdout)["rules"]}
    assert rules["hooks"]["matches"] == 2
    assert list(rules) == [
        "own-hooks",
        "hooks",
        "cors-preflight",
        "well-known",
        "robots",
        "favicon",
    ]
    text = await one_per_core.command("rules")
    assert text.stdout.splitlines()[:2] == [
        "own-hooks: queue path /hooks/own/**, 1 matches",
        "hooks: bypass path /hooks/**, 2 matches",
    ]
    assert text.stdout.splitlines()[-1].endswith("(default rule)")
