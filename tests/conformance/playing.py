"""An origin that plays the part which the table gives it, and a client that plays a case."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field

from tests.conformance.cases import OK, Case, Says
from tests.conformance.gate_pair import Stage, asked, received, seen, send_in_pieces
from tests.integration.proxy.forwarding import PATIENCE_S, Origin, Script, Wire

_LAST = asked(b"GET /last", b"Connection: close")
_SEEN_LAST = seen(b"GET /last")
_LAST_BACK = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
_LINGER_NOT = struct.pack("ii", 1, 0)


@dataclass
class Part:
    """What the origin says to request after request, on whichever connection they come."""

    says: list[Says] = field(default_factory=list)
    cuts: tuple[int, ...] = ()  # where the pieces of its answers end
    heard: bytes = b""

    def begin(self, case: Case, *, cuts: tuple[int, ...] = ()) -> None:
        self.says, self.cuts, self.heard = list(case.says), cuts, b""

    def script_of(self, origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            while True:
                request = await origin.request(wire)
                self.heard += request.head + request.raw_body
                says = self.says.pop(0) if self.says else Says(OK)
                await send_in_pieces(wire, says.data, self.cuts)
                match says.then:
                    case "close":
                        return
                    case "reset":
                        reset(wire)
                        return

        return script


def reset(wire: Wire) -> None:
    sock: socket.socket = wire.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    wire.abort()


async def play(stage: Stage, part: Part, case: Case, *, cuts: tuple[int, ...] = ()) -> None:
    """Play one case on a connection of its own, and hold everybody to their part."""
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
                _same(part.heard, case.seen + _SEEN_LAST)
                return
            case "close":
                _same(await wire.rest(), b"")
        await sending
        _same(part.heard, case.seen)
    finally:
        sending.cancel()
        wire.abort()


async def receive(wire: Wire, case: Case) -> None:
    """Receive all that the client of a case gets, and compare it."""
    if isinstance(case.back, int):
        message = await wire.message(bodiless=case.sent.startswith(b"HEAD "))
        assert message.status == case.back
        _same(await received(wire, len(case.then)), case.then)
    else:
        _same(await received(wire, len(case.back)), case.back)


def _same(got: bytes, expected: bytes) -> None:
    """For other folders' tests too, in which pytest explains no assertion of this file."""
    assert got == expected, f"got {got!r} in the place of {expected!r}"


async def _send(wire: Wire, data: bytes, cuts: tuple[int, ...]) -> None:
    with suppress(ConnectionError):  # refused before all of it was sent
        await send_in_pieces(wire, data, cuts)


async def assert_cut(wire: Wire) -> None:
    """The connection was broken, not closed in good order."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            rest = await wire.reader.read()
    except ConnectionError:
        return
    raise AssertionError(f"ended as if whole, with {rest!r}")
