"""The line told instead of asked for: `GET status` as server-sent events."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from gatekeeper.config import RoomName
from gatekeeper.web import stream
from tests.gates import Gate, Origin, Visitor, room, running_gate

STREAMED: dict[str, str] = {"rate": "0", "updates": "stream"}  # only what is granted
PATH = "/.gatekeeper/status"
WITHIN_S = 10


@asynccontextmanager
async def gate_of(
    name: RoomName, *, store_url: str, events_url: str, **keys: str
) -> AsyncIterator[Gate]:
    async with (
        Origin.running() as origin,
        running_gate(
            room(name, **STREAMED | keys),
            store_url=store_url,
            events_url=events_url,
            origin_url=origin.url,
        ) as gate,
    ):
        yield gate


@asynccontextmanager
async def line_of(count: int, *gates: Gate) -> AsyncIterator[list[Visitor]]:
    visitors = [Visitor(*gates) for _ in range(count)]
    try:
        for visitor in visitors:
            assert (await visitor.get())[0] == 503
        yield visitors
    finally:
        for visitor in visitors:
            await visitor.session.close()


class Told:
    """The events of one stream, as they come."""

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
        while (told := await self.next()) is not None:
            if told[0] == name and wanted.items() <= told[1].items():
                return told[1]
        raise AssertionError(f"the stream ended without {name}")


@asynccontextmanager
async def streaming(visitor: Visitor, *, at: int = 0) -> AsyncIterator[Told]:
    headers = {"Accept": stream.EVENT_STREAM}
    async with visitor.session.get(visitor.urls[at] + PATH, headers=headers) as response:
        assert response.content_type == stream.EVENT_STREAM
        yield Told(response)


async def test_the_first_event_is_the_answer_of_a_poll(
    store_url: str, events_url: str, room_name: RoomName
) -> None:
    async with (
        gate_of(room_name, store_url=store_url, events_url=events_url) as gate,
        line_of(2, gate) as (_, second),
        streaming(second) as told,
    ):
        assert told.headers["Cache-Control"] == "no-store"
        assert told.headers["X-Accel-Buffering"] == "no"
        place = await told.until("place")
        assert place.pop("released_total") == 0
        assert place == await second.status()
        assert place["position"] == 2


async def test_whoever_is_released_anywhere_is_told_and_enters_and_the_others_count_on(
    store_url: str, events_url: str, room_name: RoomName
) -> None:
    async with (
        gate_of(room_name, store_url=store_url, events_url=events_url) as here,
        gate_of(room_name, store_url=store_url, events_url=events_url) as there,
        line_of(2, here) as (first, second),
        streaming(first) as told_first,
        streaming(second) as told_second,
    ):
        assert (await told_second.until("place"))["ahead"] == 1
        await there.allow(room_name, 1)
        await told_first.until("admitted")
        assert await told_first.next() is None
        assert (await told_second.until("room", released_total=1))["released_total"] == 1
        assert (await here.room(room_name).queue.look()).expected == 1  # it claimed nothing
        assert (await first.status())["state"] == "admitted"
        assert (await first.get())[0] == 200


async def test_a_message_reaches_all_who_are_connected(
    store_url: str, events_url: str, room_name: RoomName
) -> None:
    async with (
        gate_of(room_name, store_url=store_url, events_url=events_url) as gate,
        line_of(1, gate) as (visitor,),
        streaming(visitor) as told,
    ):
        await told.until("place")
        await gate.room(room_name).queue.set_message("The doors open at ten.")
        await told.until("room", message="The doors open at ten.")


async def test_who_is_connected_keeps_the_place_without_a_poll(
    store_url: str, events_url: str, room_name: RoomName
) -> None:
    keys = {"abandon_after": "3s", "prove_within": "1s"}
    async with (
        gate_of(room_name, store_url=store_url, events_url=events_url, **keys) as gate,
        line_of(2, gate) as (silent, connected),
        streaming(connected) as told,
    ):
        assert (await told.until("place"))["position"] == 2
        began_s = gate.now_s()
        while gate.now_s() < began_s + 3.5:  # of no poll
            place = await told.until("place")
        assert place["position"] == 1  # who is silent was swept
        assert (await gate.room(room_name).queue.look()).abandoned_total == 1
        assert silent.cookies()


async def test_one_who_leaves_is_told_and_the_stream_ends(
    store_url: str, events_url: str, room_name: RoomName
) -> None:
    async with (
        gate_of(room_name, store_url=store_url, events_url=events_url) as gate,
        line_of(1, gate) as (visitor,),
        streaming(visitor) as told,
    ):
        await told.until("place")
        assert (await visitor.ask("POST", "/.gatekeeper/leave")).json == {"state": "none"}
        await told.until("gone")
        assert await told.next() is None


async def test_whoever_gets_no_stream_is_told_to_stop_trying(
    store_url: str, events_url: str, room_name: RoomName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_STREAMS", 1)
    headers = {"Accept": stream.EVENT_STREAM}
    async with (
        gate_of(room_name, store_url=store_url, events_url=events_url) as gate,
        line_of(2, gate) as (first, second),
        Visitor(gate) as nobody,
    ):
        assert (await nobody.ask("GET", PATH, headers=headers)).status == 204
        async with streaming(first):
            refused = await second.ask("GET", PATH, headers=headers)
            assert (refused.status, refused.body) == (204, b"")
            assert "Content-Length" not in refused.headers
        assert (await second.status())["position"] == 2


async def test_a_stream_ends_in_good_order_with_its_worker(
    store_url: str, events_url: str, room_name: RoomName
) -> None:
    async with (
        gate_of(room_name, store_url=store_url, events_url=events_url) as gate,
        line_of(1, gate) as (visitor,),
        streaming(visitor) as told,
    ):
        await told.until("place")
        await gate.worker.close()
        while await told.next() is not None:
            pass
        assert len(told.retries) == 2
        assert told.response.content.is_eof()
        assert told.response.content.exception() is None


async def test_a_client_that_takes_nothing_is_dropped(
    store_url: str, events_url: str, room_name: RoomName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_BEAT_S", 0.005)
    async with (
        gate_of(room_name, store_url=store_url, events_url=events_url) as gate,
        line_of(1, gate) as (visitor,),
    ):
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
            await loop.sock_recv(client, 1)  # it has begun
            number = 0
            async with asyncio.timeout(WITHIN_S):
                while len(streams):  # each message of 500 letters is news to all
                    number += 1
                    await gate.room(room_name).queue.set_message(f"{number:0500}")
