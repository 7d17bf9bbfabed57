"""Fixtures of all tests: real servers, a room per test, and gates; all removed afterwards.

Rules: tests share one store and one NATS, each in a room that no other test uses; a test that
kills, pauses or flushes takes `private_store` or `private_events`. `GATEKEEPER_TEST_STORE_URL` and
`GATEKEEPER_TEST_EVENTS_URL` replace the shared servers by others (DragonflyDB, Redis).
"""

import importlib.metadata
import logging
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.process import worker
from tests.gates import Gate, GateStarter
from tests.patient_store import PatientStore
from tests.servers import EventsServer, StoreServer, steady_stores


@pytest.fixture(autouse=True, scope="session")
def environment_kept_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A temporary state folder, and no settings of the user's own gate."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("GATEKEEPER_") and not name.startswith("GATEKEEPER_TEST_"):
                patch.delenv(name)
        patch.setenv("GATEKEEPER_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True, scope="session")
def versions_read_once() -> Iterator[None]:
    """redis-py reads its own version from its package's metadata for each connection: 4 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "version", cache(importlib.metadata.version))
        yield


@pytest.fixture(autouse=True, scope="session")
def patient_gates() -> Iterator[None]:
    """A gate of this process waits longer for its store, unless a test has made the store
    silent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "RedisStore", PatientStore)
        yield


@pytest.fixture(scope="session")
def store_url() -> Iterator[str]:
    """The shared store; take `room_name` as well."""
    if url := os.environ.get("GATEKEEPER_TEST_STORE_URL"):
        steady_stores.add(url)
        yield url
        return
    with StoreServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def events_url() -> Iterator[str]:
    """The shared NATS server; take `room_name` as well."""
    if url := os.environ.get("GATEKEEPER_TEST_EVENTS_URL"):
        yield url
        return
    with EventsServer() as server:
        yield server.url


@pytest.fixture
def private_store() -> Iterator[StoreServer]:
    """A running store that this test may kill, pause, flush and restart."""
    with StoreServer() as server:
        yield server


@pytest.fixture
def private_events() -> Iterator[EventsServer]:
    """A running NATS that this test may kill, pause and restart."""
    with EventsServer() as server:
        yield server


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A temporary folder with a path short enough for a socket; pytest's own can be too long."""
    with tempfile.TemporaryDirectory(prefix="gk-") as folder:
        yield Path(folder)


class LogRecords(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def log_records() -> Iterator[list[logging.LogRecord]]:
    """What libraries log. Replaces pytest's `caplog`, since that plugin slows down every test."""
    handler = LogRecords()
    logging.getLogger().addHandler(handler)
    yield handler.records
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def room_name() -> RoomName:
    """A room that no other test uses."""
    return RoomName(f"test-{secrets.token_hex(6)}")


@pytest.fixture
async def start_gate(
    request: pytest.FixtureRequest, room_name: RoomName
) -> AsyncIterator[GateStarter]:
    """Starts gates in front of one origin, with a room of the test's own.

    They use `private_store` and `private_events` if the test has these fixtures, else the shared
    store and no events.
    """
    taken = request.fixturenames
    store_url = (
        request.getfixturevalue("private_store").url
        if "private_store" in taken
        else request.getfixturevalue("store_url")
    )
    events_url = (
        request.getfixturevalue("private_events").url if "private_events" in taken else "off"
    )
    async with AsyncExitStack() as stack:
        yield GateStarter(stack, room_name=room_name, store_url=store_url, events_url=events_url)


@pytest.fixture
async def gate(start_gate: GateStarter) -> Gate:
    """A running gate with one room and default settings."""
    return await start_gate()


@pytest.fixture
async def closed_gate(start_gate: GateStarter) -> Gate:
    """A running gate with one room that admits only by grants."""
    return await start_gate(rate="0")
