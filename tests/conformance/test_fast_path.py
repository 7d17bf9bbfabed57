"""The fast path behind TLS, on asyncio's loop, at shutdown and at hand-over."""

import asyncio
import ssl

import pytest

from gatekeeper.proxy import SERVER_OPTIONS
from tests.conformance.case_runner import ScriptedOrigin, receive, run_case
from tests.conformance.case_table import CASES_BY_NAME
from tests.conformance.gate_pair import StageOpener, received, running_stage, visitor_request
from tests.conformance.request_cases import GET, OK, PIPELINES, POST
from tests.conformance.tls_stage import Tls
from tests.integration.proxy.forwarding import (
    PATIENCE_S,
    Origin,
    Script,
    Wire,
    responding,
    responding_once,
    until,
)

# On a reused connection the request is sent again (RFC 9110 section 9.2.2).
_REPEATED = {"malformed response: nothing", "malformed response: a reset"}
_NAMES = [name for name in CASES_BY_NAME if name not in _REPEATED]


def over_tls(data: bytes) -> bytes:
    """Over TLS the cookie has its prefix, and the origin receives the scheme https."""
    return data.replace(b"Cookie: ", b"Cookie: __Host-").replace(
        b"Proto: http\r", b"Proto: https\r"
    )


@pytest.mark.parametrize("name", PIPELINES)
async def test_pipeline_over_tls_is_forwarded_unchanged(
    name: str, tls: Tls, open_stage: StageOpener
) -> None:
    case = PIPELINES[name]
    part = ScriptedOrigin()
    async with open_stage(part.script_of, toml=tls.toml, tls=tls.client) as stage:
        part.begin(case)
        wire = await stage.connect()
        wire.send(over_tls(case.sent))
        await receive(wire, case)
        assert part.received == over_tls(case.seen)


async def test_origin_failure_over_tls_is_502(tls: Tls, open_stage: StageOpener) -> None:
    async with open_stage(
        responding_once(b"nonsense\r\n\r\n"),
        toml=tls.toml,
        tls=tls.client,
    ) as stage:
        wire = await stage.connect()
        for _ in range(2):
            wire.send(over_tls(GET))
            assert (await wire.message()).status == 502
        assert len(stage.origin.requests) == 2


async def test_cut_response_over_tls_looks_incomplete(tls: Tls, open_stage: StageOpener) -> None:
    async with open_stage(
        responding_once(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal"),
        toml=tls.toml,
        tls=tls.client,
    ) as stage:
        wire = await stage.connect()
        wire.send(over_tls(GET))
        await wire.head()
        # Closed or aborted: the client receives less than the announced length.
        try:
            assert len(await wire.rest()) < 5
        except (ConnectionError, ssl.SSLError):
            await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)


@pytest.mark.parametrize("fast_path", [True, False], ids=["fast path", "aiohttp"])
def test_all_cases_hold_on_asyncio_loop(fast_path: bool, store_url: str) -> None:
    async def all_of_it() -> None:
        part = ScriptedOrigin()
        async with running_stage(part.script_of, store_url=store_url, fast_path=fast_path) as stage:
            for name in _NAMES:
                await run_case(stage, part, CASES_BY_NAME[name])

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(all_of_it())


async def test_client_that_reads_nothing_is_dropped(
    monkeypatch: pytest.MonkeyPatch, open_stage: StageOpener
) -> None:
    monkeypatch.setitem(SERVER_OPTIONS, "keepalive_timeout", 0.1)
    body = b"x" * 2**20

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (100 * len(body)))
            while True:
                wire.send(body)
                await wire.flush()

        return script

    async with open_stage(script_of, origin_toml='read_timeout = "200ms"') as stage:
        wire = await stage.connect()
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        wire.send(GET)
        await until(lambda: stage.origin.requests != [])
        await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)
        await until(lambda: stage.origin.wires[0].reader.at_eof() or _broken(stage.origin.wires[0]))


def _broken(wire: Wire) -> bool:
    return wire.writer.transport.is_closing()


async def test_shutdown_waits_for_current_response_only(open_stage: StageOpener) -> None:
    requested, release = asyncio.Event(), asyncio.Event()

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            requested.set()
            await release.wait()
            wire.send(OK)
            await wire.gone()

        return script

    async with open_stage(script_of) as stage:
        idle, half, busy = [await stage.connect() for _ in range(3)]
        half.send(GET[:30])
        busy.send(GET)
        async with asyncio.timeout(PATIENCE_S):
            await requested.wait()
            closing = asyncio.create_task(stage.worker.close())
            assert await idle.rest() == b""
            assert await half.rest() == b""
            assert not closing.done()
            release.set()
            assert (await busy.rest()).endswith(b"\r\n\r\nok")
            await closing


async def test_disconnect_while_connecting_ends_the_connect(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting, ended = asyncio.Event(), asyncio.Event()

    async def never() -> None:
        connecting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running_stage(responding(OK), store_url=store_url, fast_path=True) as stage:
        assert stage.worker._fast_path is not None
        monkeypatch.setattr(stage.worker._fast_path.pool, "connect", never)
        wire = await stage.connect()
        wire.send(GET)
        async with asyncio.timeout(PATIENCE_S):
            await connecting.wait()
            wire.reset()
            await ended.wait()
        await until(lambda: stage.fast_path_connections == 0)


async def test_handed_over_connection_stays_with_aiohttp(store_url: str) -> None:
    async with running_stage(responding(OK), store_url=store_url, fast_path=True) as stage:
        wire = await stage.connect()
        wire.send(GET)
        assert await received(wire, len(OK)) == OK
        assert (stage.fast_path_connections, stage.aiohttp_connections) == (1, 0)
        wire.send(POST + GET)
        assert await received(wire, 2 * len(OK)) == OK * 2
        assert (stage.fast_path_connections, stage.aiohttp_connections) == (0, 1)
        wire.send(visitor_request(b"GET /", b"Connection: close"))
        assert (await wire.rest()).endswith(b"ok")
        await until(lambda: stage.aiohttp_connections == 0)
