"""A call that runs twice has the effect of one call, on every store."""

from collections.abc import Awaitable, Callable
from dataclasses import astuple, replace

import pytest

from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.visitor_calls import ArrivalRequest
from tests.contract.grounds import Ground, Open, Replica, line_up, poll_request

ANN, BOB, CAT = (VisitorId(name) for name in ("ann", "bob", "cat"))
SOON_US = 60_000_000
Doing = Callable[[Replica, int], Awaitable[object]]
DOINGS: dict[str, Doing] = {
    "a newcomer arrives": lambda r, _: r.queue.arrive(ArrivalRequest(VisitorId("new"))),
    "one in line arrives": lambda r, _: r.queue.arrive(ArrivalRequest(BOB)),
    "one inside arrives": lambda r, _: r.queue.arrive(ArrivalRequest(ANN)),
    "one in line polls": lambda r, us: r.queue.poll(poll_request("bob", us + 1)),
    "one released claims": lambda r, us: r.queue.poll(poll_request("ann", us)),
    "one with a pass polls": lambda r, us: r.queue.poll(poll_request("ann", us, has_pass=True)),
    "absent visitor returns": lambda r, us: r.queue.poll(poll_request("away", us - 1)),
    "one inside is touched": lambda r, us: r.queue.touch(
        ANN, until_us=us + SOON_US, ends_us=us + SOON_US
    ),
    "one in line is touched": lambda r, us: r.queue.touch(
        BOB, until_us=us + SOON_US, ends_us=us + SOON_US
    ),
    "one in line leaves": lambda r, _: r.queue.leave([BOB]),
    "one inside leaves": lambda r, _: r.queue.leave([ANN]),
    "one unknown leaves": lambda r, _: r.queue.leave([CAT]),
    "the pacer calls": lambda r, _: r.queue.advance(),
    "a rate is set": lambda r, _: r.queue.set_rate(77),
    "a mode is set": lambda r, _: r.queue.set_mode(Mode.OPEN),
    "a replica joins": lambda r, _: r.queue.join(starting=True),
    "a look": lambda r, _: r.queue.read_state(),
}


async def summary(ground: Ground, replica: Replica) -> object:
    """The contents without the times, which differ between two calls, the version, and the number
    of arrivals: a repeated call skips a turn."""
    state = astuple(replace(await replica.read_state(), last_arrival_us=0, arrived_total=0))
    contents = await ground.read()
    members = {name: set(value) for name, value in contents.items() if name != "state"}
    return state[2:11], state[12:15], members


@pytest.mark.parametrize("doing", DOINGS)
async def test_repeated_call_has_the_effect_of_one(
    ground: Ground, open_room: Open, doing: str
) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, ["ann", "bob"])
    await replica.allow(1)
    await replica.released()
    await replica.allow(2)
    arrival_us = replies["ann"].turn_us
    await DOINGS[doing](replica, arrival_us)
    once = await summary(ground, replica)
    await DOINGS[doing](replica, arrival_us)
    assert await summary(ground, replica) == once


async def test_repeated_grant_counts_each_time(open_room: Open) -> None:
    replica = await open_room()
    await replica.allow(2)
    assert (await replica.allow(2)).pending_grants == 4
