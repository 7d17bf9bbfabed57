"""The queue as server-sent events: `GET status` as a stream."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import trustme

from gatekeeper.config.types import RoomName
from gatekeeper.policy import rules
from gatekeeper.policy.phase import Mode
from gatekeeper.web import stream
from tests.gates import Gate, GateStarter, Visitor
from tests.servers import StoreServer, eventually

PATH = "/.gatekeeper/status"
WITHIN_S = 30


async def streaming_gate(
    start_gate: GateStarter, *, events_url: str | None = None, **keys: Any
) -> Gate:
    """A gate that admits only by grants, with streams."""
    store = '[store]\ntimeout = "300ms"\n'
    return await start_gate(store, events_url=events_url, rate="0", updates="stream", **keys)


async def line_up(count: int, *gates: Gate) -> list[Visitor]:
    """New visitors, in the order in which they arrived at the first gate."""
    visitors = [gates[0].visitor(*gates[1:]) for _ in range(count)]
    for visitor in visitors:
        assert (await visitor.join())["state"] == "waiting"
    return visitors


class EventReader:
    """The events of one stream, in order."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.headers = response.headers
        self.retries: list[int] = []

    async def next(self) -> tuple[str, dict[str, Any]] | None:
        """An event's name and data; None when the stream has ended."""
        name, data = "", ""
        async with asyncio.timeout(WITHIN_S):
            async for raw in self.response.content:
                field, _, value = raw.decode().rstrip("\n").partition(": ")
                match field:
                    case "event":
                        name = value
                    case "data":
                        data = value
                    case "retry":
                        self.retries.append(int(value))
                    case "" if name:
                        return name, json.loads(data)
        return None

    async def until(self, name: str, **wanted: object) -> dict[str, Any]:
        while (events := await self.next()) is not None:
            if events[0] == name and wanted.items() <= events[1].items():
                return events[1]
        raise AssertionError(f"the stream ended without {name}")


@asynccontextmanager
async def streaming(visitor: Visitor, *, at: int = 0) -> AsyncIterator[EventReader]:
    headers = {"Accept": stream.EVENT_STREAM}
    async with visitor.session.get(visitor.urls[at] + PATH, headers=headers) as response:
        assert response.content_type == stream.EVENT_STREAM
        yield EventReader(response)


async def test_first_event_equals_a_poll(events_url: str, start_gate: GateStarter) -> None:
    gate = await streaming_gate(start_gate, events_url=events_url)
    _, second = await line_up(2, gate)
    async with streaming(second) as events:
        assert events.headers["Cache-Control"] == "no-store"
        assert events.headers["X-Accel-Buffering"] == "no"
        place = await events.until("place")
        assert place.pop("released_total") == 0
        assert place == await second.status()
        assert place["position"] == 2


async def test_release_at_another_replica_is_streamed(
    events_url: str, start_gate: GateStarter
) -> None:
    here = await streaming_gate(start_gate, events_url=events_url)
    there = await streaming_gate(start_gate, events_url=events_url)
    first, second = await line_up(2, here)
    async with streaming(first) as first_events, streaming(second) as second_events:
        assert (await second_events.until("place"))["ahead"] == 1
        await there.allow(1)
        await first_events.until("admitted")
        assert await first_events.next() is None
        assert (await second_events.until("room", released_total=1))["released_total"] == 1
        assert (await here.queue.read_state()).expected == 1  # a stream claims nothing
        assert (await first.status())["state"] == "admitted"
        assert (await first.get())[0] == 200


async def test_operator_message_is_streamed(events_url: str, start_gate: GateStarter) -> None:
    gate = await streaming_gate(start_gate, events_url=events_url)
    [visitor] = await line_up(1, gate)
    async with streaming(visitor) as events:
        await events.until("place")
        await gate.queue.set_message("The doors open at ten.")
        await events.until("room", message="The doors open at ten.")
        await gate.queue.set_mode(Mode.HOLD)
        await events.until("room", phase="held")


async def deadlines(gate: Gate) -> list[float]:
    """The deadline of the next poll of each visitor, in the order of the line."""
    store, (queue, deadlines, *_) = gate.queue._store, gate.queue._keys
    visitors = list(await store.scores(queue, since=0, limit=10))
    found = await store.values(deadlines, visitors)
    return [float(found[visitor]) for visitor in visitors]


