"""Connections that the event loop has accepted, and whose TLS handshake has not ended."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from time import monotonic

import pytest

from gatekeeper.proxy.fastpath.handshakes import Handshakes
from tests.servers import eventually


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        yield bound


class Transport(asyncio.BaseTransport):
    """Of an accepted connection whose handshake is done."""

    def __init__(self, accepted: socket.socket) -> None:
        self._accepted = accepted

    def get_extra_info(self, name: str, _default: object = None) -> socket.socket:
        assert name == "socket"
        return self._accepted


def handshakes_of(
    listener: socket.socket, *newest: socket.socket, clock_s: Callable[[], float] = monotonic
) -> Handshakes:
    most = max(each.fileno() for each in (listener, *newest)) + 1
    return Handshakes(lambda: int(listener.getsockname()[1]), file_limit=most, clock_s=clock_s)


async def test_only_a_handshake_of_the_listener_is_found(listener: socket.socket) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(listener.getsockname()) as client,
        socket.create_connection(other.getsockname()) as other_client,
        listener.accept()[0] as begun,
        other.accept()[0] as of_other,
    ):
        handshakes = handshakes_of(listener, other, client, other_client, begun, of_other)
        [found] = handshakes.find()
        assert found.number == begun.fileno()
        found.evict()
        client.settimeout(5)
        assert client.recv(1) == b""
        assert begun.fileno() == found.number  # the event loop closes it


async def test_connection_is_no_handshake_and_its_number_may_be_used_again(
    listener: socket.socket,
) -> None:
    with (
        socket.create_connection(listener.getsockname()) as client,
        socket.create_connection(listener.getsockname()) as next_client,
    ):
        accepted, _ = listener.accept()
        number = accepted.fileno()
        handshakes = handshakes_of(listener, client, next_client, accepted)
        handshakes.end(Transport(accepted))
        assert list(handshakes.find()) == []
        accepted.close()
        with listener.accept()[0] as next_accepted:
            assert next_accepted.fileno() == number
            [found] = await eventually(lambda: list(handshakes.find()))
            assert found.number == number


def test_age_counts_from_the_first_look_and_looks_pause(listener: socket.socket) -> None:
    times_s = iter((10.0, 11.0, 19.9, 20.0, 21.0))  # a look reads the clock as it begins and ends
    with (
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as accepted,
    ):
        handshakes = handshakes_of(listener, client, accepted, clock_s=lambda: next(times_s))
        [first] = handshakes.find()
        assert first.idle_since_s == 10.0
        assert list(handshakes.find()) == []
        assert list(handshakes.find()) == [first]
