"""Connections of clients and to the origin: how many, how long, and who ends them."""

import pytest

from gatekeeper.policy.tokens import VisitorId
from tests.conformance.cases import GET, OK
from tests.conformance.gate_pair import (
    COOKIE,
    ROOM,
    VISITOR,
    asked,
    cookie_of,
    received,
    running_stage,
)
from tests.conformance.playing import Part, play
from tests.conformance.table import TABLE
from tests.integration.proxy.forwarding import Origin, Script, Wire, answering


async def test_a_hundred_requests_of_one_client_take_one_connection_to_the_origin(
    express: bool, store_url: str
) -> None:
    async with running_stage(answering(OK), store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        for _ in range(100):
            wire.send(GET)
            assert await received(wire, len(OK)) == OK
        assert len(stage.origin.requests) == 100
        assert stage.origin.connections == 1
        # The pair of figures shows that each path is the one it is taken for.
        assert (stage.in_the_lane, stage.on_the_long_way) == ((1, 0) if express else (0, 1))


async def test_clients_in_turn_share_one_connection_to_the_origin(
    express: bool, store_url: str
) -> None:
    async with running_stage(answering(OK), store_url=store_url, express=express) as stage:
        for _ in range(20):
            wire = await stage.connect()
            wire.send(asked(b"GET /", b"Connection: close"))
            assert (await wire.rest()).endswith(b"ok")
        assert stage.origin.connections == 1


async def test_a_stale_connection_is_replaced_without_a_word_to_the_client(
    express: bool, store_url: str
) -> None:
    """An origin whose keep-alive time-out and our next request cross on the way."""

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            first = origin.connections == 1
            await origin.request(wire)
            wire.send(OK)
            await wire.head()
            if not first:
                wire.send(OK)

        return script

    async with running_stage(script_of, store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        for request in (GET, GET):
            wire.send(request)
            assert await received(wire, len(OK)) == OK
        assert stage.origin.connections == 2


@pytest.mark.parametrize(
    "name", ["more than its length", "more than its chunks", "a body for a 204"]
)
async def test_an_origin_that_says_too_much_is_not_heard_on_that_connection_again(
    name: str, express: bool, store_url: str
) -> None:
    part = Part()
    async with running_stage(part.script_of, store_url=store_url, express=express) as stage:
        await play(stage, part, TABLE[f"answer: {name}"])
        assert stage.origin.connections == 2


async def test_an_origin_that_accepts_and_closes_at_once_is_a_502_at_once(
    express: bool, store_url: str
) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            wire.close()

        return script

    async with running_stage(script_of, store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        wire.send(GET)
        assert await received(wire, 13) == b"HTTP/1.1 502 "


async def test_nothing_listens_at_the_origin(express: bool, store_url: str) -> None:
    async with running_stage(answering(OK), store_url=store_url, express=express) as stage:
        pool = stage.worker._fast_path.pool if stage.worker._fast_path else None
        assert pool is not None
        pool._port = 1  # nobody listens there
        wire = await stage.connect()
        for _ in range(2):
            wire.send(GET)
            answer = await wire.message()
            assert answer.status == 502
        assert stage.origin.connections == 0


async def test_a_silent_origin_is_a_504_and_asked_once(express: bool, store_url: str) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            await wire.gone()

        return script

    async with running_stage(
        script_of, store_url=store_url, express=express, origin_toml='read_timeout = "100ms"'
    ) as stage:
        wire = await stage.connect()
        wire.send(GET)
        assert (await wire.message()).status == 504
        assert len(stage.origin.requests) == 1


async def test_a_failure_is_of_its_request_alone_and_not_of_the_next(
    express: bool, store_url: str
) -> None:
    """The visitor lost their place while the origin failed them: the gate does not come to tell
    of the failure, and the next request of the connection must not hear of it."""

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            if origin.connections == 1:
                stage.worker.rooms[ROOM].receive_revoked([VISITOR], count=1)
                return
            wire.send(OK)
            await wire.gone()

        return script

    async with running_stage(
        script_of, store_url=store_url, express=express, toml='[admission]\nrate = "0/min"'
    ) as stage:
        wire = await stage.connect()
        wire.send(GET)
        # The long way decided before it asked, and tells; the lane decides again.
        assert (await wire.message()).status == (503 if express else 502)
        other = cookie_of(visitor=VisitorId("B" * 22)).encode()
        wire.send(GET.replace(COOKIE.partition(b": ")[2], other))
        assert await received(wire, len(OK)) == OK
