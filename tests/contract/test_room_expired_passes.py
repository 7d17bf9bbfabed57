"""A pass that expired before its end counts while its slot is held: on every store."""

from gatekeeper.policy.decision import SlotGrant, VoidToken
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import VisitorId
from tests.contract.grounds import Ground, Open, Replica, arrive, confirm, line_up, poll_request

ANN = VisitorId("ann")


async def with_pass(replica: Replica, name: str, turn_us: int = 1) -> object:
    """The reply to a visitor whose pass has expired before its end."""
    return await replica.queue.poll(poll_request(name, turn_us, has_pass=True))


async def test_expired_pass_counts_while_its_slot_is_held(ground: Ground, open_room: Open) -> None:
    replica = await open_room(burst=10)
    await arrive(replica, ["ann", "bob"])
    await confirm(replica, ["bob"])
    for name in ("ann", "bob"):  # one of them was unconfirmed until now
        grant = await with_pass(replica, name)
        assert isinstance(grant, SlotGrant)
        assert grant.confirmed
    contents = await ground.read()
    assert contents["active"].keys() == {"ann", "bob"}
    assert "unconfirmed" not in contents
    assert (await replica.read_state()).admitted_total == 2


async def test_expired_pass_without_slot_is_void(ground: Ground, open_room: Open) -> None:
    replica = await open_room(burst=10, confirm_timeout="20s")
    await replica.allow(10)
    await arrive(replica, ["ann"])
    assert await with_pass(replica, "unknown") == VoidToken()
    await ground.pass_time(26)  # the slot has ended, and no pacer has called since
    assert await with_pass(replica, "ann") == VoidToken()
    await replica.set_mode(Mode.OPEN)
    assert await with_pass(replica, "ann") == VoidToken()
    state = await replica.read_state()
    assert (state.queue_length, state.pending_grants) == (0, 10)


async def test_expired_pass_is_no_place_in_the_queue(open_room: Open) -> None:
    replica = await open_room(rate=0)
    waiting = await line_up(replica, ["ann"])
    assert await with_pass(replica, "ann", waiting["ann"].turn_us) == VoidToken()
    assert (await replica.read_state()).queue_length == 1


async def test_revoked_visitor_has_no_expired_pass(open_room: Open) -> None:
    replica = await open_room(burst=10)
    await arrive(replica, ["ann"])
    await replica.queue.leave([ANN])
    assert await with_pass(replica, "ann") == VoidToken()
