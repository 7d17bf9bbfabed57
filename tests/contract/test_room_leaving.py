"""Leaving, revocations and spent tickets: held on every store."""

import hashlib
from dataclasses import replace

import pytest

from gatekeeper.policy.decision import VoidToken
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room import queue
from gatekeeper.room.store import load_script
from tests.contract.grounds import (
    Ground,
    Open,
    admitted_names,
    enter,
    line_up,
    poll,
    poll_request,
)

ANN, BOB, CAT, DAN = (VisitorId(name) for name in ("ann", "bob", "cat", "dan"))
SOON_US = 60_000_000
MAX_SPENT = 3

# Leaving


async def test_leave_reports_what_was_given_back(open_room: Open) -> None:
    replica = await open_room()
    await line_up(replica, ["ann", "bob"])
    state, left = await replica.queue.leave([ANN, BOB, CAT])
    assert left == ["slot", "place", "nothing"]
    assert (state.active, state.queue_length, state.revocations) == (0, 0, 3)


async def test_old_token_of_a_visitor_that_left_is_void(ground: Ground, open_room: Open) -> None:
    replica = await open_room(session_absolute_timeout="1h", place_ttl="10m")
    replies = await line_up(replica, ["ann", "bob"])
    await replica.queue.leave([ANN, BOB])
    for _ in range(2):
        for name, reply in replies.items():
            for has_pass in (True, False):
                request = poll_request(name, reply.turn_us, has_pass=has_pass)
                assert await replica.queue.poll(request) == VoidToken()
            until_us = (await replica.read_state()).now_us + SOON_US
            assert not await replica.queue.touch(
                VisitorId(name), until_us=until_us, ends_us=until_us
            )
        await ground.pass_time(1700)
        await replica.released()
        assert (await replica.queue.revoked()).keys() == {ANN, BOB}
    state = await replica.read_state()
    assert (state.active, state.queue_length) == (0, 0)