async def test_open_stream_is_a_heartbeat(events_url: str, start_gate: GateStarter) -> None:
    keys = {"claim_timeout": "3s", "confirm_timeout": "1s"}  # heartbeats are a second apart
    gate = await streaming_gate(start_gate, events_url=events_url, **keys)
    _, connected = await line_up(2, gate)
    async with streaming(connected) as events:
        assert (await events.until("place"))["position"] == 2
        before = await deadlines(gate)

        async def is_extended() -> bool:  # without a poll
            return (await deadlines(gate))[1] >= before[1] + 5  # tenths of a second

        await eventually(is_extended)
        assert (await deadlines(gate))[0] == before[0]

        [silent, _] = await gate.queue._store.scores(gate.queue._keys[0], since=0, limit=10)
        call = gate.queue._store._call  # type: ignore[attr-defined]
        await call("HSET", gate.queue._keys[1], silent, "0")  # the deadline has passed
        async with asyncio.timeout(WITHIN_S):
            await events.until("place", position=1)
        assert (await gate.queue.read_state()).abandoned_total == 1


async def test_stream_ends_when_its_visitor_leaves(
    events_url: str, start_gate: GateStarter
) -> None:
    gate = await streaming_gate(start_gate, events_url=events_url)
    [visitor] = await line_up(1, gate)
    async with streaming(visitor) as events:
        await events.until("place")
        assert (await visitor.leave()).json == {"state": "none"}
        await events.until("gone")
        assert await events.next() is None


async def test_stream_beyond_limit_is_204(
    events_url: str, monkeypatch: pytest.MonkeyPatch, start_gate: GateStarter
) -> None:
    monkeypatch.setattr(stream, "MAX_STREAMS", 1)
    headers = {"Accept": stream.EVENT_STREAM}
    gate = await streaming_gate(start_gate, events_url=events_url)
    first, second = await line_up(2, gate)
    async with Visitor(gate) as nobody:
        assert (await nobody.request("GET", PATH, headers=headers)).status == 204
        async with streaming(first):
            refused = await second.request("GET", PATH, headers=headers)
            assert (refused.status, refused.body) == (204, b"")
            assert "Content-Length" not in refused.headers
        assert (await second.status())["position"] == 2


async def test_stream_ends_cleanly_with_its_worker(
    events_url: str, start_gate: GateStarter
) -> None:
    gate = await streaming_gate(start_gate, events_url=events_url)
    [visitor] = await line_up(1, gate)
    async with streaming(visitor) as events:
        await events.until("place")
        await gate.worker.close()
        while await events.next() is not None:
            pass
        assert len(events.retries) == 2
        assert events.response.content.is_eof()
        assert events.response.content.exception() is None


async def test_stream_of_client_that_does_not_read_is_dropped(
    events_url: str, monkeypatch: pytest.MonkeyPatch, start_gate: GateStarter
) -> None:
    monkeypatch.setattr(stream, "_TICK_S", 0.005)
    gate = await streaming_gate(start_gate, events_url=events_url)
    [visitor] = await line_up(1, gate)
    at = urlsplit(gate.url)
    [(name, value)] = visitor.cookies().items()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (at.hostname, at.port))
        head = (
            f"GET {PATH} HTTP/1.1\r\nHost: {at.netloc}\r\nCookie: {name}={value}\r\n"
            f"Accept: {stream.EVENT_STREAM}\r\n\r\n"
        )
        await loop.sock_sendall(client, head.encode())
        streams = gate.worker.streams
        await loop.sock_recv(client, 1)  # the stream has begun
        number = 0
        async with asyncio.timeout(WITHIN_S):
            while len(streams):  # each message of 500 letters is sent to all
                number += 1
                await gate.queue.set_message(f"{number:0500}")


async def test_stream_ends_when_revoked_at_another_replica(
    events_url: str, room_name: RoomName, start_gate: GateStarter
) -> None:
    here = await streaming_gate(start_gate, events_url=events_url)
    there = await streaming_gate(start_gate, events_url=events_url)
    [visitor] = await line_up(1, here)
    async with streaming(visitor) as events:
        await events.until("place")
        [stream_] = here.worker.streams._rooms[room_name].streams
        await there.room().leave([stream_.ticket.visitor])
        await events.until("gone")
        assert await events.next() is None
        assert (await visitor.status())["state"] == "none"


