"""Timeouts and bounds of the fast path, with a simulated clock and transports."""

import gc
from typing import Any, cast

import pytest

from gatekeeper.errors import OriginError, OriginProtocolError, OriginTimeout
from gatekeeper.proxy.fastpath.client_connection import ClientConnection
from gatekeeper.proxy.plain_head import MAX_PLAIN_BYTES
from tests.conformance.fast_path_scene import (
    CLIENT_S,
    GET,
    IDLE_S,
    ORIGIN_S,
    FastPathScene,
    Transport,
)

BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@pytest.fixture
async def scene() -> FastPathScene:
    return FastPathScene()


OTHER = b"GET /other HTTP/1.1\r\nHost: shop.example\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "recalled"),
    [
        ([GET], [GET]),
        ([OTHER], [OTHER]),
        ([OTHER + GET], [OTHER + GET, OTHER, GET]),
        ([OTHER[:9], OTHER[9:]], [OTHER[:9], OTHER]),
    ],
    ids=["known", "unknown", "two heads", "in parts"],
)
async def test_known_plan_is_looked_for_once_in_the_same_bytes(
    scene: FastPathScene, pieces: list[bytes], recalled: list[bytes]
) -> None:
    for piece in pieces:
        scene.connection.data_received(piece)
    scene.origin.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    scene.clock.turn()
    assert scene.policy.recalled == recalled


def _connections() -> int:
    return sum(isinstance(each, ClientConnection) for each in gc.get_objects())


async def test_closed_connection_needs_no_garbage_collector(
    scene: FastPathScene,
) -> None:
    """Many connections serve only one request; garbage collection would cost more than that
    request."""
    gc.disable()
    try:
        scene.connection.data_received(GET)
        scene.origin.data_received(BEGUN)
        scene.connection.abort()
        scene.connection.connection_lost(None)
        scene.clock.advance(IDLE_S)  # past the timers that were cancelled
        before = _connections()
        del scene.connection
        assert _connections() == before - 1
    finally:
        gc.enable()


async def test_client_pause_suspends_origin_timeout(scene: FastPathScene) -> None:
    scene.connection.data_received(GET)
    scene.origin.data_received(BEGUN)
    scene.client.unread = 100_000
    scene.connection.pause_writing()
    assert not scene.origin_may_send()
    scene.clock.advance(ORIGIN_S + 9)
    assert scene.end() == ""
    scene.client.unread = 0
    scene.connection.resume_writing()
    assert scene.origin_may_send()
    scene.clock.advance(ORIGIN_S - 1)
    assert scene.end() == ""
    scene.clock.advance(ORIGIN_S)
    assert scene.end() == "aborted"  # this time because the origin was silent


async def test_slow_client_gets_full_timeout_after_idling(scene: FastPathScene) -> None:
    scene.clock.advance(IDLE_S - 1)
    scene.connection.data_received(GET)
    scene.origin.data_received(BEGUN)
    scene.client.unread = 100_000
    scene.connection.pause_writing()
    scene.clock.advance(CLIENT_S - 1)
    assert scene.end() == ""


async def test_slow_client_is_kept_and_stopped_client_dropped(
    scene: FastPathScene,
) -> None:
    scene.connection.data_received(GET)
    scene.origin.data_received(BEGUN)
    scene.client.unread = 100_000
    scene.connection.pause_writing()
    for _ in range(10):
        scene.client.unread -= 1
        scene.clock.advance(CLIENT_S)
        assert scene.end() == ""
    scene.clock.advance(2 * CLIENT_S)
    assert scene.end() == "aborted"


async def test_closed_connection_with_unread_bytes_times_out(scene: FastPathScene) -> None:
    scene.client.unread = 1
    scene.connection.close_if_idle()
    assert scene.end() == "closed"
    assert scene.connection in scene.server.connections  # the shutdown of the worker waits for it
    scene.clock.advance(CLIENT_S)
    assert scene.end() == "aborted"
    scene.connection.connection_lost(None)
    assert not scene.server.connections


async def test_lost_connection_leaves_no_timer(scene: FastPathScene) -> None:
    scene.client.unread = 1
    scene.connection.close_if_idle()
    scene.connection.connection_lost(None)
    assert all(timer.cancelled for timer in scene.clock.timers)


async def test_pipelining_beyond_limit_pauses_reading(scene: FastPathScene) -> None:
    scene.connection.data_received(GET + GET)
    scene.connection.data_received(GET * 10)
    assert scene.client_may_send()
    scene.connection.data_received(b"x" * MAX_PLAIN_BYTES)
    assert not scene.client_may_send()
    responses = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    for _ in range(12):
        assert not scene.client_may_send()  # the rest is more than a head
        scene.origin.data_received(responses)
        scene.clock.turn()
    assert scene.client.written == responses * 12
    assert scene.client_may_send()
    assert scene.aiohttp.taken == b"x" * MAX_PLAIN_BYTES


async def test_idle_connection_keeps_nothing_of_a_request(scene: FastPathScene) -> None:
    scene.connection.data_received(GET)
    scene.origin.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    held = [getattr(scene.connection, name) for name in ("_head", "_received", "_partial_head")]
    assert held == [b"", b"", b""]
    assert (scene.connection._plan, scene.connection._body) == (None, None)


async def test_client_slow_at_interim_response_is_handed_over_paused(scene: FastPathScene) -> None:
    scene.connection.data_received(GET)
    scene.origin.data_received(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    scene.connection.pause_writing()
    scene.origin.data_received(b"nonsense\r\n\r\n")
    assert scene.aiohttp.taken == GET
    assert scene.aiohttp.paused
    assert isinstance(scene.aiohttp.failure, OriginError)


async def test_silent_origin_is_handed_over_as_timeout(scene: FastPathScene) -> None:
    scene.connection.data_received(GET + GET[:10])
    scene.clock.advance(ORIGIN_S)
    assert isinstance(scene.aiohttp.failure, OriginTimeout)
    assert scene.aiohttp.taken == GET + GET[:10]
    assert scene.client.protocol is scene.aiohttp


async def test_origin_closed_before_request_is_protocol_error(scene: FastPathScene) -> None:
    scene.origin.eof_received()
    scene.connection.data_received(GET)
    assert isinstance(scene.aiohttp.failure, OriginProtocolError)
    assert scene.upstream.written == b""


async def test_begun_head_that_is_not_plain_is_handed_over_at_once(scene: FastPathScene) -> None:
    scene.connection.data_received(b"GET / HTTP/1.1\r\nHost: a")
    assert scene.aiohttp.taken == b""
    scene.connection.data_received(b"\nX: b")
    assert scene.aiohttp.taken == b"GET / HTTP/1.1\r\nHost: a\nX: b"


async def test_connection_accepted_while_closing_is_closed(scene: FastPathScene) -> None:
    await scene.server.close(0.01)
    late = Transport()
    scene.server().connection_made(cast(Any, late))
    assert late.ended == "closed"
    assert not scene.server.connections
