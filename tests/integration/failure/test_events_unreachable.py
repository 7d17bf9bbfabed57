"""NATS is killed, paused or delivers forged events: the replicas are correct by the store alone."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace

import nats
import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import new_visitor_id
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.state import RoomState
from tests.builders import SECRET
from tests.gates import GateStarter, Visitor
from tests.integration.replicas.replica_group import (
    CallCounter,
    Replica,
    ReplicatedRoom,
    RoomStarter,
    RoomVisitor,
    admitted_indexes,
    line_up,
    request_all,
)
from tests.servers import EventsServer, StoreServer, eventually

SIGNER = EventSigner([SECRET])
TICK_S = 0.25  # of a pacer while visitors wait and none is due
TICKS = 2  # the first one may have begun before the change
OUTAGES = {"killed": EventsServer.kill, "paused": EventsServer.pause}


class SignerOfAnotherRoom(EventSigner):
    def sign(self, subject: str, body: bytes) -> dict[str, str]:
        return super().sign(f"another.{subject}", body)


@pytest.fixture(params=OUTAGES)
def break_events(request: pytest.FixtureRequest) -> Callable[[EventsServer], None]:
    return OUTAGES[request.param]


async def test_waiting_visitors_are_admitted_without_events(
    private_events: EventsServer,
    room_name: RoomName,
    break_events: Callable[[EventsServer], None],
    start_gate: GateStarter,
) -> None:
    first = await start_gate(rate="0")
    second = await start_gate(rate="0")
    admitted = first.visitor(second)
    waiting = second.visitor(first)
    new = second.visitor(first)
    await admitted.get()
    await first.allow(1)
    await admitted.wait_until_admitted()
    assert (await waiting.join())["position"] == 1
    break_events(private_events)
    status, _ = await admitted.get(at=1)
    assert status == 200
    await first.room(room_name).queue.allow(1)
    await waiting.wait_until_admitted()
    status, _ = await new.get()
    assert status == 503
    assert (await new.status(at=1))["position"] == 1
    await first.room(room_name).queue.set_mode(Mode.OPEN)
    await new.wait_until_admitted()
    async with Visitor(second) as another:
        status, _ = await another.get()
        assert status == 200


async def test_replica_without_events_is_current_in_two_ticks(
    private_events: EventsServer,
    break_events: Callable[[EventsServer], None],
    monkeypatch: pytest.MonkeyPatch,
    closed_room: ReplicatedRoom,
) -> None:
    first, second = await closed_room.replicas(2)
    operator = await closed_room.operator()
    visitors = await line_up(10, first)
    await eventually(lambda: first.events.connected() and second.events.connected())
    break_events(private_events)
    await eventually(lambda: second.state.queue_length == 10)  # and so it no longer idles
    for rate_per_minute in (0.7, 0.8):
        await operator.allow(3)
        state = await operator.set_rate(rate_per_minute)
        counter = CallCounter(second.room, monkeypatch)
        await eventually(lambda: _same(second, state))  # noqa: B023
        assert counter.calls <= TICKS
    visitor_id = visitors[5].token
    assert visitor_id is not None
    await operator.revoke(visitor_id.visitor)
    counter = CallCounter(second.room, monkeypatch)
    await eventually(lambda: visitor_id.visitor in second.room.view.decisive.revoked)
    assert counter.calls <= TICKS


async def test_replicas_agree_with_events_off(closed_room: ReplicatedRoom) -> None:
    first, second = await closed_room.replicas(2)
    operator = await closed_room.operator()
    visitors = await line_up(20, first, second)
    await operator.allow(5)
    visitor_id = visitors[7].token
    assert visitor_id is not None
    await operator.revoke(visitor_id.visitor)
    state = await operator.set_rate(0.9)
    await eventually(lambda: _same(first, state) and _same(second, state))
    await eventually(lambda: visitor_id.visitor in first.room.view.decisive.revoked)
    await request_all([*visitors[:7], *visitors[8:]], second, first)
    assert admitted_indexes(visitors) == [*range(5)]


async def test_events_resume_after_nats_restart(
    private_events: EventsServer, closed_room: ReplicatedRoom
) -> None:
    first, second = await closed_room.replicas(2)
    await eventually(lambda: first.events.connected() and second.events.connected())
    private_events.kill()
    await eventually(lambda: not (first.events.connected() or second.events.connected()))
    await asyncio.to_thread(private_events.start)
    await eventually(lambda: first.events.connected() and second.events.connected(), 10)
    await second.room._stop_pacing()
    [visitor] = await line_up(1, first)
    await first.room.queue.allow(1)
    await eventually(lambda: second.state.watermark_us == visitor.arrival_us)


async def test_replica_connects_to_nats_started_later(
    private_events: EventsServer, closed_room: ReplicatedRoom
) -> None:
    private_events.kill()
    first, second = await closed_room.replicas(2)
    [visitor] = await line_up(1, first)
    assert visitor.position == 1
    await asyncio.to_thread(private_events.start)
    await eventually(lambda: first.events.connected() and second.events.connected(), 10)
    await second.room._stop_pacing()
    await first.room.queue.set_rate(33)
    await eventually(lambda: second.state.rate_per_minute == 33)


async def test_paused_nats_does_not_slow_the_pacer(
    private_events: EventsServer, start_room: RoomStarter
) -> None:
    room = start_room(rate="1200/min", burst=10)
    replica = await room.replica()
    await replica.room.queue.set_mode(Mode.HOLD)  # until NATS is paused
    visitors = await line_up(60, replica)
    await eventually(replica.events.connected)
    private_events.pause()
    await replica.room.queue.set_mode(Mode.AUTO)
    now_s, due_s = time.monotonic(), 0.0
    while due_s < 2:
        await asyncio.sleep(0.1)
        earlier_s, now_s = now_s, time.monotonic()
        due_s += min(now_s - earlier_s, 0.2)  # the bucket holds half a second
    await request_all(visitors, replica)
    assert replica.state.released_total >= 20 * due_s * 0.7


# Events that a correct replica never sends.

NONSENSE = [
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b"[" * 20_000,
    b'{"epoch": 1}',
    b'{"visitors": "abc", "revocations": 1}',
    b'{"visitors": [1, null], "revocations": 1}',
    b'{"visitors": [], "revocations": "1"}',
    b'{"visitors": {}, "revocations": 1e400}',
    b"1" * 500_000,
    json.dumps({"visitors": ["x" * 22] * 30_000, "revocations": 30_000}).encode(),
]


async def test_state_without_message_field_is_accepted(
    events_url: str, closed_room: ReplicatedRoom
) -> None:
    replica = await closed_room.replica()
    await eventually(replica.events.connected)
    await replica.room._stop_pacing()
    newer = replace(replica.state, version=replica.state.version + 1)
    fields = json.loads(_body(newer))
    del fields["message"]
    long = {**fields, "version": newer.version + 5, "message": "x" * 501}
    await publish(
        events_url, closed_room.name, *(json.dumps(each).encode() for each in (long, fields))
    )
    await eventually(lambda: replica.state == newer)


async def test_malformed_event_is_dropped(events_url: str, closed_room: ReplicatedRoom) -> None:
    replica = await closed_room.replica()
    visitors = await line_up(3, replica)
    await eventually(replica.events.connected)
    await replica.room._stop_pacing()
    held = replica.state
    bad = [
        replace(held, version=held.version + 1, watermark_us=2**60),
        replace(held, version=held.version + 1, rate_per_minute=float("nan")),
        replace(held, version=held.version + 1, queue_length=-1),
        replace(held, version=True),
        replace(held, version=held.version + 1, message="two\nlines"),
    ]
    good = replace(held, version=held.version + 1, mode=Mode.HOLD)
    await publish(events_url, closed_room.name, *NONSENSE, signer=None)
    await publish(
        events_url, closed_room.name, *NONSENSE, *(_body(state) for state in bad), _body(good)
    )
    await eventually(lambda: replica.state.version == good.version)
    assert replica.state == good
    assert set(replica.room.view.revoked()) <= {"x" * 22}
    await request_all(visitors, replica)
    assert [visitor.position for visitor in visitors] == [1, 2, 3]


SIGNERS = {
    "none": None,
    "of another secret": EventSigner([b"another secret, longer than 32 bytes"]),
    "of another room": SignerOfAnotherRoom([SECRET]),
}


@pytest.mark.parametrize("signer", SIGNERS)
async def test_event_without_valid_signature_is_dropped(
    events_url: str, signer: str, closed_room: ReplicatedRoom
) -> None:
    replica = await closed_room.replica()
    visitors = await line_up(3, replica)
    await eventually(replica.events.connected)
    await replica.room._stop_pacing()
    held = replica.state
    forged = replace(held, version=held.version + 1, mode=Mode.OPEN, watermark_us=2**52)
    await publish(events_url, closed_room.name, _body(forged), signer=SIGNERS[signer])
    visitor_ids = [visitor.token.visitor for visitor in visitors if visitor.token]
    body = json.dumps({"visitors": visitor_ids, "revocations": 0}).encode()
    await publish(events_url, closed_room.name, body, subject="revoked", signer=SIGNERS[signer])
    true = replace(held, version=held.version + 1, mode=Mode.HOLD)
    await publish(events_url, closed_room.name, _body(true))
    await eventually(lambda: replica.state == true)
    assert not replica.room.view.revoked()
    await request_all(visitors, replica)
    assert [visitor.position for visitor in visitors] == [1, 2, 3]


async def test_event_signed_with_old_secret_is_accepted(
    events_url: str, closed_room: ReplicatedRoom
) -> None:
    new = b"a newer secret of the tests, longer than 32 bytes"
    replica = await closed_room.replica(secrets_=(new, SECRET))
    await eventually(replica.events.connected)
    await replica.room._stop_pacing()
    state = replace(replica.state, version=replica.state.version + 1, mode=Mode.HOLD)
    await publish(events_url, closed_room.name, _body(state))
    await eventually(lambda: replica.state == state)


async def test_unknown_fields_of_newer_release_are_ignored(
    events_url: str, closed_room: ReplicatedRoom
) -> None:
    replica = await closed_room.replica()
    await eventually(replica.events.connected)
    await replica.room._stop_pacing()
    state = replace(replica.state, version=replica.state.version + 1)
    newer = json.loads(_body(state)) | {"mode": "by-invitation", "lane": {"fast": 1}}
    await publish(events_url, closed_room.name, json.dumps(newer).encode())
    await eventually(lambda: replica.state.version == state.version)
    assert replica.state.mode is Mode.HOLD  # an unknown mode admits no visitor
    visitor = new_visitor_id()
    event = {"visitors": [visitor], "revocations": 1, "why": "asked to"}
    await publish(events_url, closed_room.name, json.dumps(event).encode(), subject="revoked")
    await eventually(lambda: visitor in replica.room.view.revoked())


@pytest.mark.parametrize("epoch", [-1, 0, 1])
async def test_false_signed_state_never_reaches_the_store(
    private_store: StoreServer, events_url: str, epoch: int, closed_room: ReplicatedRoom
) -> None:
    first = await closed_room.replica()
    second = await closed_room.replica(events_url="off")
    visitors = await line_up(20, first)
    await eventually(first.events.connected)
    true = first.state
    forged = replace(
        true,
        epoch=true.epoch + epoch,
        version=2**52,
        mode=Mode.OPEN,
        watermark_us=2**52,
        rate_per_minute=1e9,
        pending_grants=1000,
    )
    for _ in range(20):
        await publish(events_url, closed_room.name, *[_body(forged)] * 50)
        await request_all([*visitors, RoomVisitor()], first)
    assert admitted_indexes(visitors) == []
    await asyncio.sleep(4 * TICK_S)
    for replica in (first, second):
        assert replica.state.mode is Mode.AUTO
        assert replica.state.watermark_us == 0
        assert replica.state.rate_per_minute == 0
        assert replica.state.version < 2**20
    private_store.kill()
    await request_all([*visitors, RoomVisitor()], first, second)
    assert admitted_indexes(visitors) == []


async def test_flood_of_events_makes_few_store_calls(
    private_store: StoreServer, events_url: str, closed_room: ReplicatedRoom
) -> None:
    replica = await closed_room.replica()
    await eventually(replica.events.connected)
    strange = [_body(replace(replica.state, epoch=7, pending_grants=n)) for n in range(100)]
    before = private_store.commands()["evalsha"]
    start_s = time.monotonic()
    while time.monotonic() - start_s < 1:
        await publish(events_url, closed_room.name, *strange)
    elapsed_s = time.monotonic() - start_s
    assert private_store.commands()["evalsha"] - before <= 55 * elapsed_s
    assert replica.store_up


async def test_true_revocations_arrive_after_false_ones(
    events_url: str, closed_room: ReplicatedRoom
) -> None:
    replica = await closed_room.replica()
    operator = await closed_room.operator()
    await eventually(replica.events.connected)
    false = {"visitors": [new_visitor_id()], "revocations": 2**40}
    await publish(events_url, closed_room.name, json.dumps(false).encode(), subject="revoked")
    true = new_visitor_id()
    await operator.revoke(true)
    await eventually(lambda: true in replica.room.view.decisive.revoked)
    await eventually(lambda: replica.room.view.revocations_known == 1)


def _same(replica: Replica, state: RoomState) -> bool:
    known = replica.state
    return (known.watermark_us, known.mode, known.rate_per_minute) == (
        state.watermark_us,
        state.mode,
        state.rate_per_minute,
    )


def _body(state: RoomState) -> bytes:
    return state.to_json(sent_at=state.now_us / 1_000_000)


async def publish(
    url: str,
    room: RoomName,
    *bodies: bytes,
    subject: str = "state",
    signer: EventSigner | None = SIGNER,
) -> None:
    client = await nats.connect(url, connect_timeout=5)
    subject = f"gatekeeper.{room}.{subject}"
    try:
        for body in bodies:
            headers = signer.sign(subject, body) if signer else None
            await client.publish(subject, body, headers=headers)
        await client.flush(timeout=5)
    finally:
        await client.close()