async def test_stream_without_events_ends_by_next_heartbeat(
    start_gate: GateStarter,
) -> None:
    keys = {"heartbeat_timeout": "3s", "confirm_timeout": "1s"}  # heartbeats are a second apart
    here = await streaming_gate(start_gate, **keys)
    there = await streaming_gate(start_gate, **keys)
    [visitor] = await line_up(1, here, there)
    async with streaming(visitor) as events:
        await events.until("place")
        await visitor.leave(at=1)
        await events.until("gone")
        assert await events.next() is None


async def test_stream_ends_at_its_limit_and_next_one_continues(
    events_url: str, monkeypatch: pytest.MonkeyPatch, start_gate: GateStarter
) -> None:
    monkeypatch.setattr(rules, "_STREAM_LIFE_S", 1.0)
    gate = await streaming_gate(start_gate, events_url=events_url)
    _, second = await line_up(2, gate)
    async with streaming(second) as events:
        while (event := await events.next()) is not None:
            assert event[0] in {"place", "room"}
        assert len(events.retries) == 2
    async with streaming(second) as events:
        assert (await events.until("place"))["position"] == 2


async def test_stream_keeps_place_while_store_is_unreachable(
    private_store: StoreServer, start_gate: GateStarter
) -> None:
    keys = {"heartbeat_timeout": "3s", "confirm_timeout": "1s"}
    gate = await streaming_gate(start_gate, **keys)
    [visitor] = await line_up(1, gate)
    async with streaming(visitor) as events:
        await events.until("place", position=1)
        private_store.pause()
        await events.until("place", position=None, reason="reconnecting", eta_seconds=None)
        private_store.resume()
        await events.until("place", position=1, reason="held")


async def test_stream_below_watermark_admits_without_store(
    private_store: StoreServer, start_gate: GateStarter
) -> None:
    keys = {"heartbeat_timeout": "6s", "confirm_timeout": "1s"}
    gate = await streaming_gate(start_gate, **keys)
    [visitor] = await line_up(1, gate)
    room = gate.room()
    async with streaming(visitor) as events:
        await events.until("place", position=1)
        private_store.pause()
        await eventually(lambda: not room.view.store_up)
        held = room.view.state
        assert held is not None
        by_event = replace(held, version=held.version + 1, watermark_us=held.last_arrival_us)
        room.receive_state(by_event, sent_at_s=room.view.now_s())
        await events.until("admitted")
        assert await events.next() is None
    assert (await visitor.status())["state"] == "admitted"


async def test_stream_works_over_tls(
    events_url: str, tmp_path: Path, start_gate: GateStarter
) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tls = f'[server]\ntls_cert = "{tmp_path}/cert.pem"\ntls_key = "{tmp_path}/key.pem"\n'
    context = ssl.create_default_context()
    authority.configure_trust(context)
    gate = await start_gate(tls, events_url=events_url, rate="0", updates="stream")
    visitor = gate.visitor(tls=context)
    await visitor.get()
    async with streaming(visitor) as events:
        await events.until("place", position=1)
        await gate.allow(1)
        await events.until("admitted")
        assert await events.next() is None


async def test_one_ticket_cannot_take_every_stream(
    events_url: str, start_gate: GateStarter
) -> None:
    """Tabs of one browser have streams up to the limit; further tabs poll. Other visitors keep
    their streams, and a closed tab frees one."""
    gate = await streaming_gate(start_gate, events_url=events_url)
    greedy, other = await line_up(2, gate)
    limit = stream.MAX_STREAMS_PER_VISITOR
    headers = {"Accept": stream.EVENT_STREAM}
    open_ = [await greedy.session.get(greedy.urls[0] + PATH, headers=headers) for _ in range(limit)]
    assert [response.status for response in open_] == [200] * limit
    for _ in range(3):
        async with greedy.session.get(greedy.urls[0] + PATH, headers=headers) as refused:
            assert refused.status == 204  # an EventSource stops, and the page polls
    assert (await greedy.status())["position"] == 1
    async with streaming(other) as events:
        assert (await events.until("place"))["position"] == 2
    await eventually(lambda: len(gate.worker.streams) == limit)
    open_[0].close()
    await eventually(lambda: len(gate.worker.streams) == limit - 1)
    async with streaming(greedy) as events:
        assert (await events.until("place"))["position"] == 1
    for response in open_[1:]:
        response.close()
    await eventually(lambda: len(gate.worker.streams) == 0)
    assert not any(room._per_visitor for room in gate.worker.streams._rooms.values())
