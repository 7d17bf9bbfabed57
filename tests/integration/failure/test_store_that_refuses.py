"""A store that replies with errors: what operators read, and how the gate continues."""

import pytest

from tests.gates import GateProcess, Origin, Visitor
from tests.integration.ops.process_settings import settings, shared_servers
from tests.ports import free_port
from tests.servers import eventually
from tests.store_group import PortServer


async def problems_of(gate: GateProcess) -> list[str]:
    response = await Visitor(gate.admin_url).request("GET", "/readyz")
    problems: list[str] = response.json.get("problems", [])
    assert response.status == (503 if problems else 200)
    return problems


async def is_ready(gate: GateProcess) -> bool:
    return not await problems_of(gate)


@pytest.mark.valkey
async def test_read_only_store_is_a_problem_with_its_words_in_the_log() -> None:
    """A server that became a replica replies to `PING`."""
    with PortServer("--replicaof", "127.0.0.1", str(free_port())) as server:
        async with Origin.running() as origin:
            with GateProcess(settings(origin.url, more=shared_servers(server.url))) as gate:
                await gate.wait_until_serving()

                async def is_reported() -> bool:  # on a busy machine first "did not respond"
                    return await problems_of(gate) == ["the store does not serve worker 1"]

                await eventually(is_reported)
                lost = [line for line in gate.logs() if line["event"] == "store_unreachable"]
                expected = "READONLY You can't write against a read only replica"
                assert any(expected in line["error"] for line in lost)
                with server.client() as client:
                    client.replicaof("NO", "ONE")
                await eventually(lambda: is_ready(gate))
