"""The fast path's own responses with the fields of CORS."""

import asyncio

import pytest

from gatekeeper.proxy.fastpath.interface import (
    CompleteResponse,
    FastPathReply,
    GateExchange,
    HandOver,
    SwitchProtocol,
)
from gatekeeper.web.fastpath.exchanges import CorsExchange, complete_response, header_lines
from gatekeeper.web.message import GateResponse

LINES = header_lines((("Access-Control-Allow-Origin", "https://a.example"), ("Vary", "Origin")))
HEAD = b"HTTP/1.1 200 OK\r\nDate: x\r\n"
WITH_LINES = (
    b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://a.example\r\nVary: Origin\r\n"
    b"Date: x\r\n"
)
PROTOCOL = asyncio.Protocol()


class Exchange(GateExchange):
    """An exchange with a fixed reply."""

    def __init__(self, reply: FastPathReply) -> None:
        self.keep_alive = False
        self._reply = reply

    async def respond(self) -> FastPathReply:
        return self._reply


@pytest.mark.parametrize(
    ("reply", "shared"),
    [
        (CompleteResponse(HEAD, b"x", True), CompleteResponse(WITH_LINES, b"x", True)),
        (
            SwitchProtocol(HEAD + b"\r\ndata: a\r\n", PROTOCOL),
            SwitchProtocol(WITH_LINES + b"\r\ndata: a\r\n", PROTOCOL),
        ),
        (HandOver(1), HandOver(1)),
    ],
)
async def test_lines_follow_the_status_line(reply: FastPathReply, shared: FastPathReply) -> None:
    exchange = CorsExchange(Exchange(reply), LINES)
    assert await exchange.respond() == shared
    assert not exchange.keep_alive


@pytest.mark.parametrize(("status", "has_length"), [(200, True), (204, False), (304, False)])
def test_response_without_body_has_no_length(status: int, has_length: bool) -> None:
    head = complete_response(GateResponse(status, (), b"")).head
    assert (b"Content-Length: 0\r\n" in head) == has_length
