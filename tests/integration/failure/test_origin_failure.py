"""The origin refuses or keeps silent: a page that says so, and the line goes on as it was."""

import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from gatekeeper.config.types import RoomName
from tests.builders import room_toml
from tests.gates import Gate, GateStarter, Visitor, running_gate

TIMEOUTS = 'connect_timeout = "300ms"\nread_timeout = "300ms"\n'


@pytest.fixture
def refusing() -> Iterator[str]:
    """An address where nobody listens, and nobody else will."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


@pytest.fixture
def silent() -> Iterator[str]:
    """An origin that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(params=[("refusing", 502), ("silent", 504)], ids=["refuses", "times out"])
async def gate_and_status(
    request: pytest.FixtureRequest, store_url: str, room_name: RoomName
) -> AsyncIterator[tuple[Gate, int]]:
    name, status = request.param
    toml = TIMEOUTS + room_toml(room_name, rate="0")
    url = request.getfixturevalue(name)
    async with running_gate(toml, store_url=store_url, origin_url=url) as gate:
        yield gate, status


async def test_an_admitted_visitor_gets_a_page_that_says_when_to_come_back(
    gate_and_status: tuple[Gate, int],
) -> None:
    gate, expected = gate_and_status
    async with Visitor(gate) as visitor:
        await visitor.get()
        await gate.allow(1)
        await visitor.wait_until_admitted()
        status, page = await visitor.get()
        assert status == expected
        assert "<html" in page
        answer = await visitor.request("GET")
        assert answer.status == expected
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Cache-Control"] == "no-store"
        assert set(answer.json) == {"error"}


async def test_the_place_is_kept_and_those_in_line_are_admitted_all_the_same(
    gate_and_status: tuple[Gate, int], room_name: RoomName
) -> None:
    gate, expected = gate_and_status
    async with Visitor(gate) as admitted, Visitor(gate) as waiting, Visitor(gate) as last:
        for visitor in (admitted, waiting, last):
            await visitor.get()
        await gate.allow(1)
        await admitted.wait_until_admitted()
        for _ in range(3):
            status, _ = await admitted.get()
            assert status == expected
        assert (await admitted.status())["state"] == "admitted"
        assert (await waiting.status())["position"] == 1
        assert (await last.status())["position"] == 2
        await gate.allow(1)
        await waiting.wait_until_admitted()
        assert (await last.status())["position"] == 1
        state = await gate.room(room_name).queue.look()
        assert (state.active, state.queue_length) == (2, 1)


async def test_a_newcomer_whom_the_origin_failed_keeps_the_slot(
    silent: str, start_gate: GateStarter
) -> None:
    gate = await start_gate(TIMEOUTS, origin_url=silent, rate="1/min", burst=1)
    visitor = gate.visitor()
    status, _ = await visitor.get()
    assert status == 504
    assert (await visitor.status())["state"] == "admitted"


async def test_a_pass_that_met_no_origin_opens_the_next_one(
    refusing: str, start_gate: GateStarter
) -> None:
    before = await start_gate(rate="1/min", burst=1, origin_url=refusing)
    after = await start_gate(rate="1/min", burst=1)
    visitor = before.visitor(after)
    another = after.visitor()
    status, _ = await visitor.get()
    assert status == 502
    status, _ = await visitor.get(at=1)
    assert status == 200
    status, _ = await another.get()
    assert status == 503
