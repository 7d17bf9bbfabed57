"""The absolute end of a session is set by the first claim and never moved, on every store."""

from dataclasses import replace

import pytest

from gatekeeper.policy.decision import SlotGrant, VoidToken
from gatekeeper.policy.tokens import VisitorId
from tests.contract.grounds import Ground, Open, Replica, arrive, enter, line_up, poll_request

ANN = VisitorId("ann")
SESSION = {"rate": 0, "session_idle_timeout": "60s", "session_absolute_timeout": "150s"}
SESSION_US = 150_000_000


async def claim(replica: Replica, turn_us: int, *, has_pass: bool = False) -> int | None:
    """The end of Ann's session as her claim returns it; None: her token is void."""
    standing = await replica.queue.poll(poll_request("ann", turn_us, has_pass=has_pass))
    if isinstance(standing, VoidToken):
        return None
    assert isinstance(standing, SlotGrant)
    assert standing.ends_at_us is not None
    return standing.ends_at_us


async def stored_end(ground: Ground) -> int:
    return int((await ground.read())["sessions"][ANN])


async def slot_end(ground: Ground) -> int:
    return int((await ground.read())["active"][ANN])


async def test_first_claim_begins_the_session(ground: Ground, open_room: Open) -> None:
    replica = await open_room(**SESSION)
    before_us = (await replica.read_state()).now_us
    turn_us = await enter(replica, "ann")
    after_us = (await replica.read_state()).now_us
    end_us = await stored_end(ground)
    assert before_us + SESSION_US <= end_us <= after_us + SESSION_US
    assert await claim(replica, turn_us) == end_us


async def test_ticket_sent_again_never_extends_the_session(ground: Ground, open_room: Open) -> None:
    """It extends the slot, like every use, but not beyond the end of the session."""
    replica = await open_room(**SESSION)
    turn_us = await enter(replica, "ann")
    for _ in range(7):
        await ground.pass_time(20)
        await replica.released()
        end_us = await stored_end(ground)
        assert await claim(replica, turn_us) == end_us
        assert await stored_end(ground) == end_us
        assert await slot_end(ground) <= end_us
    assert await slot_end(ground) == await stored_end(ground)
    await ground.pass_time(11)
    for _ in range(2):
        assert await claim(replica, turn_us) is None  # before and after a call of the pacer
        await replica.released()
    assert (await ground.read()).keys() <= {"state", "replicas", "spent"}


async def test_expired_pass_never_extends_the_session(ground: Ground, open_room: Open) -> None:
    replica = await open_room(**SESSION)
    turn_us = await enter(replica, "ann")
    for _ in range(7):
        await ground.pass_time(20)
        assert await claim(replica, turn_us, has_pass=True) == await stored_end(ground)
        assert await slot_end(ground) <= await stored_end(ground)
    await ground.pass_time(11)
    assert await claim(replica, turn_us, has_pass=True) is None


@pytest.mark.parametrize("absolute_s", [1, 61, 150, 14_400])
async def test_session_keeps_its_end_after_a_change_of_the_setting(
    absolute_s: float, ground: Ground, open_room: Open
) -> None:
    replica = await open_room(**SESSION)
    turn_us = await enter(replica, "ann")
    end_us = await stored_end(ground)
    replica.queue.rules = replace(replica.queue.rules, session_absolute_timeout_s=absolute_s)
    assert await claim(replica, turn_us) == end_us
    assert await claim(replica, turn_us, has_pass=True) == end_us


async def test_slot_of_a_claim_is_no_longer_than_its_session(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, session_idle_timeout="60s", session_absolute_timeout="60s")
    await enter(replica, "ann")
    assert await slot_end(ground) == await stored_end(ground)


