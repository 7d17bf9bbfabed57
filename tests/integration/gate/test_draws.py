"""The public record of a draw: the commitment before the start, then everything for a
verification."""

import asyncio
import hashlib
import hmac
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from yarl import URL

from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import LineFull
from gatekeeper.policy.draw import drawn_turn_us, hashed_turn_us
from gatekeeper.policy.draw_record import DrawRecord, parse_record
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.schedule import Event
from gatekeeper.policy.tokens import new_visitor_id
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest
from gatekeeper.simulate.draw_check import check_draw, remote_draw
from gatekeeper.web import draws
from tests.beacon_server import FakeBeacon
from tests.builders import SECRET
from tests.gates import Gate, GateStarter, Response, Visitor
from tests.servers import StoreServer, eventually

PATH = "/.gatekeeper/draw/sale"
LIST = f"{PATH}/participants"


def event_toml(room: RoomName, *, name: str = "sale", begins_in_s: float = -60, **keys: str) -> str:
    """A prequeue that lasts an hour; `open_now` ends it like an operator."""
    begins_s = round(time.time() + begins_in_s, 3)
    times = {"prequeue": begins_s, "start": begins_s + 3600, "end": begins_s + 7200}
    spelled = {each: datetime.fromtimestamp(at, UTC).isoformat() for each, at in times.items()}
    lines = [f"{each} = {at}" for each, at in spelled.items()]
    lines += [f"{each} = {json.dumps(value)}" for each, value in keys.items()]
    return "\n".join(["[[event]]", f'name = "{name}"', f'room = "{room}"', *lines, ""])


async def open_now(gate: Gate) -> Event:
    """After the last arrival so far."""
    state = await gate.queue.read_state()
    event = state.schedule.find("sale")
    assert event is not None
    opened = replace(event, start_us=max(state.now_us, state.last_arrival_us + 1))
    await gate.queue.change_events(state.schedule, state.schedule.with_event(opened))
    gate.room().wake()
    return opened


async def fill(gate: Gate, count: int) -> list[str]:
    """Visitors who joined the line, without an HTTP client for each."""
    queue, visitors = gate.queue, [new_visitor_id() for _ in range(count)]
    for first in range(0, count, 500):
        portion = visitors[first : first + 500]
        places = await asyncio.gather(*map(queue.arrive, map(ArrivalRequest, portion)))
        await asyncio.gather(
            *(
                queue.poll(PollRequest(visitor, PROVISIONAL_US + place.turn_us, has_pass=False))
                for visitor, place in zip(portion, places, strict=True)
                if not isinstance(place, LineFull)
            )
        )
    return [str(visitor) for visitor in visitors]


def knows_the_draw(gate: Gate) -> bool:
    state = gate.room().view.state
    event = None if state is None else state.schedule.find("sale")
    return event is not None and event.drawn is not None


async def record_of(visitor: Visitor, path: str = PATH) -> DrawRecord:
    return parse_record((await visitor.request("GET", path)).json)


async def drawn(visitor: Visitor) -> DrawRecord:
    async def record_if_drawn() -> DrawRecord | None:
        record = await record_of(visitor)
        return record if record.state == "drawn" else None

    found: DrawRecord = await eventually(record_if_drawn)
    return found


