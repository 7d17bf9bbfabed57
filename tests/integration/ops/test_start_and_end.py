"""A gate as a process: it reports when it serves, and stops everything that it started."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from tempfile import TemporaryDirectory

import aiohttp

from gatekeeper import __version__
from tests.gates import GateProcess, Origin, Visitor, is_alive
from tests.integration.ops.process_settings import NOBODY, settings
from tests.servers import eventually


async def test_sigterm_stops_all_children_after_open_requests() -> None:
    async with Origin.running() as origin:
        with GateProcess(settings(origin.url)) as gate:
            await gate.wait_until_serving()
            started = gate.pids()
            for program in ("gatekeeper.process.worker", "store.sock", "nats-server"):
                assert any(program in command for command in started.values()), started
            async with Visitor(gate.url) as visitor:
                await visitor.enter()
                slow = asyncio.create_task(visitor.get("/slow"))
                await eventually(lambda: len(origin.requests) == 2)
                gate.process.send_signal(signal.SIGTERM)
                await eventually(lambda: "shutting_down" in gate.errors())
                origin.go.set()
                status, text = await slow
                assert (status, '"/slow"' in text) == (200, True)
            assert await gate.wait_until_exit() == 0
            assert not [pid for pid in started if is_alive(pid)]


async def test_start_prints_addresses_and_a_kill_leaves_no_process() -> None:
    with GateProcess(settings()) as gate:
        first, second = await asyncio.to_thread(gate.ready_lines)
        pattern = rf"gatekeeper {re.escape(__version__)} at http://127\.0\.0\.1:\d+ in front of "
        assert re.fullmatch(pattern + re.escape(NOBODY), first)
        assert re.fullmatch(r"control room at http://127\.0\.0\.1:\d+", second)
        started = gate.pids()
        assert await gate.stop(signal.SIGKILL) == -signal.SIGKILL
        await eventually(lambda: not [pid for pid in started if is_alive(pid)])


_RUN_WITH_GATE = """
import os, signal, sys
from tests.gates import GateProcess
gate = GateProcess(sys.argv[1])
assert len(gate.ready_lines()) == 2
print(gate.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
_RUN_WITH_PAUSED_STORE = """
import os, signal
from tests.servers import StoreServer
store = StoreServer()
store.start()
store.pause()
print(store.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


async def _wait_until_ended_with_its_run(*run: str) -> None:
    """Wait until the process that `run` started has ended. `run` prints its id and kills itself."""
    with TemporaryDirectory(prefix="gk-") as folder:  # the run cannot remove what it wrote
        killed = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", *run),
            env={**os.environ, "TMPDIR": folder, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        pid = int(output)
        try:
            await eventually(lambda: not is_alive(pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def test_gate_ends_with_a_killed_test_run() -> None:
    """A remaining gate would connect to the servers of the next run, at the same ports."""
    await _wait_until_ended_with_its_run(_RUN_WITH_GATE, settings())


async def test_paused_server_ends_with_a_killed_test_run() -> None:
    await _wait_until_ended_with_its_run(_RUN_WITH_PAUSED_STORE)


async def test_workers_stop_at_the_same_time() -> None:
    """Each worker holds a request that never ends; shutdown_timeout is 4 s."""
    more = '[[rule]]\nname = "slow"\naction = "bypass"\npath = "/slow"'
    toml = settings(server='workers = 2\nshutdown_timeout = "4s"', more=more).replace(
        'shutdown_timeout = "10s"\n', ""
    )
    async with Origin.running() as origin:
        with GateProcess(toml.replace(NOBODY, origin.url)) as gate:
            await gate.wait_until_serving()
            visitors = [Visitor(gate.url) for _ in range(9)]
            held = [asyncio.create_task(_closed_at_s(visitor)) for visitor in visitors]
            await eventually(lambda: len(origin.requests) == len(visitors))
            began_s = asyncio.get_running_loop().time()
            assert await gate.stop() == 0
            closed_s = await asyncio.gather(*held)
            for visitor in visitors:
                await visitor.session.close()
        assert min(closed_s) - began_s >= 4
        assert max(closed_s) - min(closed_s) < 4  # in succession it would take at least that


async def _closed_at_s(visitor: Visitor) -> float:
    """Send a request to which the origin never responds. Returns the loop's time when the gate
    closed it."""
    with contextlib.suppress(aiohttp.ClientError):
        await visitor.get("/slow")
    return asyncio.get_running_loop().time()


async def test_next_gate_continues_with_state_and_queue() -> None:
    with GateProcess(settings()) as first:
        await first.wait_until_serving()
        assert (await first.command("rate", "30/min")).returncode == 0
        assert (await first.command("mode", "hold")).returncode == 0
        async with Visitor(first.url) as visitor:
            assert (await visitor.get())[0] == 503
            assert (await visitor.status())["position"] == 1
            cookies = visitor.cookies()
        started = first.pids()
        assert await first.stop(signal.SIGINT) == 0
        assert not [pid for pid in started if is_alive(pid)]
        with GateProcess(settings(), state=first.state) as second:
            await second.wait_until_serving()
            shown = (await second.command("status")).stdout
            assert "hold" in shown
            assert "30/min" in shown
            async with Visitor(second.url) as visitor:
                visitor.set_cookie("gatekeeper", cookies["gatekeeper"])
                assert (await visitor.status())["position"] == 1
