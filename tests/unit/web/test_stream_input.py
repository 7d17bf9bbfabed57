"""Data that a client sends on its event stream is dropped; a client that sends much is
disconnected."""

import socket
from typing import Any, cast

import pytest

from gatekeeper.web import stream
from gatekeeper.web.stream import Stream
from tests.conformance.fast_path_scene import Transport


class SendingTransport(Transport):
    family = socket.AF_INET  # this object is its own socket

    def set_write_buffer_limits(self, *, high: int) -> None:
        """Not needed."""


class Room:
    def add(self, _: Stream) -> None:
        """Not needed."""


@pytest.mark.parametrize(
    ("sizes", "end"),
    [
        ([stream._MAX_IGNORED_BYTES], ""),
        ([1] * 1000, ""),
        ([stream._MAX_IGNORED_BYTES + 1], "aborted"),
        ([stream._MAX_IGNORED_BYTES // 8] * 9, "aborted"),
    ],
)
def test_client_that_sends_much_on_a_stream_is_reset(sizes: list[int], end: str) -> None:
    transport = SendingTransport()
    connection = Stream(cast(Any, Room()), cast(Any, None), first=b"")
    connection.connection_made(cast(Any, transport))
    for size in sizes:
        connection.data_received(b"x" * size)
    assert transport.ended == end
