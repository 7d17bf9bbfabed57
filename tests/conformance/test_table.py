"""Every case of the table, on both paths, byte for byte."""

import pytest

from tests.conformance.answer_cases import CUT
from tests.conformance.cases import GET, LAST
from tests.conformance.gate_pair import received, running_stage
from tests.conformance.playing import Part, assert_cut, play, reset
from tests.conformance.table import TABLE
from tests.integration.proxy.forwarding import Origin, Script, Wire


@pytest.mark.parametrize("name", TABLE)
async def test_it_crosses_as_the_table_says(name: str, express: bool, store_url: str) -> None:
    part = Part()
    async with running_stage(part.script_of, store_url=store_url, express=express) as stage:
        await play(stage, part, TABLE[name])


@pytest.mark.parametrize("name", LAST)
async def test_nothing_follows_the_last_request_of_a_connection(
    name: str, express: bool, store_url: str
) -> None:
    part = Part()
    async with running_stage(part.script_of, store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        wire.send(LAST[name])
        assert (await wire.rest()).count(b"HTTP/1.") in {1, 2}
        assert b" /2 " not in part.heard
        assert len(stage.origin.requests) <= 1


@pytest.mark.parametrize("name", CUT)
async def test_an_answer_that_breaks_off_breaks_the_clients_connection(
    name: str, express: bool, store_url: str
) -> None:
    head, body, then = CUT[name]
    passed_on: list[Wire] = []

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(head)
            passed_on.append(wire)
            await wire.gone()

        return script

    async with running_stage(script_of, store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        wire.send(GET)
        await wire.head()
        origin = passed_on[0]
        origin.send(body)
        await origin.flush()
        if then == "close":
            origin.close()
        elif then == "reset":
            await received(wire, 1)
            reset(origin)
        await assert_cut(wire)


@pytest.mark.parametrize("name", [name for name in TABLE if name.startswith("broken answer")])
async def test_a_broken_answer_costs_one_request_at_the_origin(
    name: str, express: bool, store_url: str
) -> None:
    """A failure that the lane hands over is answered without asking the origin again."""
    part = Part()
    async with running_stage(part.script_of, store_url=store_url, express=express) as stage:
        await play(stage, part, TABLE[name])
        lines = [request.first_line for request in stage.origin.requests]
        assert len([line for line in lines if b" /last " not in line]) == 1
