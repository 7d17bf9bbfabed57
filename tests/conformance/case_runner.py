"""Runs a case: an origin that follows its steps, and a client that compares what it receives."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field

from tests.conformance.gate_pair import Stage, received, seen, send_in_pieces, visitor_request
from tests.conformance.request_cases import OK, Case, OriginStep
from tests.integration.proxy.forwarding import PATIENCE_S, Origin, Script, Wire

_LAST = visitor_request(b"GET /last", b"Connection: close")
_SEEN_LAST = seen(b"GET /last")
_LAST_BACK = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
_LINGER_RESET = struct.pack("ii", 1, 0)


@dataclass
class ScriptedOrigin:
    """An origin that follows the steps of a case, request after request, on any connection."""

    origin_steps: list[OriginStep] = field(default_factory=list)
    cuts: tuple[int, ...] = ()  # offsets at which its responses are cut
    received: bytes = b""

    def begin(self, case: Case, *, cuts: tuple[int, ...] = ()) -> None:
        self.origin_steps, self.cuts, self.received = list(case.origin_steps), cuts, b""

    def script_of(self, origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            while True:
                request = await origin.request(wire)
                self.received += request.head + request.raw_body
                origin_steps = self.origin_steps.pop(0) if self.origin_steps else OriginStep(OK)
                await send_in_pieces(wire, origin_steps.data, self.cuts)
                match origin_steps.then:
                    case "close":
                        return
                    case "reset":
                        reset(wire)
                        return

        return script


def reset(wire: Wire) -> None:
    sock: socket.socket = wire.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    wire.abort()


async def run_case(
    stage: Stage, part: ScriptedOrigin, case: Case, *, cuts: tuple[int, ...] = ()
) -> None:
    """Run one case on a new connection; compare what the client and the origin receive."""
    part.begin(case, cuts=cuts)
    wire = await stage.connect()
    sending = asyncio.create_task(_send(wire, case.sent, cuts))
    try:
        await receive(wire, case)
        match case.end:
            case "stay":
                await sending
                wire.send(_LAST)
                _same(await received(wire, len(_LAST_BACK) + 1), _LAST_BACK)
                _same(part.received, case.seen + _SEEN_LAST)
                return
            case "close":
                _same(await wire.rest(), b"")
        await sending
        _same(part.received, case.seen)
    finally:
        sending.cancel()
        wire.abort()


async def receive(wire: Wire, case: Case) -> None:
    """Receive everything that the client should get, and compare it."""
    if isinstance(case.back, int):
        message = await wire.message(bodiless=case.sent.startswith(b"HEAD "))
        assert message.status == case.back
        _same(await received(wire, len(case.then)), case.then)
    else:
        _same(await received(wire, len(case.back)), case.back)


def _same(got: bytes, expected: bytes) -> None:
    """Assert with both values: outside this folder pytest does not explain this assertion."""
    assert got == expected, f"got {got!r} instead of {expected!r}"


async def _send(wire: Wire, data: bytes, cuts: tuple[int, ...]) -> None:
    with suppress(ConnectionError):  # rejected before all of it was sent
        await send_in_pieces(wire, data, cuts)


async def assert_aborted(wire: Wire) -> None:
    """The connection was aborted, not closed."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            rest = await wire.reader.read()
    except ConnectionError:
        return
    raise AssertionError(f"ended as if complete, with {rest!r}")
