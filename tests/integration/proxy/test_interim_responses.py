"""Interim responses and expectations: the gate forwards the origin's 100 Continue."""

import pytest

from tests.integration.proxy.forwarding import (
    OK,
    Origin,
    Script,
    Wire,
    get,
    post,
    proxying,
    responding,
)


@pytest.mark.parametrize("interim", ["100 Continue", "103 Early Hints"])
async def test_interim_responses_reach_http11_clients_only(interim: str) -> None:
    hint = f"HTTP/1.1 {interim}\r\nLink: </a.css>\r\nConnection: x\r\nX: 1\r\n\r\n".encode()
    async with proxying(responding(hint + hint + OK)) as (_, gate):
        wire = await gate.connect()
        wire.send(get())
        for _ in range(2):
            head = (await wire.head()).head
            assert head == f"HTTP/1.1 {interim}\r\nLink: </a.css>\r\n\r\n".encode()
        assert (await wire.message()).body == b"ok"
        wire.close()
        assert (await gate.ask(get(version="1.0"))).status == 200


def continuing(origin: Origin) -> Script:
    async def script(wire: Wire) -> None:
        while True:
            request = await wire.head()
            origin.requests.append(request)
            if b"/refuse" in request.first_line:
                wire.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                continue
            if request.one("Expect"):
                wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.body = await wire.exactly(int(request.one("Content-Length") or b"0"))
            wire.send(OK)

    return script


async def test_continue_comes_from_origin() -> None:
    async with proxying(continuing) as (origin, gate):
        wire = await gate.connect()
        wire.send(get("/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        assert (await wire.head()).head == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(b"hello")
        assert (await wire.message()).body == b"ok"
        wire.close()
    assert origin.requests[0].one("Expect") == b"100-continue"
    assert origin.requests[0].body == b"hello"


async def test_refusal_in_place_of_continue_closes_connection() -> None:
    async with proxying(continuing) as (origin, gate):
        wire = await gate.connect()
        wire.send(get("/refuse", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        response = await wire.message()
        assert (response.status, response.one("Connection")) == (403, b"close")
        wire.send(b"GET /")  # five bytes that could be the body or the next request
        assert await wire.rest() == b""
        wire.close()
        assert (await gate.ask(post(b"x"))).body == b"ok"
    assert [request.first_line for request in origin.requests] == [
        b"POST /refuse HTTP/1.1",
        b"POST / HTTP/1.1",
    ]
    assert origin.connections == 2  # the first still waits for five bytes


async def test_http10_expectation_is_ignored() -> None:
    request = get("/", "Content-Length: 2", "Expect: 100-continue", method="POST", version="1.0")
    async with proxying(continuing) as (origin, gate):
        assert (await gate.ask(request + b"ab")).status == 200
    assert origin.requests[0].one("Expect") is None
