"""Requests and answers cross the proxy as they came."""

import pytest

from tests.integration.proxy.rig import OK, answering, get, post, running_gate, running_origin

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
EXTENSION_METHODS = ["PROPFIND", "REPORT", "PURGE", "QUERY", "M-SEARCH", "MKCALENDAR"]


@pytest.mark.parametrize("method", METHODS + EXTENSION_METHODS)
async def test_every_method_reaches_the_origin(method: str) -> None:
    async with running_origin(answering(OK)) as origin, running_gate(origin.url) as gate:
        answer = await gate.ask(get("/x", method=method), bodiless=method == "HEAD")
    assert answer.status == 200
    assert origin.requests[0].first_line == f"{method} /x HTTP/1.1".encode()


async def test_a_body_of_known_length_reaches_the_origin() -> None:
    async with running_origin(answering(OK)) as origin, running_gate(origin.url) as gate:
        answer = await gate.ask(post(b"a=1&b=2"))
    assert answer.body == b"ok"
    assert origin.requests[0].one("Content-Length") == b"7"
    assert origin.requests[0].body == b"a=1&b=2"


async def test_a_hundred_requests_of_one_client_take_one_connection_to_the_origin() -> None:
    async with running_origin(answering(OK)) as origin, running_gate(origin.url) as gate:
        wire = await gate.connect()
        for turn in range(100):
            wire.send(get(f"/{turn}"))
            assert (await wire.message()).body == b"ok"
        wire.close()
    assert len(origin.requests) == 100
    assert origin.connections == 1
