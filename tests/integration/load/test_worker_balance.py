"""Two workers on one port share the load, and passes survive the end of one."""

import json
import os
import signal
from contextlib import AsyncExitStack

from aiohttp import ClientConnectionError

from tests.builders import SECRET
from tests.gates import GateProcess, Origin, Visitor
from tests.integration.load.processes import clients_of, workers_of
from tests.ports import free_port
from tests.servers import eventually

_CLIENTS = 32


def toml(origin: Origin, *, port: int) -> str:
    return f"""
[server]
listen = "127.0.0.1:{port}"
workers = 2
[origin]
url = "{origin.url}"
[admission]
rate = "60000/min"
burst = {10 * _CLIENTS}
[events]
url = "off"
[tokens]
secrets = ["{SECRET.decode()}"]
[admin]
listen = "127.0.0.1:{free_port()}"
"""


async def seen_as(visitor: Visitor) -> str:
    """The visitor id that the origin received. After a broken connection it retries, like a
    browser."""
    for _ in range(3):
        try:
            status, text = await visitor.get()
        except ClientConnectionError:
            continue
        assert status == 200, text
        return str(json.loads(text)["visitor"])
    raise AssertionError("three connections broke in a row")


async def test_workers_share_load_and_survive_each_other() -> None:
    port = free_port()
    async with Origin.running() as origin, AsyncExitStack() as stack:
        gate = stack.enter_context(GateProcess(toml(origin, port=port)))
        assert len(gate.ready_lines()) == 2, gate.errors()
        workers = workers_of(gate.process.pid)
        assert len(workers) == 2
        crowd = [
            await stack.enter_async_context(Visitor(f"http://127.0.0.1:{port}"))
            for _ in range(_CLIENTS)
        ]
        ids = [await seen_as(visitor) for visitor in crowd]
        assert len(set(ids)) == _CLIENTS
        shares = [clients_of(pid, port=port) for pid in workers]
        assert sum(shares) == _CLIENTS
        assert min(shares) > 0

        os.kill(workers[0], signal.SIGKILL)
        assert [await seen_as(visitor) for visitor in crowd] == ids
        await eventually(
            lambda: len(workers_of(gate.process.pid)) == 2, 60, what="two workers again"
        )
        assert workers[1] in workers_of(gate.process.pid)
        assert [await seen_as(visitor) for visitor in crowd] == ids
