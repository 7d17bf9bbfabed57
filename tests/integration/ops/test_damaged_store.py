"""Damaged files of the embedded store: set aside and reported, and the store starts empty."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import redis.asyncio as redis
from structlog.testing import capture_logs

from gatekeeper.process.embedded import start_store
from gatekeeper.process.embedded_process import locked
from tests.gates import GateProcess, Visitor
from tests.integration.ops.process_settings import settings
from tests.servers import eventually

pytestmark = pytest.mark.valkey  # the files of its append-only log

Damage = Callable[[Path], object]
MEMBERS = 500


def part(store: Path, kind: str) -> Path:
    """A file of the append-only log: `base`, `incr` or `manifest`."""
    [found] = (store / "appendonlydir").glob(f"*.{kind}*")
    return found


def flip(path: Path, *places: float) -> None:
    """Flip a bit at each of these parts of the file."""
    content = bytearray(path.read_bytes())
    for place in places:
        content[int(place * len(content))] ^= 0x10
    path.write_bytes(content)


def zero(path: Path, *, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + 4096] = bytes(4096)
    path.write_bytes(content)


def flip_command(path: Path) -> None:
    """Two flipped bits in one command of the log."""
    content = path.read_bytes()
    at = content.index(b"\r\n*", len(content) // 2) + 2
    path.write_bytes(
        content[:at] + bytes([content[at] ^ 0x10, content[at + 1] ^ 1]) + content[at + 2 :]
    )


DAMAGES: dict[str, Damage] = {
    "two flipped bits in the base": lambda store: flip(part(store, "base"), 0.3, 0.6),
    "a flipped bit in the head of the base": lambda store: flip(part(store, "base"), 0.0),
    "two flipped bits in the log": lambda store: flip_command(part(store, "incr")),
    "a torn tail of the base": lambda store: os.truncate(part(store, "base"), 1000),
    "zeros in the base": lambda store: zero(part(store, "base"), at=512),
    "zeros in the log": lambda store: zero(part(store, "incr"), at=4000),
    "zeros at the end of the log": lambda store: zero(part(store, "incr"), at=1 << 30),
    "an empty manifest": lambda store: os.truncate(part(store, "manifest"), 0),
    "a manifest of zeros": lambda store: part(store, "manifest").write_bytes(bytes(4096)),
    "a missing manifest": lambda store: part(store, "manifest").unlink(),
    "a missing base": lambda store: part(store, "base").unlink(),
}


async def write_store(folder: Path) -> None:
    """A store with a base file and a log after it, each with some members."""
    server = await start_store(folder)
    async with redis.from_url(server.url) as client:
        await client.zadd("gk:{sale}:queue", {f"early-{n}": n for n in range(MEMBERS)})
        await client.bgrewriteaof()

        async def rewritten() -> bool:
            return not (await client.info("persistence"))["aof_rewrite_in_progress"]

        await eventually(rewritten)
        for number in range(MEMBERS):
            await client.zadd("gk:{sale}:queue", {f"late-{number}": MEMBERS + number})
    await server.stop()


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    asyncio.run(write_store(folder))
    return folder / "store"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "appendonlydir").iterdir()}


@pytest.mark.parametrize("name", DAMAGES)
async def test_damaged_files_are_set_aside(healthy: Path, tmp_path: Path, name: str) -> None:
    store = tmp_path / "store"
    shutil.copytree(healthy, store)
    DAMAGES[name](store)
    damaged = contents(store)
    with capture_logs() as logged:
        server = await start_store(tmp_path)
    async with redis.from_url(server.url) as client:
        assert await client.dbsize() == 0
        await client.set("kept", 1)
    await server.stop()
    [aside] = store.glob("damaged-*")
    assert contents(aside) == damaged
    [line] = [each for each in logged if each["event"] == "store_files_damaged"]
    assert (line["log_level"], line["set_aside"]) == ("error", str(aside))
    assert line["problem"]
    assert (aside / "server.log").read_text()

    with capture_logs() as logged:
        server = await start_store(tmp_path)  # the second start sets nothing aside
    async with redis.from_url(server.url) as client:
        assert await client.get("kept") == b"1"
    await server.stop()
    assert [*store.glob("damaged-*")] == [aside]
    assert not logged


async def test_torn_tail_of_the_log_costs_the_last_write(healthy: Path, tmp_path: Path) -> None:
    """Valkey itself cuts off a command that a crash wrote in part."""
    store = tmp_path / "store"
    shutil.copytree(healthy, store)
    log = part(store, "incr")
    os.truncate(log, log.stat().st_size - 7)
    server = await start_store(tmp_path)
    async with redis.from_url(server.url) as client:
        assert await client.zcard("gk:{sale}:queue") == 2 * MEMBERS - 1
    await server.stop()
    assert not [*store.glob("damaged-*")]


async def test_log_that_gets_its_manifest_meanwhile_is_kept(tmp_path: Path) -> None:
    """The store of another gate was creating the manifest, and then stopped."""
    await write_store(tmp_path)
    manifest = part(tmp_path / "store", "manifest")
    content = manifest.read_bytes()
    manifest.unlink()
    async with locked(tmp_path / "store", name="store"):
        starting = asyncio.create_task(start_store(tmp_path))
        await asyncio.sleep(0)  # it now waits for the lock
        manifest.write_bytes(content)
    await (await starting).stop()
    assert not [*(tmp_path / "store").glob("damaged-*")]


async def test_visitors_keep_their_places_over_damage(tmp_path: Path) -> None:
    """By their tickets, as after any loss of the store."""
    toml = settings(more='[admission]\nrate = "0"')
    with GateProcess(toml, state=tmp_path) as gate:
        await gate.wait_until_serving()
        async with Visitor(gate.url) as first, Visitor(gate.url) as second:
            assert (await first.join())["position"] == 1
            assert (await second.join())["position"] == 2
            await gate.stop()
            os.truncate(part(tmp_path / "store", "manifest"), 0)
            with GateProcess(toml, state=tmp_path) as again:
                await again.wait_until_serving()
                assert "store_files_damaged" in again.errors()
                first.urls = second.urls = [again.url]
                positions = []

                async def returned() -> bool:
                    for visitor in (second, first):
                        positions.append((await visitor.status()).get("position"))
                    return positions[-2:] == [2, 1]

                await eventually(returned)
