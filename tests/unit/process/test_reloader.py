"""Reload: a configuration is put in force on all workers or on none."""

import asyncio
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from gatekeeper.config.schema import Config
from gatekeeper.errors import ConfigError, StartError
from gatekeeper.pages.renderer import Pages
from gatekeeper.process.children import WorkerProcess
from gatekeeper.process.commands import Abort, Command, Commit, Prepare, WorkerPlan
from gatekeeper.process.edge import Edge
from gatekeeper.process.reload import CheckedFiles, Reloader
from tests.builders import SECRET, parse_config

OLD_PLAN = WorkerPlan(Config(), "redis://h", "off", (SECRET,), "127.0.0.1", 1)
DONE = {Prepare: {"done": "prepare"}, Commit: {"done": "commit"}, Abort: {"done": "abort"}}


@dataclass
class FakeWorker:
    """A worker process that sends the reports of the test; None: it has ended."""

    number: int = 1
    serving: bool = True
    plan: WorkerPlan = OLD_PLAN
    reports: dict[type, Any] = field(default_factory=dict)
    received: list[str] = field(default_factory=list)
    was_killed: bool = False

    async def order(self, command: Command, *, timeout_s: float = 0) -> Any:
        assert timeout_s >= 0
        self.received.append(type(command).__name__)
        return (DONE | self.reports)[type(command)]

    def kill(self) -> None:
        self.was_killed = True


@dataclass
class Reloads:
    """A reloader of these workers, and the configurations that the supervisor put in force."""

    reloader: Reloader
    followed: list[Config]


@dataclass
class FakeEdge:
    """An edge that refuses a configuration with a problem, or accepts it."""

    problem: str | None
    received: list[Config] = field(default_factory=list)

    async def configure(self, config: Config) -> str | None:
        self.received.append(config)
        return self.problem


def reloads(
    *workers: FakeWorker,
    config: Config | None,
    error: Exception | None = None,
    edge: FakeEdge | None = None,
) -> Reloads:
    def load() -> CheckedFiles:
        if error is not None:
            raise error
        assert config is not None
        return CheckedFiles(config, cast(Pages, None), (SECRET,), ())

    followed: list[Config] = []
    reloader = Reloader(
        OLD_PLAN,
        [cast(WorkerProcess, worker) for worker in workers],
        load=load,
        on_reload=lambda files: followed.append(files.config),
        edge=cast(Edge | None, edge),
    )
    return Reloads(reloader, followed)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return parse_config('[admission]\nrate = "1/min"\n', folder=tmp_path)


async def test_every_worker_prepares_before_any_commits(config: Config) -> None:
    one, other = FakeWorker(), FakeWorker()
    gate = reloads(one, other, config=config)
    assert await gate.reloader.reload() == config
    assert one.received == other.received == ["Prepare", "Commit"]
    assert one.plan.config == other.plan.config == config
    assert gate.followed == [config]


async def test_problem_of_one_worker_aborts_all(config: Config) -> None:
    one, other = FakeWorker(), FakeWorker(reports={Prepare: {"failed": ["server.static: gone"]}})
    gate = reloads(one, other, config=config)
    with pytest.raises(ConfigError) as refused:
        await gate.reloader.reload()
    assert refused.value.problems == ["server.static: gone"]
    assert one.received == other.received == ["Prepare", "Abort"]
    assert one.plan == other.plan == OLD_PLAN
    assert gate.followed == []


async def test_problem_of_the_edge_aborts_all(config: Config) -> None:
    worker, edge = FakeWorker(), FakeEdge("edge: refused")
    gate = reloads(worker, config=config, edge=edge)
    with pytest.raises(ConfigError) as refused:
        await gate.reloader.reload()
    assert refused.value.problems == ["edge: refused"]
    assert (worker.received, gate.followed) == (["Prepare", "Abort"], [])


async def test_edge_follows_only_what_every_worker_prepared(config: Config) -> None:
    edge = FakeEdge(None)
    bad = FakeWorker(reports={Prepare: {"failed": ["server.static: gone"]}})
    with pytest.raises(ConfigError):
        await reloads(bad, config=config, edge=edge).reloader.reload()
    assert edge.received == []
    gate = reloads(FakeWorker(), config=config, edge=edge)
    await gate.reloader.reload()
    assert edge.received == gate.followed == [config]


@pytest.mark.parametrize(
    ("error", "problems"),
    [
        (ConfigError(["a: b", "c: d"]), ["a: b", "c: d"]),
        (StartError("server.tls_cert: cannot use"), ["server.tls_cert: cannot use"]),
        (RuntimeError("?"), ["internal error; the log of the gate has the details"]),
    ],
)
async def test_file_that_cannot_be_read_reaches_no_worker(
    error: Exception, problems: list[str]
) -> None:
    worker = FakeWorker()
    gate = reloads(worker, config=None, error=error)
    with pytest.raises(ConfigError) as refused:
        await gate.reloader.reload()
    assert refused.value.problems == problems
    assert worker.received == []


async def test_change_that_requires_a_restart_reaches_no_worker(tmp_path: Path) -> None:
    worker = FakeWorker()
    gate = reloads(worker, config=parse_config("[server]\nworkers = 9\n", folder=tmp_path))
    with pytest.raises(ConfigError, match="requires a restart"):
        await gate.reloader.reload()
    assert worker.received == []


async def test_starting_and_ended_workers_get_the_newest_plan(config: Config) -> None:
    starting, ended = FakeWorker(serving=False), FakeWorker(reports={Prepare: None, Commit: None})
    gate = reloads(starting, ended, FakeWorker(), config=config)
    await gate.reloader.reload()
    assert starting.received == []
    assert starting.plan.config == ended.plan.config == config
    assert gate.followed == [config]


async def test_worker_that_does_not_commit_is_restarted(config: Config) -> None:
    bad, good = FakeWorker(reports={Commit: {"failed": ["?"]}}), FakeWorker()
    gate = reloads(bad, good, config=config)
    await gate.reloader.reload()
    assert (bad.was_killed, good.was_killed) == (True, False)


async def test_next_reload_is_compared_with_what_is_in_force(config: Config) -> None:
    """The next comparison is not with a refused file."""
    worker = FakeWorker()
    gate = reloads(worker, config=config)
    await gate.reloader.reload()
    await gate.reloader.reload()
    assert worker.received == ["Prepare", "Commit"] * 2
    assert worker.plan == replace(OLD_PLAN, config=config)


async def test_files_that_are_never_read_hold_up_no_reload() -> None:
    """A network file system that hangs: nothing is put in force, not even later, and the next
    reload is refused at once until the reader has ended."""
    worker, readable = FakeWorker(), threading.Event()

    def load() -> CheckedFiles:
        readable.wait()
        return CheckedFiles(Config(), cast(Pages, None), (SECRET,), ())

    followed: list[CheckedFiles] = []
    reloader = Reloader(
        OLD_PLAN,
        [cast(WorkerProcess, worker)],
        load=load,
        on_reload=followed.append,
        load_timeout_s=0.05,
    )
    with pytest.raises(ConfigError, match=r"not read and checked within 0\.05 s"):
        await reloader.reload()
    [reader] = [each for each in threading.enumerate() if each.name == "reload"]
    assert reader.daemon  # so that the gate can end
    with pytest.raises(ConfigError, match="an earlier reload is still reading its files"):
        await reloader.reload()
    readable.set()
    await asyncio.to_thread(reader.join)
    assert (worker.received, followed) == ([], [])
    reloader._load_timeout_s = 60  # a thread may start late on a busy machine
    await reloader.reload()
    assert worker.received == ["Prepare", "Commit"]
