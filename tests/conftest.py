"""Collection, distribution over processes, watchdog and event loops of all tests."""

import asyncio
import gc
from collections.abc import Callable, Generator, Mapping
from typing import Any

import pytest
import uvloop
from _pytest.runner import runtestprotocol

from tests.profiles import load_profile
from tests.scheduling import FilesOnProcesses, order
from tests.simulated_time import SimulatedLoop
from tests.watchdog import Watchdog

load_profile()


def pytest_configure(config: pytest.Config) -> None:
    """The process that distributes the tests runs none, and imports nothing of the program."""
    hands_out = getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput")
    if not hands_out:
        config.pluginmanager.import_plugin("tests.fixtures")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without garbage collection: there is no garbage yet, and traversing ten
    thousand tests repeatedly takes half of the collection time of each process."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order(items)


@pytest.hookimpl(optionalhook=True)  # without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The scheduler of `--dist loadfile`; for other values that of xdist."""
    return FilesOnProcesses(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Like pytest's own, but a successful set-up or tear-down is not reported to the process that
    distributes the tests. It does not show them, and a message costs more than many tests."""
    options = item.config.option
    is_shown = options.verbose > 0 or options.durations or options.xmlpath
    if is_shown or not hasattr(item.config, "workerinput"):
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


_watchdog = Watchdog()


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    _watchdog.begin(item, settings)
    return True


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    _watchdog.end()
    return True


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("simulated_time"):
        return {"simulated": SimulatedLoop}
    return {"uvloop": uvloop.new_event_loop}
