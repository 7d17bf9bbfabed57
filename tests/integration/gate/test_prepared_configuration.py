"""Two steps of a worker to another configuration: prepare, then commit or abort."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.errors import ConfigError
from gatekeeper.process.commands import WorkerPlan
from tests.builders import SECRET, parse_config, room_toml, sign_token
from tests.gates import Gate, GateStarter
from tests.servers import eventually

NEW_SECRET = b"another secret of the tests, longer than 32"
HTML = {"Accept": "text/html"}


def plan_of(gate: Gate, toml: str, *, folder: Path, secrets: tuple[bytes, ...]) -> WorkerPlan:
    """The worker's plan with its [origin], followed by another configuration."""
    origin = f'[origin]\nurl = "{gate.origin.url}"\n'
    config = parse_config(origin + toml, folder=folder)
    return replace(gate.worker._plan, config=config, secrets=secrets)


async def is_admitted(gate: Gate, *, secret: bytes) -> bool:
    """Whether the gate forwards a pass that `secret` has signed."""
    visitor = gate.visitor()
    visitor.set_cookie(gate.cookie_name, sign_token(gate.issue_pass(ago_s=1), secret=secret))
    return (await visitor.request("GET", "/")).status == 200


async def test_new_secret_is_accepted_from_the_preparation_on(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    """Another worker may commit first, and sign with it at once."""
    gate = await start_gate(rate="0")
    toml = room_toml(gate.room_name, rate="0")
    assert not await is_admitted(gate, secret=NEW_SECRET)
    plan = plan_of(gate, toml, folder=tmp_path, secrets=(NEW_SECRET, SECRET))
    await gate.worker.prepare(plan)
    assert await is_admitted(gate, secret=NEW_SECRET)
    await gate.worker.abort()
    assert not await is_admitted(gate, secret=NEW_SECRET)
    await gate.worker.prepare(plan)
    gate.worker.commit()
    assert await is_admitted(gate, secret=NEW_SECRET)
    assert await is_admitted(gate, secret=SECRET)


async def test_removed_secret_is_refused_from_the_commit_on(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    gate = await start_gate(rate="0")
    toml = room_toml(gate.room_name, rate="0")
    assert await is_admitted(gate, secret=SECRET)
    await gate.worker.prepare(plan_of(gate, toml, folder=tmp_path, secrets=(NEW_SECRET,)))
    assert await is_admitted(gate, secret=SECRET)
    gate.worker.commit()
    assert not await is_admitted(gate, secret=SECRET)


async def test_secret_of_a_planned_draw_cannot_be_removed(
    start_gate: GateStarter, room_name: RoomName, tmp_path: Path
) -> None:
    sale = f"""
        [[event]]
        name = "sale"
        room = "{room_name}"
        prequeue = 2030-01-01T09:00:00Z
        start = 2030-01-01T10:00:00Z
    """
    gate = await start_gate(sale, rate="0")
    await gate.queue.read_state()
    toml = room_toml(room_name, rate="0")
    for entries in (sale, sale.replace("T10:00", "T11:00")):
        plan = plan_of(gate, toml + entries, folder=tmp_path, secrets=(NEW_SECRET,))
        with pytest.raises(ConfigError, match="the draw of event sale"):
            await gate.worker.prepare(plan)
    for entries, secrets in ((sale, (NEW_SECRET, SECRET)), ("", (NEW_SECRET,))):
        await gate.worker.prepare(plan_of(gate, toml + entries, folder=tmp_path, secrets=secrets))
        await gate.worker.abort()


async def test_known_heads_are_decided_again_after_a_commit(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    """A visitor's connection stays on the fast path; its cached route is dropped."""
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    visitor.set_cookie(gate.cookie_name, sign_token(gate.issue_pass(ago_s=1)))
    for _ in range(3):
        assert (await visitor.request("GET", "/a")).status == 200
    fast_path = gate.worker._fast_path
    assert fast_path is not None
    [connection] = fast_path.connections
    blocked = '[[rule]]\nname = "closed"\naction = "block"\npath = "/a"\n'
    toml = room_toml(gate.room_name, rate="0") + blocked
    await gate.worker.prepare(plan_of(gate, toml, folder=tmp_path, secrets=(SECRET,)))
    assert (await visitor.request("GET", "/a")).status == 200
    gate.worker.commit()
    assert fast_path.connections == {connection}
    assert (await visitor.request("GET", "/b")).status == 200
    assert fast_path.connections == {connection}, "the connection was kept"
    assert (await visitor.request("GET", "/a")).status == 403


async def test_preparation_that_fails_changes_nothing(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    gate = await start_gate(rate="0")
    (tmp_path / "pages").mkdir()
    toml = f'[server]\ntemplates = "{tmp_path / "pages"}"\n' + room_toml(gate.room_name, rate="0")
    plan = plan_of(gate, toml, folder=tmp_path, secrets=(NEW_SECRET,))
    (tmp_path / "pages" / "waiting.html").write_text("{% if %}")
    site = gate.worker.site
    with pytest.raises(ConfigError):
        await gate.worker.prepare(plan)
    assert gate.worker.site is site
    assert not await is_admitted(gate, secret=NEW_SECRET)
    assert await is_admitted(gate, secret=SECRET)


async def test_removed_room_ends_and_an_aborted_one_never_serves(
    start_gate: GateStarter, tmp_path: Path
) -> None:
    gate = await start_gate(rate="0")
    side = f"{gate.room_name}-side"
    both = room_toml(gate.room_name, rate="0") + room_toml(side, rate="0", path="/side/")
    plan = plan_of(gate, both, folder=tmp_path, secrets=(SECRET,))
    await gate.worker.prepare(plan)
    assert set(gate.worker.rooms) == {gate.room_name}
    await gate.worker.abort()
    await gate.worker.prepare(plan)
    gate.worker.commit()
    assert set(gate.worker.rooms) == {gate.room_name, side}
    room = gate.worker.rooms[side]  # type: ignore[index]
    waiting = asyncio.create_task(gate.visitor().request("GET", "/side/", headers=HTML))
    alone = room_toml(gate.room_name, rate="0")
    await gate.worker.prepare(plan_of(gate, alone, folder=tmp_path, secrets=(SECRET,)))
    gate.worker.commit()
    assert (await waiting).status in {200, 503}, "a request in the removed room was served"
    await eventually(lambda: room._stopping)
    assert set(gate.worker.rooms) == {gate.room_name}
