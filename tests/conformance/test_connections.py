"""Client and origin connections: their number, reuse and end."""

import pytest

from gatekeeper.policy.tokens import VisitorId
from tests.conformance.case_runner import ScriptedOrigin, run_case
from tests.conformance.case_table import CASES_BY_NAME
from tests.conformance.gate_pair import (
    COOKIE,
    ROOM,
    VISITOR,
    Stage,
    StageOpener,
    cookie_of,
    received,
    visitor_request,
)
from tests.conformance.request_cases import GET, OK
from tests.integration.proxy.forwarding import (
    Origin,
    Script,
    Wire,
    closing_on_the_second_request,
    responding_once,
)


async def test_requests_of_one_client_share_one_origin_connection(
    fast_path: bool, stage: Stage
) -> None:
    wire = await stage.connect()
    for _ in range(100):
        wire.send(GET)
        assert await received(wire, len(OK)) == OK
    assert len(stage.origin.requests) == 100
    assert stage.origin.connections == 1
    # The two numbers show that the request took the intended path.
    assert (stage.fast_path_connections, stage.aiohttp_connections) == (
        (1, 0) if fast_path else (0, 1)
    )


async def test_consecutive_clients_share_one_origin_connection(stage: Stage) -> None:
    for _ in range(20):
        wire = await stage.connect()
        wire.send(visitor_request(b"GET /", b"Connection: close"))
        assert (await wire.rest()).endswith(b"ok")
    assert stage.origin.connections == 1


async def test_stale_origin_connection_is_replaced_silently(open_stage: StageOpener) -> None:
    async with open_stage(closing_on_the_second_request) as stage:
        wire = await stage.connect()
        for request in (GET, GET):
            wire.send(request)
            assert await received(wire, len(OK)) == OK
        assert stage.origin.connections == 2


@pytest.mark.parametrize(
    "name", ["more than its length", "more than its chunks", "a body for a 204"]
)
async def test_origin_connection_with_surplus_bytes_is_not_reused(
    name: str, open_stage: StageOpener
) -> None:
    part = ScriptedOrigin()
    async with open_stage(part.script_of) as stage:
        await run_case(stage, part, CASES_BY_NAME[f"response: {name}"])
        assert stage.origin.connections == 2


async def test_origin_that_closes_on_accept_is_502_at_once(open_stage: StageOpener) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            wire.close()

        return script

    async with open_stage(script_of) as stage:
        wire = await stage.connect()
        wire.send(GET)
        assert await received(wire, 13) == b"HTTP/1.1 502 "


async def test_origin_that_does_not_listen_is_502(stage: Stage) -> None:
    pool = stage.worker._fast_path.pool if stage.worker._fast_path else None
    assert pool is not None
    pool._port = 1  # no server listens there
    wire = await stage.connect()
    for _ in range(2):
        wire.send(GET)
        response = await wire.message()
        assert response.status == 502
    assert stage.origin.connections == 0


async def test_silent_origin_is_504_after_one_request(open_stage: StageOpener) -> None:
    async with open_stage(
        responding_once(b"", stays=True),
        origin_toml='read_timeout = "100ms"',
    ) as stage:
        wire = await stage.connect()
        wire.send(GET)
        assert (await wire.message()).status == 504
        assert len(stage.origin.requests) == 1


async def test_failure_is_reported_for_its_request_only(
    fast_path: bool, open_stage: StageOpener
) -> None:
    """The visitor is revoked while the origin fails, so the gate does not report the failure. The
    next request of the connection must not receive it."""

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            if origin.connections == 1:
                stage.worker.rooms[ROOM].receive_revoked([VISITOR], count=1)
                return
            wire.send(OK)
            await wire.gone()

        return script

    async with open_stage(script_of, toml='[admission]\nrate = "0/min"') as stage:
        wire = await stage.connect()
        wire.send(GET)
        # aiohttp decided before it called the origin, so it reports the failure; the fast path
        # decides again.
        assert (await wire.message()).status == (503 if fast_path else 502)
        other = cookie_of(visitor=VisitorId("B" * 22)).encode()
        wire.send(GET.replace(COOKIE.partition(b": ")[2], other))
        assert await received(wire, len(OK)) == OK
