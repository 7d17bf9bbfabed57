"""After the origin refused an upgrade, the connection serves requests as before.

A client may send them before the response: aiohttp keeps those bytes, and they get the same limits
as any others.
"""

import asyncio

import pytest

from gatekeeper.proxy.aiohttp_server import _MAX_QUEUED
from gatekeeper.proxy.head_reader import MAX_HEAD_BYTES
from tests.conformance.gate_pair import Stage, StageOpener, received, visitor_request
from tests.conformance.request_cases import OK
from tests.integration.proxy.forwarding import Origin, Script, Wire, until

UPGRADE = visitor_request(b"GET /socket", b"Connection: Upgrade", b"Upgrade: websocket")
FOLLOWING = visitor_request("GET /schön".encode())


class RefusingOrigin:
    """Responds to an upgrade with 200 when the test sets `refuse`; to other requests at once."""

    def __init__(self) -> None:
        self.refuse = asyncio.Event()

    def __call__(self, origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            while True:
                request = await origin.request(wire)
                if request.one("Upgrade"):
                    await self.refuse.wait()
                wire.send(OK)

        return script


async def sent_behind_an_upgrade(stage: Stage, origin: RefusingOrigin, data: bytes) -> Wire:
    """A client that sent `data` before the upgrade was refused, and has received the refusal."""
    wire = await stage.connect()
    wire.send(UPGRADE + data)
    await until(lambda: bool(stage.origin.requests))
    origin.refuse.set()
    assert await received(wire, len(OK)) == OK
    return wire


@pytest.mark.parametrize("cut", [1, 9, -1, None])
async def test_request_behind_a_refused_upgrade_is_forwarded(
    cut: int | None, open_stage: StageOpener
) -> None:
    """The part up to `cut` is sent before the refusal; None: the whole request."""
    origin = RefusingOrigin()
    async with open_stage(origin) as stage:
        wire = await sent_behind_an_upgrade(stage, origin, FOLLOWING[:cut])
        wire.send(b"" if cut is None else FOLLOWING[cut:])
        assert await received(wire, len(OK)) == OK
        lines = [each.first_line for each in stage.origin.requests]
        assert lines == [b"GET /socket HTTP/1.1", "GET /schön HTTP/1.1".encode()]


async def test_head_behind_a_refused_upgrade_has_the_same_limit(open_stage: StageOpener) -> None:
    fields = b"".join(b"X-%d: %b\r\n" % (at, b"a" * 8000) for at in range(9))
    too_large = FOLLOWING[:-2] + fields + b"\r\n"
    assert len(too_large) > MAX_HEAD_BYTES
    origin = RefusingOrigin()
    async with open_stage(origin) as stage:
        wire = await sent_behind_an_upgrade(stage, origin, too_large)
        assert (await wire.message()).status == 431
        await wire.gone()
        assert len(stage.origin.requests) == 1


async def test_requests_after_a_refused_upgrade_are_served_in_order(
    open_stage: StageOpener,
) -> None:
    """More requests than the connection buffers, and one of them is another upgrade."""
    count = 3 * _MAX_QUEUED
    targets = [b"/%d" % number for number in range(count)]
    requests = [visitor_request(b"GET " + target) for target in targets]
    requests.insert(count // 2, UPGRADE)
    origin = RefusingOrigin()
    async with open_stage(origin) as stage:
        wire = await sent_behind_an_upgrade(stage, origin, b"".join(requests))
        assert await received(wire, len(OK) * (count + 1)) == OK * (count + 1)
        targets.insert(count // 2, b"/socket")
        seen = [each.first_line.split(b" ")[1] for each in stage.origin.requests]
        assert seen == [b"/socket", *targets]