@pytest.mark.parametrize("by_proxy", [True, False])
async def test_poll_by_a_replica_begins_no_session(
    by_proxy: bool, ground: Ground, open_room: Open
) -> None:
    replica = await open_room(**SESSION)
    ann = (await line_up(replica, ["ann"]))["ann"]
    await replica.allow(1)
    assert await replica.released() == 1
    request = poll_request("ann", ann.turn_us)
    request = replace(request, by_proxy=by_proxy, connected=not by_proxy)
    assert await replica.queue.poll(request) == SlotGrant(ann.turn_us, confirmed=True)
    assert "sessions" not in await ground.read()
    await ground.pass_time(60)
    before_us = (await replica.read_state()).now_us
    end_us = await claim(replica, ann.turn_us)
    assert end_us is not None
    assert end_us >= before_us + SESSION_US


async def test_unclaimed_release_leaves_no_session(ground: Ground, open_room: Open) -> None:
    replica = await open_room(**SESSION, claim_timeout="60s", heartbeat_timeout="60s")
    await line_up(replica, ["ann"])
    await replica.allow(1)
    assert await replica.released() == 1
    assert "sessions" not in await ground.read()
    await ground.pass_time(61)
    await replica.released()
    assert (await ground.read()).keys() & {"active", "sessions"} == set()


async def test_leaving_removes_the_end(ground: Ground, open_room: Open) -> None:
    replica = await open_room(**SESSION)
    await enter(replica, "ann")
    await replica.queue.leave([ANN])
    assert "sessions" not in await ground.read()


# Newcomers who were admitted at once


async def test_session_of_an_unconfirmed_slot_begins_at_first_use(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(**SESSION | {"rate": "60/min", "burst": 10})
    await arrive(replica, ["ann"])
    assert "sessions" not in await ground.read()
    await ground.pass_time(10)
    end_us = await claim(replica, 1, has_pass=True)
    assert end_us == await stored_end(ground)
    await ground.pass_time(20)
    # By a ticket too: the reply with the slot was lost, so the replica issued a ticket.
    assert await claim(replica, 1) == await stored_end(ground)


# Touches


@pytest.mark.parametrize("state", ["unknown", "waiting", "released", "unconfirmed", "spent"])
async def test_touch_gives_the_store_the_end_of_the_pass(
    state: str, ground: Ground, open_room: Open
) -> None:
    """The session of the pass began while the store was unreachable, or the store lost the
    session."""
    replica = await open_room(**SESSION | {"rate": "60/min", "burst": 10})
    if state == "unconfirmed":
        await arrive(replica, ["ann"])
    elif state != "unknown":
        await replica.queue.set_rate(0)
        await line_up(replica, ["ann"])
    if state in {"released", "spent"}:
        await replica.allow(1)
        assert await replica.released() == 1
    if state == "spent":
        await claim(replica, 1)
        await ground.pass_time(70)
        await replica.released()
    now_us = (await replica.read_state()).now_us
    end_us = now_us + 100_000_000
    assert await replica.queue.touch(ANN, until_us=now_us + 60_000_000, ends_us=end_us)
    assert await stored_end(ground) == end_us
    assert await claim(replica, 1) == end_us


async def test_touch_moves_no_end_that_the_store_knows(ground: Ground, open_room: Open) -> None:
    replica = await open_room(**SESSION)
    turn_us = await enter(replica, "ann")
    end_us = await stored_end(ground)
    for ends_us in (end_us + SESSION_US, end_us - 1):
        assert await replica.queue.touch(ANN, until_us=end_us - 2, ends_us=ends_us)
        assert await claim(replica, turn_us) == end_us


async def test_emptied_store_learns_the_end_from_the_pass(ground: Ground, open_room: Open) -> None:
    replica = await open_room(**SESSION)
    turn_us = await enter(replica, "ann")
    end_us = await stored_end(ground)
    await ground.write({})
    assert await replica.queue.touch(ANN, until_us=end_us - 90_000_000, ends_us=end_us)
    assert await claim(replica, turn_us) == end_us


async def test_store_that_fell_back_keeps_the_ends_of_its_copy(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(**SESSION)
    turn_us = await enter(replica, "ann")
    copy = await ground.read()
    end_us = await stored_end(ground)
    await claim(replica, turn_us)
    await replica.allow(1)
    await ground.write(copy)
    assert await claim(replica, turn_us) == end_us
