"""A connection that sends requests without end: how much of them is kept, and when one is
served."""

from functools import partial
from typing import Any, cast

import pytest
from aiohttp.web import RequestHandler, Server
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.proxy.aiohttp_server import ConnectionHandler
from gatekeeper.proxy.fastpath.interface import FastPathReply
from gatekeeper.proxy.head_reader import HeadReader
from gatekeeper.proxy.plain_head import MAX_PLAIN_BYTES
from gatekeeper.proxy.write_deadline import WRITE_TIMEOUT_S
from tests.conformance.fast_path_scene import CLIENT_S, GET, AdmitAll, FastPathScene, Plan

OWN = b"GET /own HTTP/1.1\r\nHost: shop.example\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
RESPONSE = HEAD + b"\r\n"
READ_BYTES = 262_144  # of uvloop, and of asyncio


class Own:
    body = b""
    close = False

    def head(self) -> bytes:
        return HEAD


async def own() -> FastPathReply:
    return Own()


class Policy(AdmitAll):
    """A policy by which the gate itself responds to `OWN`."""

    def resolve(self, head: bytes, peer: str) -> Any:  # noqa: ARG002
        if head.startswith(b"PUT"):
            return None
        return partial(own) if head == OWN else Plan()


@pytest.fixture
async def scene() -> FastPathScene:
    return FastPathScene(policy=Policy())


def unused(scene: FastPathScene) -> int:
    return len(scene.connection._received) - scene.connection._start


def served(scene: FastPathScene) -> int:
    return scene.client.written.count(RESPONSE)


async def test_own_responses_are_given_one_in_a_turn_and_in_order(scene: FastPathScene) -> None:
    scene.connection.data_received(OWN * 50)
    for count in range(1, 51):
        assert served(scene) == count
        scene.clock.turn()
    assert scene.client.written == RESPONSE * 50
    assert scene.clock.turns() == 0
    assert (scene.connection._received, scene.connection._start) == (b"", 0)
    assert scene.connection.idle_since_s is not None


