"""The supervisor's commands to a running worker, and the worker's reports.

Rules. A command is a frame on the worker's standard input: eight bytes of length, then a pickle.
The worker reports each on standard output with one line of JSON. A new configuration takes two
steps, so that it is in force on all workers or on none: every worker prepares it, then all commit.

    command        effect                                                   report
    Prepare(plan)  reads what the plan names, starts its new rooms, and     {"done": "prepare"} or
                   accepts tokens of its secrets; decides nothing yet       {"failed": [problem, …]}
    Commit()       the prepared plan decides from the next request on       {"done": "commit"}
    Abort()        drops what was prepared                                  {"done": "abort"}
    EndStreams()   ends the event streams of visitors, who poll from now on {"done": "end streams"}
"""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import dataclass

from gatekeeper.config.schema import Config

_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """The configuration and addresses that a worker serves."""

    config: Config
    store_url: str
    events_url: str
    secrets: tuple[bytes, ...]
    host: str
    port: int
    listens: bool = True  # on host and port
    edge_socket: str = ""  # the path of this worker's socket for the edge


@dataclass(frozen=True, slots=True)
class Prepare:
    plan: WorkerPlan


@dataclass(frozen=True, slots=True)
class Commit:
    pass


@dataclass(frozen=True, slots=True)
class Abort:
    pass


@dataclass(frozen=True, slots=True)
class EndStreams:
    pass


Command = Prepare | Commit | Abort | EndStreams


def encode_frame(content: WorkerPlan | Command) -> bytes:
    """One frame; a worker's first one is its plan."""
    data = pickle.dumps(content)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


async def read_command(reader: asyncio.StreamReader) -> Command | None:
    """The next command; None at the end of the pipe: the supervisor has exited."""
    try:
        size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        command: Command = pickle.loads(await reader.readexactly(size))  # noqa: S301  from the supervisor
    except asyncio.IncompleteReadError:
        return None
    return command
