"""Every case on both paths, byte for byte."""

import pytest

from tests.conformance.case_runner import ScriptedOrigin, assert_aborted, reset, run_case
from tests.conformance.case_table import CASES_BY_NAME
from tests.conformance.gate_pair import StageOpener, received
from tests.conformance.request_cases import GET, LAST
from tests.conformance.response_cases import CUT
from tests.integration.proxy.forwarding import Origin, Script, Wire


@pytest.mark.parametrize("name", CASES_BY_NAME)
async def test_case_is_forwarded_as_specified(name: str, open_stage: StageOpener) -> None:
    part = ScriptedOrigin()
    async with open_stage(part.script_of) as stage:
        await run_case(stage, part, CASES_BY_NAME[name])


@pytest.mark.parametrize("name", LAST)
async def test_last_request_of_connection_is_last_forwarded(
    name: str, open_stage: StageOpener
) -> None:
    part = ScriptedOrigin()
    async with open_stage(part.script_of) as stage:
        wire = await stage.connect()
        wire.send(LAST[name])
        assert (await wire.rest()).count(b"HTTP/1.") in {1, 2}
        assert b" /2 " not in part.received
        assert len(stage.origin.requests) <= 1


@pytest.mark.parametrize("name", CUT)
async def test_cut_response_aborts_client_connection(name: str, open_stage: StageOpener) -> None:
    head, body, then = CUT[name]
    passed_on: list[Wire] = []

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(head)
            passed_on.append(wire)
            await wire.gone()

        return script

    async with open_stage(script_of) as stage:
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
        await assert_aborted(wire)


@pytest.mark.parametrize(
    "name", [name for name in CASES_BY_NAME if name.startswith("malformed response")]
)
async def test_malformed_response_costs_one_origin_request(
    name: str, open_stage: StageOpener
) -> None:
    """A failure that the fast path hands over is reported without a second request."""
    part = ScriptedOrigin()
    async with open_stage(part.script_of) as stage:
        await run_case(stage, part, CASES_BY_NAME[name])
        lines = [request.first_line for request in stage.origin.requests]
        assert len([line for line in lines if b" /last " not in line]) == 1