@pytest.mark.parametrize("size", [1, len(OWN) * 10 + 3, MAX_PLAIN_BYTES, READ_BYTES])
async def test_endless_requests_keep_at_most_a_head_and_a_read(
    size: int, scene: FastPathScene
) -> None:
    """The client sends whenever the gate reads, with reads of every size, cut at every position of
    a head."""
    at = sent = 0
    stream = OWN * (size // len(OWN) + 2)
    for _ in range(400):
        if scene.client_may_send():
            scene.connection.data_received(stream[at : at + size])
            at, sent = (at + size) % len(OWN), sent + size
        assert unused(scene) <= MAX_PLAIN_BYTES + READ_BYTES
        assert len(scene.connection._received) <= 2 * (MAX_PLAIN_BYTES + READ_BYTES)
        assert scene.client_may_send() == (unused(scene) <= MAX_PLAIN_BYTES)
        scene.clock.turn()
    while scene.clock.turns():
        pass
    assert served(scene) == sent // len(OWN)
    assert unused(scene) == sent % len(OWN)
    assert scene.client_may_send()


async def test_requests_that_wait_are_not_copied_for_each_one(scene: FastPathScene) -> None:
    scene.connection.data_received(OWN * 1000)
    kept = scene.connection._received
    for _ in range(900):
        scene.clock.turn()
        assert scene.connection._received is kept


async def test_more_bytes_do_not_bring_a_turn_forward(scene: FastPathScene) -> None:
    scene.connection.data_received(OWN + OWN)
    for _ in range(20):
        scene.connection.data_received(OWN)
    assert served(scene) == 1
    assert scene.clock.turns() == 21
    assert served(scene) == 22


async def test_forwarded_and_own_responses_keep_their_order(scene: FastPathScene) -> None:
    scene.connection.data_received(OWN + GET + OWN + GET[:9])
    scene.clock.turns()
    assert served(scene) == 1
    scene.origin.data_received(RESPONSE)
    scene.clock.turns()
    assert served(scene) == 3
    scene.connection.data_received(GET[9:])
    scene.origin.data_received(RESPONSE)
    assert served(scene) == 4
    assert scene.upstream.written.count(b"GET / ") == 2


# A client that reads nothing


async def test_client_that_reads_nothing_gets_no_further_response(scene: FastPathScene) -> None:
    scene.connection.data_received(OWN * 1000)
    scene.client.unread = 100_000
    scene.connection.pause_writing()  # while the next request waits for its turn
    scene.clock.turns()
    scene.connection.data_received(OWN)
    scene.clock.turns()
    assert served(scene) == 1
    assert not scene.client_may_send()
    scene.clock.advance(WRITE_TIMEOUT_S - 1)
    assert scene.end() == ""
    scene.clock.advance(1)
    assert scene.end() == "aborted"
    scene.connection.data_received(OWN)
    assert unused(scene) == 0


async def test_pause_after_the_last_response_stops_the_next_request(scene: FastPathScene) -> None:
    """Also if that request is for the origin, whose response would not be paused."""
    scene.connection.data_received(OWN)
    scene.client.unread = 100_000
    scene.connection.pause_writing()
    scene.connection.data_received(GET)
    assert scene.upstream.written == b""
    scene.client.unread = 0
    scene.connection.resume_writing()
    scene.clock.turns()
    assert scene.upstream.written != b""
    scene.origin.data_received(RESPONSE)
    assert served(scene) == 2


async def test_client_that_reads_again_gets_every_response(scene: FastPathScene) -> None:
    scene.connection.data_received(OWN * 300)
    for _ in range(10):
        scene.clock.turn()
        scene.client.unread = 100_000
        scene.connection.pause_writing()
        scene.clock.turns()
        scene.clock.advance(WRITE_TIMEOUT_S - 1)
        scene.connection.resume_writing()
    scene.clock.turns()
    assert served(scene) == 300
    assert scene.end() == ""


async def test_idle_client_that_read_nothing_is_reset_once(scene: FastPathScene) -> None:
    scene.connection.data_received(OWN)
    scene.client.unread = 100_000
    scene.connection.pause_writing()
    scene.clock.advance(WRITE_TIMEOUT_S)
    assert scene.end() == "aborted"  # and not closed after the same time again
    assert WRITE_TIMEOUT_S < CLIENT_S


# The end


async def test_shutdown_serves_no_request_that_waits_for_its_turn(scene: FastPathScene) -> None:
    scene.connection.data_received(OWN * 5)
    scene.server.closing = True
    scene.clock.turns()
    assert served(scene) == 1
    assert scene.end() == "closed"


@pytest.mark.parametrize("end", ["lost", "aborted"])
async def test_turn_of_an_ended_connection_does_nothing(end: str, scene: FastPathScene) -> None:
    scene.connection.data_received(OWN * 5)
    if end == "lost":
        scene.connection.connection_lost(None)
    else:
        scene.connection.abort()
    scene.clock.turns()
    assert served(scene) == 1


async def test_rest_that_is_not_plain_is_handed_over_once_and_whole(scene: FastPathScene) -> None:
    rest = b"PUT / HTTP/1.1\r\n\r\n" + OWN * 500
    scene.connection.data_received(OWN * 20 + rest)
    scene.clock.turns()
    assert served(scene) == 20
    assert scene.aiohttp.taken == rest
    assert scene.client_may_send()


# The path with aiohttp


@given(st.binary(max_size=20), st.sampled_from([b"", b"\r\n\r\n", b"GET"]), st.booleans())
def test_head_at_an_offset_is_read_as_if_it_were_first(
    before: bytes, after: bytes, has_begun: bool
) -> None:
    data = b"\n\r\n" + OWN.replace(b"own", "größe".encode()) + after
    readers = HeadReader(), HeadReader()
    if has_begun:
        for reader in readers:
            reader.take(b"G")
    assert readers[0].take(before + data, len(before)) == readers[1].take(data)
    assert readers[0].head == readers[1].head
    assert cast(bytes, readers[0].head).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("waiting", [0, 1])
async def test_aiohttp_yields_before_a_request_that_others_follow(
    waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python 3.12 on, aiohttp runs a request at once up to its first wait."""
    began: list[object] = []

    async def handle(_: RequestHandler, request: object) -> None:
        began.append(request)

    monkeypatch.setattr(RequestHandler, "_handle_request", handle)
    handler = ConnectionHandler(Server(cast(Any, None)))
    handler._messages.extend([cast(Any, None)] * waiting)
    serving = handler._handle_request("a request")
    if waiting:
        assert serving.send(None) is None
        assert began == []
    with pytest.raises(StopIteration):
        serving.send(None)
    assert began == ["a request"]
