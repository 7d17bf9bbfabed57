"""The origin refuses or does not respond: an error page, and the queue continues as it was."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from tests.gates import Gate, GateStarter, Visitor, closed_port

TIMEOUTS = 'connect_timeout = "5s"\nread_timeout = "300ms"\n'


@pytest.fixture
def refusing() -> str:
    """The URL of an origin that refuses connections."""
    return closed_port()


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of an origin that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(params=[("refusing", 502), ("silent", 504)], ids=["refuses", "times out"])
async def failing_origin(
    request: pytest.FixtureRequest, start_gate: GateStarter
) -> tuple[Gate, int]:
    """A gate with a failing origin, and the status of its error page."""
    name, status = request.param
    url = request.getfixturevalue(name)
    return await start_gate(TIMEOUTS, origin_url=url, rate="0"), status


async def test_error_page_names_the_time_to_retry(failing_origin: tuple[Gate, int]) -> None:
    gate, expected = failing_origin
    visitor = gate.visitor()
    await visitor.get()
    await gate.allow(1)
    await visitor.wait_until_admitted()
    status, page = await visitor.get()
    assert status == expected
    assert "<html" in page
    response = await visitor.request("GET")
    assert response.status == expected
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["Cache-Control"] == "no-store"
    assert set(response.json) == {"error"}


async def test_origin_failure_keeps_passes_and_the_queue_moving(
    failing_origin: tuple[Gate, int],
) -> None:
    gate, expected = failing_origin
    admitted, waiting, last = (gate.visitor() for _ in range(3))
    for visitor in (admitted, waiting, last):
        await visitor.get()
    await gate.allow(1)
    await admitted.wait_until_admitted()
    for _ in range(3):
        assert (await admitted.get())[0] == expected
    assert (await admitted.status())["state"] == "admitted"
    assert await known_position(waiting) == 1
    assert await known_position(last) == 2
    await gate.allow(1)
    await waiting.wait_until_admitted()
    assert await known_position(last) == 1
    state = await gate.queue.read_state()
    assert (state.active, state.queue_length) == (2, 1)


async def known_position(visitor: Visitor) -> object:
    """The position, after the store has replied: on a busy machine a call can time out."""
    async with asyncio.timeout(40):
        while (position := (await visitor.status())["position"]) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return position


async def test_newcomer_keeps_the_slot_when_the_origin_times_out(
    silent: str, start_gate: GateStarter
) -> None:
    gate = await start_gate(TIMEOUTS, origin_url=silent, rate="1/min", burst=1)
    visitor = gate.visitor()
    assert (await visitor.get())[0] == 504
    assert (await visitor.status())["state"] == "admitted"


async def test_pass_from_a_failed_request_is_valid_at_another_replica(
    refusing: str, start_gate: GateStarter
) -> None:
    before = await start_gate(rate="1/min", burst=1, origin_url=refusing)
    after = await start_gate(rate="1/min", burst=1)
    visitor, another = before.visitor(after), after.visitor()
    assert (await visitor.get())[0] == 502
    assert (await visitor.get(at=1))[0] == 200
    assert (await another.get())[0] == 503