async def test_revocation_is_forgotten_after_every_token_expired(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(session_absolute_timeout="1h", place_ttl="10m")
    await replica.queue.leave([ANN])
    await ground.pass_time(3599)
    await replica.released()
    assert (await replica.queue.revoked()).keys() == {ANN}
    await ground.pass_time(1.1)
    await replica.released()
    assert await replica.queue.revoked() == {}


async def test_leaving_the_queue_spends_the_ticket_without_revocation(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(place_ttl="10m")
    replies = await line_up(replica, ["ann", "bob", "cat"])
    state, left = await replica.queue.leave([BOB, CAT, DAN], with_tickets=True)
    assert left == ["place", "place", "nothing"]
    assert (state.revocations, state.queue_length, state.abandoned_total) == (0, 0, 2)
    await ground.pass_time(600)
    await replica.released()
    assert await poll(replica, {"bob": replies["bob"]}) == {"bob": VoidToken()}
    assert (await ground.read()).keys() & {"revoked", "queue"} == set()
    await ground.pass_time(121)  # by now the ticket has expired
    await replica.released()
    assert "spent" not in await ground.read()


async def test_spent_tickets_of_strangers_are_bounded(
    ground: Ground, open_room: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood that takes tickets and leaves at once does not fill the store, and costs no visitor
    in line the place."""
    leave = load_script("leave")
    text = leave.text.replace("MAX_SPENT = 500000", f"MAX_SPENT = {MAX_SPENT}")
    assert text != leave.text
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(queue, "_LEAVE", replace(leave, text=text, sha=sha))
    replica = await open_room(place_ttl="10m")
    replies = await line_up(replica, ["ann", "bob", "cat"])
    flood = [VisitorId(f"bot{number}") for number in range(10)]
    _, left = await replica.queue.leave(flood, with_tickets=True)
    assert set(left) == {"nothing"}
    assert len((await ground.read())["spent"]) == MAX_SPENT
    await replica.queue.leave([BOB, CAT], with_tickets=True)
    assert len((await ground.read())["spent"]) == MAX_SPENT + 2, "they were in line"
    for name in ("bob", "cat"):
        assert await poll(replica, {name: replies[name]}) == {name: VoidToken()}
    await replica.queue.leave([flood[0]], with_tickets=True)
    assert len((await ground.read())["spent"]) == MAX_SPENT + 2
    await ground.pass_time(721)
    await replica.released()
    assert "spent" not in await ground.read()
    await replica.queue.leave([DAN], with_tickets=True)
    assert (await ground.read())["spent"].keys() == {"dan"}


async def test_leaving_with_a_ticket_and_a_slot_revokes(ground: Ground, open_room: Open) -> None:
    replica = await open_room()
    replies = await line_up(replica, ["ann"])
    state, left = await replica.queue.leave([ANN], with_tickets=True)
    assert (left, state.revocations, state.active) == (["slot"], 1, 0)
    request = poll_request("ann", replies["ann"].turn_us, has_pass=True)
    assert await replica.queue.poll(request) == VoidToken()
    state, left = await replica.queue.leave([ANN], with_tickets=True)
    assert (left, state.revocations) == (["nothing"], 1)
    assert (await ground.read()).keys() & {"revoked", "spent"} == {"revoked"}


# Spent tickets


async def test_ticket_is_accepted_once_also_after_a_short_session(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, session_idle_timeout="60s", place_ttl="10m")
    arrival_us = await enter(replica, "ann")
    await ground.pass_time(66.1)
    await replica.released()
    assert (await replica.read_state()).active == 0
    assert await replica.queue.poll(poll_request("ann", arrival_us)) == VoidToken()
    await ground.pass_time(600)
    await replica.released()
    assert await replica.queue.poll(poll_request("ann", arrival_us)) == VoidToken()
    assert (await replica.read_state()).queue_length == 0


async def test_slot_expired_by_an_arrival_spends_the_ticket(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, max_active=1, session_idle_timeout="60s", place_ttl="10m")
    arrival_us = await enter(replica, "ann")
    await ground.pass_time(66.1)
    await replica.allow(1)
    assert admitted_names(await line_up(replica, ["bob"])) == ["bob"]
    assert await replica.queue.poll(poll_request("ann", arrival_us)) == VoidToken()


@pytest.mark.parametrize(
    "spans",
    [
        {"session_idle_timeout": "30m", "session_absolute_timeout": "4h", "place_ttl": "10m"},
        {"session_idle_timeout": "30m", "session_absolute_timeout": "60s", "place_ttl": "10m"},
    ],
)
async def test_ticket_is_accepted_once_whatever_the_spans(
    spans: dict[str, str], ground: Ground, open_room: Open
) -> None:
    """Durations may change while a slot is held, so a slot may be older than they allow."""
    replica = await open_room(rate=0, **spans)
    arrival_us = await enter(replica, "ann")
    await ground.pass_time(3600)
    await replica.released()
    assert await replica.queue.poll(poll_request("ann", arrival_us)) == VoidToken()


async def test_spent_ticket_is_forgotten_after_it_expired(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, session_idle_timeout="60s", place_ttl="10m")
    await enter(replica, "ann")
    await ground.pass_time(66.1)
    await replica.released()
    await ground.pass_time(751)
    await replica.released()
    assert (await ground.read()).keys() <= {"state", "replicas"}


async def test_valid_pass_keeps_its_slot_after_a_missed_touch(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, session_idle_timeout="60s", place_ttl="10m")
    await enter(replica, "ann")
    await ground.pass_time(66.1)  # used and renewed while the store was unreachable
    await replica.released()
    until_us = (await replica.read_state()).now_us + SOON_US
    assert await replica.queue.touch(ANN, until_us=until_us, ends_us=until_us)
    assert (await replica.read_state()).active == 1
    assert ANN not in await replica.queue.revoked()


async def test_spent_ticket_is_no_revocation(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, session_idle_timeout="60s", place_ttl="10m")
    await enter(replica, "ann")
    await ground.pass_time(66.1)
    await replica.released()
    assert await replica.queue.revoked() == {}
    state, _ = await replica.queue.leave([ANN])
    assert state.revocations == 1
    assert (await replica.queue.revoked()).keys() == {ANN}


# Touch


async def test_touch_extends_a_slot_and_never_shortens_it(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    await enter(replica, "ann")
    far_us = (await replica.read_state()).now_us + 3_600_000_000
    for until_us in (far_us, far_us - SOON_US, far_us):
        assert await replica.queue.touch(ANN, until_us=until_us, ends_us=until_us)
        assert (await ground.read())["active"] == {ANN: far_us}


async def test_unknown_pass_is_counted_by_a_touch(open_room: Open) -> None:
    replica = await open_room(max_active=1)
    until_us = (await replica.read_state()).now_us + SOON_US
    assert await replica.queue.touch(ANN, until_us=until_us, ends_us=until_us)
    assert (await replica.read_state()).active == 1
    assert admitted_names(await line_up(replica, ["bob"])) == []


async def test_touch_removes_the_visitor_from_the_queue(open_room: Open) -> None:
    replica = await open_room(rate=0)
    await line_up(replica, ["ann", "bob"])
    until_us = (await replica.read_state()).now_us + SOON_US
    assert await replica.queue.touch(ANN, until_us=until_us, ends_us=until_us)
    state = await replica.read_state()
    assert (state.queue_length, state.active) == (1, 1)
