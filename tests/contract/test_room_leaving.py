"""Who leaves, and whose tokens count no more: held on every store."""

from gatekeeper.policy.decision import VoidToken
from gatekeeper.policy.tokens import VisitorId
from tests.contract.grounds import (
    Ground,
    Open,
    arrive,
    asking,
    enter,
    entered,
    poll,
)

ANN, BOB, CAT, DAN = (VisitorId(name) for name in ("ann", "bob", "cat", "dan"))
SOON_US = 60_000_000

# Leaving


async def test_leaving_says_what_was_given_back(open_room: Open) -> None:
    replica = await open_room()
    await arrive(replica, ["ann", "bob"])
    state, left = await replica.queue.leave([ANN, BOB, CAT])
    assert left == ["slot", "place", "nothing"]
    assert (state.active, state.queue_length, state.revocations) == (0, 0, 3)


async def test_nobody_who_left_comes_back_by_an_old_token(ground: Ground, open_room: Open) -> None:
    replica = await open_room(session_absolute_timeout="1h", place_ttl="10m")
    answers = await arrive(replica, ["ann", "bob"])
    await replica.queue.leave([ANN, BOB])
    for _ in range(2):
        for name, answer in answers.items():
            for has_pass in (True, False):
                question = asking(name, answer.turn_us, has_pass=has_pass)
                assert await replica.queue.poll(question) == VoidToken()
            until_us = (await replica.look()).now_us + SOON_US
            assert not await replica.queue.touch(VisitorId(name), until_us=until_us)
        await ground.pass_time(1700)
        await replica.released()
        assert (await replica.queue.revoked()).keys() == {ANN, BOB}
    state = await replica.look()
    assert (state.active, state.queue_length) == (0, 0)


async def test_a_revocation_is_forgotten_when_no_token_can_be_valid(
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


async def test_one_who_leaves_the_line_has_spent_the_ticket_and_is_no_revocation(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(place_ttl="10m")
    answers = await arrive(replica, ["ann", "bob", "cat"])
    state, left = await replica.queue.leave([BOB, CAT, DAN], with_tickets=True)
    assert left == ["place", "place", "nothing"]
    assert (state.revocations, state.queue_length, state.abandoned_total) == (0, 0, 2)
    await ground.pass_time(600)
    await replica.released()
    assert await poll(replica, {"bob": answers["bob"]}) == {"bob": VoidToken()}
    assert (await ground.read()).keys() & {"revoked", "queue"} == set()
    await ground.pass_time(121)  # by now the ticket has expired
    await replica.released()
    assert "spent" not in await ground.read()


async def test_one_who_leaves_with_a_ticket_and_holds_a_slot_is_revoked(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room()
    answers = await arrive(replica, ["ann"])
    state, left = await replica.queue.leave([ANN], with_tickets=True)
    assert (left, state.revocations, state.active) == (["slot"], 1, 0)
    question = asking("ann", answers["ann"].turn_us, has_pass=True)
    assert await replica.queue.poll(question) == VoidToken()
    state, left = await replica.queue.leave([ANN], with_tickets=True)
    assert (left, state.revocations) == (["nothing"], 1)
    assert (await ground.read()).keys() & {"revoked", "spent"} == {"revoked"}


# Spent tickets


async def test_a_ticket_is_honoured_once_also_when_the_session_was_shorter_than_keep_place(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, session_idle_timeout="60s", place_ttl="10m")
    arrival_us = await enter(replica, "ann")
    await ground.pass_time(66.1)
    await replica.released()
    assert (await replica.look()).active == 0
    assert await replica.queue.poll(asking("ann", arrival_us)) == VoidToken()
    await ground.pass_time(600)
    await replica.released()
    assert await replica.queue.poll(asking("ann", arrival_us)) == VoidToken()
    assert (await replica.look()).queue_length == 0


async def test_a_newcomers_call_that_ends_a_slot_remembers_the_ticket_as_well(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, max_active=1, session_idle_timeout="60s", place_ttl="10m")
    arrival_us = await enter(replica, "ann")
    await ground.pass_time(66.1)
    await replica.allow(1)
    assert entered(await arrive(replica, ["bob"])) == ["bob"]
    assert await replica.queue.poll(asking("ann", arrival_us)) == VoidToken()


async def test_nothing_is_remembered_of_a_ticket_that_has_expired_for_sure(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, session_idle_timeout="30m", place_ttl="10m")
    await enter(replica, "ann")
    await ground.pass_time(3600)
    await replica.released()
    assert (await ground.read()).keys() <= {"state", "replicas"}


async def test_the_memory_of_spent_tickets_ends_with_them(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, session_idle_timeout="60s", place_ttl="10m")
    await enter(replica, "ann")
    await ground.pass_time(66.1)
    await replica.released()
    await ground.pass_time(751)
    await replica.released()
    assert (await ground.read()).keys() <= {"state", "replicas"}


async def test_a_valid_pass_has_its_slot_also_when_the_store_missed_its_use(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, session_idle_timeout="60s", place_ttl="10m")
    await enter(replica, "ann")
    await ground.pass_time(66.1)  # used and renewed meanwhile, while the store was out of reach
    await replica.released()
    until_us = (await replica.look()).now_us + SOON_US
    assert await replica.queue.touch(ANN, until_us=until_us)
    assert (await replica.look()).active == 1
    assert ANN not in await replica.queue.revoked()


async def test_a_spent_ticket_is_no_revocation(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, session_idle_timeout="60s", place_ttl="10m")
    await enter(replica, "ann")
    await ground.pass_time(66.1)
    await replica.released()
    assert await replica.queue.revoked() == {}
    state, _ = await replica.queue.leave([ANN])
    assert state.revocations == 1
    assert (await replica.queue.revoked()).keys() == {ANN}


# Touch


async def test_touching_lengthens_a_slot_and_never_shortens_it(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0)
    await enter(replica, "ann")
    far_us = (await replica.look()).now_us + 3_600_000_000
    for until_us in (far_us, far_us - SOON_US, far_us):
        assert await replica.queue.touch(ANN, until_us=until_us)
        assert (await ground.read())["active"] == {ANN: far_us}


async def test_a_pass_counts_in_a_store_that_never_heard_of_it(open_room: Open) -> None:
    replica = await open_room(max_active=1)
    until_us = (await replica.look()).now_us + SOON_US
    assert await replica.queue.touch(ANN, until_us=until_us)
    assert (await replica.look()).active == 1
    assert entered(await arrive(replica, ["bob"])) == []


async def test_one_who_entered_without_the_store_leaves_the_line(open_room: Open) -> None:
    replica = await open_room(rate=0)
    await arrive(replica, ["ann", "bob"])
    until_us = (await replica.look()).now_us + SOON_US
    assert await replica.queue.touch(ANN, until_us=until_us)
    state = await replica.look()
    assert (state.queue_length, state.active) == (1, 1)
