"""The read timeout of an origin connection during a slow upload."""

import asyncio

import pytest

from gatekeeper.errors import OriginTimeout
from gatekeeper.proxy.upstream import OriginConnection

TIMEOUT_S = 0.02


class SlowTransport(asyncio.Transport):
    """A transport whose peer reads one byte per call, until it stops."""

    def __init__(self, unsent: int, *, stops_at: int) -> None:
        super().__init__()
        self.unsent = unsent
        self.stops_at = stops_at

    def get_write_buffer_size(self) -> int:
        self.unsent = max(self.unsent - 1, self.stops_at)
        return self.unsent

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize("takes", [0, 3])
async def test_slow_upload_times_out_when_it_stops(takes: int) -> None:
    connection = OriginConnection(read_timeout_s=TIMEOUT_S, on_lost=lambda _: None)
    transport = SlowTransport(10, stops_at=9 - takes)
    connection.connection_made(transport)
    connection.begin()
    connection.pause_writing()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    with pytest.raises(OriginTimeout):
        await connection.changed()
    assert transport.unsent == 9 - takes
    assert loop.time() - began_s >= TIMEOUT_S * (takes + 1) * 0.9
