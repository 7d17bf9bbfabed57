"""More clients than files: only the oldest idle connections are closed."""

import pytest

from gatekeeper.process import worker
from gatekeeper.proxy.fastpath.idle_connections import count_open_files
from tests.conformance.gate_pair import received, running_stage
from tests.conformance.request_cases import GET, OK, POST
from tests.integration.proxy.forwarding import Origin, Script, Wire, responding, until

_MORE_FILES = 120  # two per connection, since client and gate are in this process


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the file limit of the gate slightly above the number of open files."""
    files = count_open_files()
    assert files is not None
    monkeypatch.setattr(worker, "file_limit", lambda: (files + _MORE_FILES) * 8 // 7)


def close_evicted(clients: list[Wire]) -> None:
    """Close the clients whose connections the gate closed: their files are of the same process."""
    for client in clients:
        if client.reader.at_eof():
            client.close()


@pytest.mark.parametrize("first", [b"", GET, GET[:20], POST, POST[:40]])
@pytest.mark.usefixtures("few_files")
async def test_new_visitors_are_accepted_near_the_file_limit(first: bytes, store_url: str) -> None:
    """The idle clients have sent nothing, a request, or a part of a head; on either path."""
    complete = first in (GET, POST)
    async with running_stage(responding(OK), store_url=store_url, fast_path=True) as stage:
        idle = []
        for _ in range(3 * _MORE_FILES // 2):
            idle.append(await stage.connect())
            idle[-1].send(first)
            if complete:
                assert await received(idle[-1], len(OK)) == OK
            new = await stage.connect()
            new.send(GET)
            assert await received(new, len(OK)) == OK
            new.close()
            close_evicted(idle)
        assert stage.fast_path_connections + stage.aiohttp_connections <= _MORE_FILES
        await idle[0].gone()  # the oldest; the newest is still there
        if complete:
            idle[-1].send(GET)
            assert await received(idle[-1], len(OK)) == OK


@pytest.mark.usefixtures("few_files")
async def test_connection_with_a_request_is_never_closed_for_others(store_url: str) -> None:
    held: list[Wire] = []

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            held.append(wire)
            await wire.gone()

        return script

    async with running_stage(script_of, store_url=store_url, fast_path=True) as stage:
        busy = [await stage.connect() for _ in range(4)]
        for wire, request in zip(busy, (GET, POST, GET, POST), strict=True):
            wire.send(request)
        await until(lambda: len(held) == 4)
        for _ in range(_MORE_FILES):
            await stage.connect()
        for wire in held:
            wire.send(OK)
        for wire in busy:
            assert await received(wire, len(OK)) == OK
