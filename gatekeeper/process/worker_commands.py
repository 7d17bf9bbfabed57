"""The worker's side of the commands: runs each and reports its outcome.

Rules. Reports are lines of JSON on standard output. At the end of standard input the supervisor has
exited, and the worker stops.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Protocol, assert_never

import structlog

from gatekeeper.errors import ConfigError, GatekeeperError
from gatekeeper.process.commands import (
    Abort,
    Command,
    Commit,
    EndStreams,
    Prepare,
    WorkerPlan,
    read_command,
)
from gatekeeper.web.stream import Streams

log = structlog.get_logger()


class CommandTarget(Protocol):
    """The target of commands: the worker."""

    @property
    def streams(self) -> Streams: ...

    async def prepare(self, plan: WorkerPlan) -> None: ...

    def commit(self) -> None: ...

    async def abort(self) -> None: ...


async def obey(worker: CommandTarget, command: Command) -> dict[str, object]:
    """Run one command of the supervisor and return the report."""
    match command:
        case Prepare(plan=plan):
            try:
                await worker.prepare(plan)
            except ConfigError as error:
                return {"failed": error.problems}
            except GatekeeperError as error:
                return {"failed": [error.public]}
            except Exception:
                log.exception("prepare_failed")
                return {"failed": ["internal error; the log of the gate has the details"]}
            return {"done": "prepare"}
        case Commit():
            worker.commit()
            return {"done": "commit"}
        case Abort():
            await worker.abort()
            return {"done": "abort"}
        case EndStreams():
            worker.streams.close()
            return {"done": "end streams"}
        case _:
            assert_never(command)


async def obey_supervisor(worker: CommandTarget, stop: asyncio.Event) -> None:
    """Run the supervisor's commands; set `stop` when standard input closes: the supervisor has
    exited."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while (command := await read_command(reader)) is not None:
            report(await obey(worker, command))
    except Exception:
        log.exception("command_failed")  # the supervisor replaces this worker
    finally:
        stop.set()


def report(what: dict[str, object]) -> None:
    """Write one report to the supervisor."""
    print(json.dumps(what), flush=True)  # noqa: T201  for the supervisor