async def test_draw_can_be_checked_by_anyone(
    start_gate: GateStarter, room_name: RoomName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commitment, start, list, verification and order."""
    monkeypatch.setattr(draws, "_PAUSE_S", 0.0)
    gate = await start_gate(event_toml(room_name), rate="0")
    browser, late = gate.visitor(), gate.visitor()
    assert (await browser.join())["state"] == "waiting"
    visitors = await fill(gate, 2_500)

    before = await browser.request("GET", PATH)
    committed = parse_record(before.json)
    assert before.headers["Cache-Control"] == "no-store"
    message = f"{room_name}|sale|{committed.start_us}".encode()
    expected = hmac.digest(SECRET, message, "sha256")
    assert committed.commitment == hashlib.sha256(expected).hexdigest()
    assert (committed.state, committed.secret) == ("committed", None)
    assert committed.span_us == 3_600_000_000
    early = await browser.request("GET", LIST)
    assert (early.status, early.json) == (404, {"error": "the draw has not taken place yet"})

    event = await open_now(gate)
    record = await drawn(browser)
    assert (record.start_us, record.span_us) == (event.start_us, event.span_us)
    assert record.commitment == committed.commitment
    assert record.secret == expected.hex()
    assert (record.participants, record.beacon, record.note) == (2_501, None, "")

    listed = await browser.request("GET", LIST)
    assert listed.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert listed.headers["Cache-Control"] == "no-store"
    lines = listed.text.splitlines()
    assert lines == sorted(set(lines))
    assert {hashlib.sha256(each.encode()).hexdigest() for each in visitors} < set(lines)
    assert len(lines) == 2_501

    seed = record.seed
    assert seed is not None
    order = await gate.queue._store.scores(gate.queue._keys[0], since=0, limit=3_000)
    assert all(
        order[each] == drawn_turn_us(seed, each, start_us=record.start_us, span_us=record.span_us)
        for each in visitors
    )
    assert max(order.values()) < record.start_us
    own = (await browser.status())["draw"]
    assert own["id_hash"] in lines
    assert own["turn"] == hashed_turn_us(
        seed,
        bytes.fromhex(own["id_hash"]),
        start_us=record.start_us,
        span_us=record.span_us,
    )
    newcomer = await late.join()
    assert (newcomer["position"], newcomer.get("draw")) == (2_502, None)

    findings = await check_draw(
        remote_draw(gate.url + PATH),
        has_list=True,
        visitor=visitors[7],
        turn_us=round(order[visitors[7]]),
        commitment=committed.commitment,
    )
    assert findings.problems == []
    place = sorted(order.values()).index(order[visitors[7]]) + 1
    assert any(line.endswith(f"place {place} of 2501") for line in findings.remarks)


async def test_poll_that_claims_shows_what_the_ticket_drew(
    start_gate: GateStarter, room_name: RoomName
) -> None:
    """The first visitors in line have no other poll between the draw and their admission."""
    gate = await start_gate(event_toml(room_name), rate="6000/min", burst=100)
    browser, late = gate.visitor(), gate.visitor()
    await browser.join()
    event = await open_now(gate)
    record = await drawn(late)

    async def admitted_status() -> Any:
        status = await browser.status()
        return status if status["state"] == "admitted" else None

    status = await eventually(admitted_status)
    assert record.seed is not None
    id_hash = bytes.fromhex(status["draw"]["id_hash"])
    turn_us = hashed_turn_us(record.seed, id_hash, start_us=event.start_us, span_us=event.span_us)
    assert status["draw"]["turn"] == turn_us
    assert "draw" not in await browser.status()


UNKNOWN = [
    "/.gatekeeper/draw/",
    "/.gatekeeper/draw/other",
    "/.gatekeeper/draw/sale/",
    "/.gatekeeper/draw/sale/participants/",
    "/.gatekeeper/draw/SALE",
    "/.gatekeeper/draw/sale%00",
    "/.gatekeeper/draw/../draw/sale/x",
    f"{PATH}?room=none",
    f"{LIST}?room=none",
    "/.gatekeeper/draw/by-arrival",
    "/.gatekeeper/draw/" + "x" * 5000,
]


async def test_absent_visitor_comes_back_to_the_drawn_turn(
    start_gate: GateStarter, room_name: RoomName
) -> None:
    """At any time and at any replica: another time gives no other turn."""
    gate = await start_gate(event_toml(room_name), rate="0")
    other = await start_gate(event_toml(room_name), rate="0")
    absent = gate.visitor(other)
    await absent.join()
    [visitor] = await gate.queue._store.scores(gate.queue._keys[0], since=0, limit=10)
    await gate.queue._store._call("ZREM", gate.queue._keys[0], visitor)  # type: ignore[attr-defined]
    await fill(gate, 40)
    await open_now(gate)
    record = await drawn(absent)
    seed = record.seed
    assert seed is not None
    turn_us = drawn_turn_us(seed, visitor, start_us=record.start_us, span_us=record.span_us)
    assert record.participants == 40
    await eventually(lambda: knows_the_draw(other))
    for at in (1, 0):
        assert (await absent.status(at=at))["draw"]["turn"] == turn_us
    order = await gate.queue._store.scores(gate.queue._keys[0], since=0, limit=100)
    assert order[visitor] == turn_us
    assert (await drawn(absent)).participants == 40


async def test_record_stays_drawn_while_a_straggler_is_placed(
    start_gate: GateStarter, room_name: RoomName
) -> None:
    """A replica that receives the draw late may have put a visitor in line at a provisional turn.
    The published record does not change."""
    gate = await start_gate(event_toml(room_name), rate="0")
    visitor = gate.visitor()
    await fill(gate, 3)
    await open_now(gate)
    record = await drawn(visitor)
    await gate.room()._stop_pacing()
    queue, deadlines, *_ = gate.queue._keys
    straggler, until = new_visitor_id(), str(record.start_us // 100_000 + 600)  # a minute
    call = gate.queue._store._call  # type: ignore[attr-defined]
    await call("HSET", deadlines, straggler, until)
    await call("ZADD", queue, str(PROVISIONAL_US + record.start_us - 1), straggler)
    state = await gate.queue.read_state()
    assert state.undrawn == 1
    assert (await record_of(visitor)).state == "drawn"

    async def has_all() -> bool:
        await gate.room()._tick()
        return (await record_of(visitor)).participants == 4

    await eventually(has_all)
    findings = await check_draw(remote_draw(gate.url + PATH), has_list=True)
    assert findings.problems == []


async def test_unknown_draw_is_404(start_gate: GateStarter, room_name: RoomName) -> None:
    toml = event_toml(room_name)
    toml += event_toml(room_name, name="by-arrival", begins_in_s=90_000, order="arrival")
    gate = await start_gate(toml)
    session = gate.visitor().session
    for path in UNKNOWN:
        async with session.get(URL(gate.url + path, encoded=True)) as response:
            assert response.status == 404, path
            assert response.headers["Cache-Control"] == "no-store"
            assert set(await response.json()) == {"error"}
    assert gate.origin.requests == []


async def test_record_is_read_only_and_named_by_room(
    start_gate: GateStarter, room_name: RoomName
) -> None:
    gate = await start_gate(event_toml(room_name))
    visitor = gate.visitor()
    posted = await visitor.request("POST", PATH)
    assert (posted.status, posted.headers["Allow"]) == (405, "GET, HEAD")
    head = await visitor.request("HEAD", PATH)
    assert (head.status, head.body) == (200, b"")
    named = await record_of(visitor, f"{PATH}?room={room_name}")
    assert named == await record_of(visitor)
    assert named.room == room_name
    assert visitor.cookies() == {}


async def test_draw_uses_the_beacons_round(start_gate: GateStarter, room_name: RoomName) -> None:
    async with FakeBeacon(genesis_s=int(time.time()) - 100, period_s=1) as beacon:
        gate = await start_gate(event_toml(room_name, beacon=beacon.url), rate="0")
        visitor = gate.visitor()
        await visitor.join()
        committed = (await visitor.request("GET", PATH)).json
        assert committed["beacon"] == {"url": beacon.url, "round": None, "randomness": None}
        await open_now(gate)
        record = await drawn(visitor)
        assert record.beacon is not None
        assert record.beacon.round == beacon.first_after(record.start_us)
        findings = await check_draw(remote_draw(gate.url + PATH), has_list=True)
        assert findings.problems == []
        assert any(beacon.url in remark for remark in findings.remarks)


async def test_draw_without_its_beacon_says_why(
    start_gate: GateStarter, room_name: RoomName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatekeeper.room.beacon_client.MAX_WAIT_S", 1.0)
    monkeypatch.setattr("gatekeeper.room.beacon_client._LATE_WAIT_S", 0.5)
    gate = await start_gate(event_toml(room_name, beacon="http://127.0.0.1:1"), rate="600/min")
    visitor = gate.visitor()
    await visitor.join()
    event = await open_now(gate)
    record = await drawn(visitor)
    assert record.beacon is None
    assert "The beacon http://127.0.0.1:1 was not used: it " in record.note
    assert gate.now_s() - event.start_us / 1e6 < 40  # shorter than the longest wait of a real gate
    await visitor.wait_until_admitted()
    findings = await check_draw(remote_draw(gate.url + PATH), has_list=True)
    assert findings.problems == []
    assert any("was not used" in remark for remark in findings.remarks)


def lists_of(gate: Gate) -> int:
    """The number of lists that the gate is sending."""
    return gate.worker.site.handler._endpoints._draws._lists


async def test_lists_beyond_the_limit_are_refused(
    start_gate: GateStarter, room_name: RoomName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that does not read occupies one of few downloads. Further ones are refused at once
    until a download ends or is aborted."""
    monkeypatch.setattr(draws, "_PAUSE_S", 0.6)
    gate = await start_gate(event_toml(room_name), rate="0")
    visitor = gate.visitor()
    await fill(gate, 1_500)
    await open_now(gate)
    await drawn(visitor)
    lists = [asyncio.create_task(visitor.request("GET", LIST)) for _ in range(draws.MAX_LISTS)]
    await eventually(lambda: lists_of(gate) == draws.MAX_LISTS)
    refused = await visitor.request("GET", LIST)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert (await visitor.request("HEAD", PATH)).status == 200
    lists.pop().cancel()

    async def list_if_served() -> Response | None:
        response = await visitor.request("GET", LIST)
        return response if response.status == 200 else None

    response = await eventually(list_if_served)
    assert len(response.text.splitlines()) == 1_500
    for response in await asyncio.gather(*lists):
        assert len(response.text.splitlines()) == 1_500


async def test_list_without_the_store_is_never_cut_short(
    private_store: StoreServer,
    start_gate: GateStarter,
    room_name: RoomName,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store stops while a list is sent: the response is aborted, so it does not look
    complete."""
    monkeypatch.setattr(draws, "_PAUSE_S", 0.6)
    gate = await start_gate(event_toml(room_name), rate="0")
    visitor = gate.visitor()
    await fill(gate, 1_500)
    await open_now(gate)
    await drawn(visitor)

    async def read() -> Any:
        return await visitor.request("GET", LIST)

    reading = asyncio.create_task(read())
    await eventually(lambda: lists_of(gate) == 1)
    private_store.kill()
    with pytest.raises(Exception, match=r"payload|disconnected|reset"):
        await reading
    response = await visitor.request("GET", LIST)
    assert response.status == 503


async def test_list_that_was_lost_is_noted_in_the_record(
    private_store: StoreServer, start_gate: GateStarter, room_name: RoomName
) -> None:
    """Commitment, secret and turns survive the loss of the store; the list does not, and the record
    states that."""
    gate = await start_gate(event_toml(room_name), rate="0")
    visitor = gate.visitor()
    await visitor.join()
    await open_now(gate)
    before = await drawn(visitor)
    private_store.flush()

    async def record_with_note() -> DrawRecord | None:
        record = await record_of(visitor)
        return record if record.note else None

    after = await eventually(record_with_note)
    assert "lost with the store" in after.note
    assert (after.secret, after.commitment) == (before.secret, before.commitment)
    assert (before.participants, after.participants) == (1, 0)
    assert (await visitor.status())["state"] == "waiting"
