"""`gatekeeper demo`: the sample shop, a gate in front of it, and a crowd that is already in line.

With `--event` the crowd gathers for an event instead.

Rules. Everything runs in one process group and a temporary directory, on loopback only, and ends
with Ctrl-C. The gate is the real one, with its embedded servers and two workers. Its rate is low,
so that a person who opens the address sees the queue move.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gatekeeper.config.load import load_config
from gatekeeper.demo.opening_show import (
    PREQUEUE_S,
    announce,
    event_plan,
    event_text,
    opening_text,
)
from gatekeeper.demo.shop import start_origin
from gatekeeper.errors import GatekeeperError
from gatekeeper.logs import set_up_logging
from gatekeeper.process.supervisor import RunningGate, serve
from gatekeeper.simulate.crowd import run_crowd
from gatekeeper.simulate.evidence import Progress
from gatekeeper.simulate.plan import CrowdPlan, Shares
from gatekeeper.simulate.summary import LiveReport

_HOST = "127.0.0.1"
_PORT, _ADMIN_PORT = 8080, 8081
_RATE, _BURST = "30/min", 3
_ARRIVALS_PER_S = 0.48  # a little below the rate, so that the queue shrinks slowly
_DAY_S = 86400.0
_MAX_LATER_ARRIVALS = 100_000
_WARNING = 30
_ENDING = f"  The rate is {_RATE}. Ctrl-C stops everything.\n"


@dataclass(slots=True)
class _LatestProgress:
    """The latest progress, for the closing line."""

    progress: Progress | None = None


async def demo(
    *, port: int | None, visitors: int, event: bool = False, prequeue_s: float = PREQUEUE_S
) -> int:
    """Run until SIGINT or SIGTERM; returns the exit status. Raises StartError.

    `event`: the visitors gather in a prequeue of `prequeue_s`.
    """
    set_up_logging(process="demo", level=_WARNING)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gk-"))
        stack.enter_context(_state_directory(folder))
        origin = await start_origin()
        stack.push_async_callback(origin.stop)
        ended = asyncio.Event()
        serving, gate = await _start_gate(origin.url, port=port, ended=ended)
        try:
            plan = _plan(serving, visitors=visitors)
            if event:
                start = await announce(serving, prequeue_s=prequeue_s)
                plan = event_plan(serving, visitors=visitors)
            _print(_welcome_text(serving) + (event_text(serving, start) if event else _ENDING))
            latest = await _run_crowd_until(ended, gate, plan)
        finally:
            ended.set()
            await gate
    if latest.progress is not None:
        _print(_closing_text(latest.progress))
    return 0


async def _start_gate(
    origin_url: str, *, port: int | None, ended: asyncio.Event
) -> tuple[RunningGate, asyncio.Task[None]]:
    """Start the gate; returns it with the task that runs it until `ended`."""
    public = port if port is not None else _port_or_any(_PORT)
    overrides = {
        "server.listen": f"{_HOST}:{public}",
        "server.workers": "2",
        "server.shutdown_timeout": "2s",
        "admin.listen": f"{_HOST}:{_port_or_any(_ADMIN_PORT)}",
        "origin.url": origin_url,
        "admission.rate": _RATE,
        "admission.burst": str(_BURST),
    }
    config = load_config(None, environ={}, overrides=overrides)
    ready: asyncio.Future[RunningGate] = asyncio.get_running_loop().create_future()
    gate = asyncio.create_task(
        serve(config, on_ready=ready.set_result, stop=ended), name="demo gate"
    )
    try:
        # No timeout here: every step of the start has its own.
        first: set[asyncio.Future[Any]] = {ready, gate}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        ended.set()
        await gate
        raise
    if not ready.done():
        await gate  # raises the error of the start
        raise GatekeeperError("the gate stopped before it was ready")
    return ready.result(), gate


def _plan(serving: RunningGate, *, visitors: int) -> CrowdPlan:
    return CrowdPlan(
        urls=(serving.url,),
        admin_url=serving.admin_url,
        visitors=visitors + _MAX_LATER_ARRIVALS,
        at_once=visitors,
        arrivals_per_s=_ARRIVALS_PER_S,
        shares=Shares(leavers=0.04, returners=0.04, ghosts=0.04, refreshers=0.04, jumpers=0.04),
        paths=("/", "/api/stock"),
        duration_s=_DAY_S,
        connections=16,
        seed=7,
    )


async def _run_crowd_until(
    ended: asyncio.Event, gate: asyncio.Task[None], plan: CrowdPlan
) -> _LatestProgress:
    """Run the crowd until `ended` is set by a signal, or the gate stops."""
    latest = _LatestProgress()
    with LiveReport(sys.stdout, render=_figures) as report:

        def show(progress: Progress) -> None:
            latest.progress = progress
            report(progress)

        crowd = asyncio.create_task(run_crowd(plan, on_progress=show), name="demo crowd")
        end = asyncio.create_task(ended.wait(), name="demo end")
        try:
            tasks: set[asyncio.Task[Any]] = {gate, end, crowd}
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if done == {crowd}:
                if plan.event:
                    _print(opening_text(crowd.result()))
                crowd.result()  # the plan is over; the gate keeps running
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            crowd.cancel()
            end.cancel()
            await asyncio.wait({crowd, end})
    return latest


def _welcome_text(serving: RunningGate) -> str:
    return (
        f"\n  Shop               {serving.url}   open it to join the queue\n"
        f"  Control room       {serving.admin_url}\n"
        f"  Admit 10 visitors  {_allow_command(serving, 10)}\n"
    )


def _allow_command(serving: RunningGate, count: int) -> str:
    """The command for another terminal that reaches this gate."""
    listen = serving.admin_url.partition("://")[2]
    command = f"{_program()} allow {count}"
    return (
        command if _configured_admin() == listen else f"GATEKEEPER_ADMIN__LISTEN={listen} {command}"
    )


def _program() -> str:
    """`gatekeeper`, or the path by which it was started if it is not on PATH."""
    is_on_path = shutil.which("gatekeeper") is not None
    return "gatekeeper" if is_on_path or Path(sys.argv[0]).name != "gatekeeper" else sys.argv[0]


def _configured_admin() -> str | None:
    """The admin listener that the command line uses by default."""
    file = Path("gatekeeper.toml")
    try:
        return load_config(file if file.is_file() else None).admin.listen
    except GatekeeperError:
        return None


def _figures(progress: Progress) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="bold", min_width=7)
    table.add_column()
    for value, text in _rows(progress).items():
        table.add_row(str(text), Text(value, style="dim"))
    return Group(table, Text())


def _rows(progress: Progress) -> Mapping[str, int]:
    room = progress.room
    ahead = (
        {} if progress.starts_in_s is None else {"seconds until the start": progress.starts_in_s}
    )
    return {
        **{name: round(value) for name, value in ahead.items()},
        "waiting": room.queue_length if room else progress.waiting,
        "active": room.active if room else 0,
        "released": room.released_total if room else progress.admitted,
        "simulated visitors": progress.arrived,
        "inversions": progress.inversions,
    }


def _closing_text(progress: Progress) -> str:
    return (
        f"The demo has ended: {progress.arrived} simulated visitors arrived, "
        f"{progress.admitted} were admitted, with {progress.inversions} inversions."
    )


def _port_or_any(port: int) -> int:
    """`port` if it is free, else 0, which selects any free port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
            probe.listen()
        except OSError:
            return 0
    return port


@contextmanager
def _state_directory(folder: str) -> Iterator[None]:
    """Keep the demo's key and data out of the state directory of the user's own gate."""
    name = "GATEKEEPER_STATE_DIR"
    before = os.environ.get(name)
    os.environ[name] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201  the output of the command
