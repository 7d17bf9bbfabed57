"""Places that belong to one device: invited visitors with several devices, on every store."""

import asyncio
from dataclasses import replace

from gatekeeper.policy.decision import (
    Elsewhere,
    LineFull,
    QueuePosition,
    SlotGrant,
    Standing,
    UsedInvitation,
    VoidToken,
)
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.move_request import Move, MoveRequest
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest
from tests.contract.grounds import Ground, Open, Replica, enter, line_up, poll_request

ANN = VisitorId("ann")
PHONE, LAPTOP, TABLET = "phone-01", "laptop01", "tablet01"
HOUR_US = 3_600_000_000


class Devices:
    """The devices of one invited visitor."""

    def __init__(self, replica: Replica, *, until_us: int) -> None:
        self.replica = replica
        self.until_us = until_us
        self.turns_us: dict[str, int] = {}

    async def redeem(
        self, device: str, *, later_us: int = 0
    ) -> QueuePosition | LineFull | Elsewhere | UsedInvitation:
        """Arrive with the invitation, or with another one that expires later."""
        request = ArrivalRequest(ANN, device=device, invited_until_us=self.until_us + later_us)
        standing = await self.replica.queue.arrive_invited(request)
        if isinstance(standing, QueuePosition):
            self.turns_us[device] = standing.turn_us
        return standing

    def request(self, device: str, *, later_us: int = 0, connected: bool = False) -> PollRequest:
        return PollRequest(
            ANN,
            self.turns_us[device],
            has_pass=False,
            connected=connected,
            device=device,
            invited_until_us=self.until_us + later_us,
        )

    async def poll(self, device: str, *, later_us: int = 0) -> Standing:
        return await self.replica.queue.poll(self.request(device, later_us=later_us))

    async def claim(self, device: str, *, later_us: int = 0) -> None:
        """Return the ticket, be released, claim."""
        standing = await self.poll(device, later_us=later_us)
        if isinstance(standing, QueuePosition):
            await self.replica.allow(1)
            assert await self.replica.released() == 1
            standing = await self.poll(device, later_us=later_us)
        assert isinstance(standing, SlotGrant)


async def devices_of(open_room: Open, *, valid_us: int = HOUR_US, **keys: object) -> Devices:
    replica = await open_room(**({"rate": 0} | keys))
    return Devices(replica, until_us=(await replica.read_state()).now_us + valid_us)


async def test_invited_visitor_confirms_first_whatever_the_room(open_room: Open) -> None:
    """Nobody enters by an invitation alone: the ticket has to be returned."""
    ann = await devices_of(open_room, rate="600/min", burst=10)
    standing = await ann.redeem(PHONE)
    assert isinstance(standing, QueuePosition)
    assert not standing.confirmed
    assert isinstance(await ann.poll(PHONE), SlotGrant)


async def test_second_device_finds_the_same_place(open_room: Open) -> None:
    ann = await devices_of(open_room)
    await ann.redeem(PHONE)
    phone = await ann.poll(PHONE)
    await line_up(ann.replica, ["bob", "cat"])
    await ann.redeem(LAPTOP)
    laptop = await ann.poll(LAPTOP)
    assert isinstance(phone, QueuePosition)
    assert laptop == replace_moved(phone)
    assert (await ann.replica.read_state()).queue_length == 3


def replace_moved(place: QueuePosition) -> QueuePosition:
    """The same place, by a ticket that names another turn."""
    return replace(place, is_moved=True)


async def test_device_that_claims_second_is_elsewhere(open_room: Open) -> None:
    ann = await devices_of(open_room)
    for device in (PHONE, LAPTOP):
        await ann.redeem(device)
        await ann.poll(device)
    await ann.claim(LAPTOP)
    for _ in range(2):
        assert await ann.poll(PHONE) == Elsewhere()
        assert isinstance(await ann.poll(LAPTOP), SlotGrant)  # a reply was lost
    assert (await ann.replica.read_state()).active == 1


async def test_two_claims_in_one_batch_are_one(open_room: Open) -> None:
    ann = await devices_of(open_room)
    for device in (PHONE, LAPTOP):
        await ann.redeem(device)
        await ann.poll(device)
    await ann.replica.allow(1)
    await ann.replica.released()
    standings = await asyncio.gather(
        *(ann.replica.queue.poll(ann.request(device)) for device in (PHONE, LAPTOP, PHONE))
    )
    assert isinstance(standings[0], SlotGrant)
    assert standings[1] == Elsewhere()
    assert isinstance(standings[2], SlotGrant)


async def test_connected_device_learns_of_the_claim(open_room: Open) -> None:
    ann = await devices_of(open_room)
    for device in (PHONE, LAPTOP):
        await ann.redeem(device)
        await ann.poll(device)
    await ann.claim(PHONE)
    request = ann.request(LAPTOP, connected=True)
    assert await ann.replica.queue.poll(request) == Elsewhere()


async def test_redeemed_again_inside_is_elsewhere(open_room: Open) -> None:
    ann = await devices_of(open_room)
    await ann.redeem(PHONE)
    await ann.claim(PHONE)
    assert await ann.redeem(LAPTOP) == Elsewhere()
    assert await ann.redeem(LAPTOP, later_us=HOUR_US) == Elsewhere()


async def test_invitation_is_used_after_the_session(ground: Ground, open_room: Open) -> None:
    """As long as it is valid, no matter when the session ended."""
    keys = {"session_idle_timeout": "1m", "session_absolute_timeout": "10m", "place_ttl": "10m"}
    ann = await devices_of(open_room, valid_us=50 * HOUR_US, **keys)
    await ann.redeem(PHONE)
    await ann.claim(PHONE)
    for seconds in (120, 3600, 40 * 3600):
        await ground.pass_time(seconds)
        await ann.replica.released()
        assert await ann.redeem(LAPTOP) == UsedInvitation()
        assert await ann.redeem(PHONE) == UsedInvitation()


async def test_later_invitation_begins_again(ground: Ground, open_room: Open) -> None:
    """At the end of the line; earlier tickets are void."""
    ann = await devices_of(open_room, session_idle_timeout="1m", session_absolute_timeout="10m")
    for device in (PHONE, LAPTOP):
        await ann.redeem(device)
        await ann.poll(device)
    await ann.claim(PHONE)
    await ground.pass_time(120)
    await ann.replica.released()
    await line_up(ann.replica, ["bob"])
    assert isinstance(await ann.redeem(TABLET, later_us=HOUR_US), QueuePosition)
    standing = await ann.poll(TABLET, later_us=HOUR_US)
    assert isinstance(standing, QueuePosition)
    assert standing.ahead == 1
    for device in (PHONE, LAPTOP):
        assert await ann.poll(device) == Elsewhere()


async def test_earlier_invitation_stays_used_after_a_later_one(
    ground: Ground, open_room: Open
) -> None:
    ann = await devices_of(open_room, session_idle_timeout="1m", session_absolute_timeout="10m")
    await ann.redeem(PHONE)
    await ann.claim(PHONE)
    await ground.pass_time(120)
    await ann.replica.released()
    await ann.redeem(TABLET, later_us=HOUR_US)
    assert await ann.redeem(PHONE) == UsedInvitation()
    # No ticket was returned, so the next device gets the place.
    assert isinstance(await ann.redeem(LAPTOP, later_us=HOUR_US), QueuePosition)
    await ann.claim(LAPTOP, later_us=HOUR_US)


async def test_visitor_who_left_the_line_may_return(open_room: Open) -> None:
    """The visitor gave the place back: the same invitation gives a new place, at the end."""
    ann = await devices_of(open_room)
    await ann.redeem(PHONE)
    await ann.poll(PHONE)
    _, left = await ann.replica.queue.leave([ANN], with_tickets=True, devices=[PHONE])
    assert left == ["place"]
    old_turn_us = ann.turns_us[PHONE]
    await line_up(ann.replica, ["bob"])
    assert isinstance(await ann.redeem(LAPTOP), QueuePosition)
    assert ann.turns_us[LAPTOP] > old_turn_us
    standing = await ann.poll(LAPTOP)
    assert isinstance(standing, QueuePosition)
    assert standing.ahead == 1
    assert await ann.poll(PHONE) == Elsewhere()  # the old ticket


async def test_revoked_visitor_gets_no_place(open_room: Open) -> None:
    ann = await devices_of(open_room)
    await ann.redeem(PHONE)
    await ann.claim(PHONE)
    await ann.replica.queue.leave([ANN])
    assert await ann.redeem(LAPTOP) == UsedInvitation()
    assert await ann.redeem(LAPTOP, later_us=HOUR_US) == UsedInvitation()


async def test_leaving_elsewhere_costs_the_holder_nothing(open_room: Open) -> None:
    ann = await devices_of(open_room)
    for device in (PHONE, LAPTOP):
        await ann.redeem(device)
        await ann.poll(device)
    await ann.claim(PHONE)
    for other in (LAPTOP, None):
        _, left = await ann.replica.queue.leave([ANN], with_tickets=True, devices=[other])
        assert left == ["nothing"]
    assert isinstance(await ann.poll(PHONE), SlotGrant)
    _, left = await ann.replica.queue.leave([ANN], with_tickets=True, devices=[PHONE])
    assert left == ["slot"]


async def test_claim_without_the_store_counts_for_one_device(open_room: Open) -> None:
    """A pass that was used before the store knew of the claim holds the place."""
    ann = await devices_of(open_room)
    for device in (PHONE, LAPTOP):
        await ann.redeem(device)
        await ann.poll(device)
    until_us = (await ann.replica.read_state()).now_us + HOUR_US
    assert await ann.replica.queue.touch(ANN, until_us=until_us, ends_us=until_us)
    assert await ann.poll(LAPTOP) == Elsewhere()
    assert await ann.redeem(TABLET) == Elsewhere()


async def test_place_is_found_when_the_line_is_full(open_room: Open) -> None:
    ann = await devices_of(open_room, queue_limit=1)
    await ann.redeem(PHONE)
    await ann.poll(PHONE)
    assert isinstance(await ann.redeem(LAPTOP), QueuePosition)
    other = ArrivalRequest(VisitorId("bob"), device=TABLET, invited_until_us=ann.until_us)
    assert await ann.replica.queue.arrive_invited(other) == LineFull()


async def test_holders_are_forgotten_with_the_last_ticket(ground: Ground, open_room: Open) -> None:
    ann = await devices_of(open_room, place_ttl="10m", session_idle_timeout="1m")
    await ann.redeem(PHONE)
    await ann.claim(PHONE)
    assert (await ground.read())["holders"].keys() == {"ann"}
    await ground.pass_time(3540)
    await ann.replica.released()
    assert "holders" in await ground.read()
    await ground.pass_time(61)
    await ann.replica.released()
    contents = await ground.read()
    assert "holders" not in contents
    assert "held_until" not in contents
    assert contents["state"]["has_holders"] == "0"


async def test_expired_pass_of_the_holder_is_asked_for(open_room: Open) -> None:
    """A pass names no device: it belongs to the device that claimed."""
    ann = await devices_of(open_room)
    await ann.redeem(PHONE)
    await ann.claim(PHONE)
    request = poll_request("ann", ann.turns_us[PHONE], has_pass=True)
    assert isinstance(await ann.replica.queue.poll(request), SlotGrant)


async def test_ordinary_visitors_are_of_no_device(ground: Ground, open_room: Open) -> None:
    ann = await devices_of(open_room)
    await enter(ann.replica, "bob")
    assert "holders" not in await ground.read()
    await ann.redeem(PHONE)
    await ann.claim(PHONE)
    turn_us = await enter(ann.replica, "cat")
    again = await ann.replica.queue.poll(poll_request("cat", turn_us))
    assert isinstance(again, SlotGrant)
    assert (await ground.read())["holders"].keys() == {"ann"}


async def test_void_ticket_of_a_device_stays_void(open_room: Open) -> None:
    ann = await devices_of(open_room)
    await ann.redeem(PHONE)
    await ann.claim(PHONE)
    await ann.replica.queue.leave([ANN], with_tickets=True, devices=[PHONE])
    assert await ann.poll(PHONE) == VoidToken()


async def moved_to_phone(ann: Devices) -> None:
    """The place of the laptop, moved to the phone by a code."""
    await ann.redeem(LAPTOP)
    await ann.poll(LAPTOP)
    made_us = (await ann.replica.read_state()).now_us
    request = MoveRequest(ANN, made_on=LAPTOP, to=PHONE, made_us=made_us)
    assert isinstance(await ann.replica.queue.move(request), Move)
    ann.turns_us[PHONE] = ann.turns_us[LAPTOP]


async def test_moved_place_is_not_taken_back_by_the_invitation(
    ground: Ground, open_room: Open
) -> None:
    """While the phone is silent its ticket keeps the place: for `place_ttl` since its last poll."""
    ann = await devices_of(open_room, valid_us=50 * HOUR_US, place_ttl="2h")
    await moved_to_phone(ann)
    await line_up(ann.replica, ["bob"])
    for seconds in (1, 91, 3600, 3000):  # in the queue, then removed by the sweep
        await ground.pass_time(seconds)
        await ann.replica.released()
        for later_us in (0, HOUR_US):
            assert await ann.redeem(TABLET, later_us=later_us) == Elsewhere()
        assert await ann.poll(LAPTOP) == Elsewhere()
    standing = await ann.poll(PHONE)
    assert isinstance(standing, QueuePosition)
    assert standing.ahead == 0  # bob did not poll either, or is behind ann
    await ground.pass_time(7000)
    await ann.replica.released()
    assert await ann.redeem(TABLET) == Elsewhere()


async def test_moved_place_ends_with_the_ticket_of_its_device(
    ground: Ground, open_room: Open
) -> None:
    ann = await devices_of(open_room, valid_us=50 * HOUR_US, place_ttl="2h")
    await moved_to_phone(ann)
    await ground.pass_time(2.2 * 3600)
    await ann.replica.released()
    assert isinstance(await ann.redeem(TABLET), QueuePosition)
    assert isinstance(await ann.poll(TABLET), QueuePosition)


async def test_moved_place_that_the_device_left_is_free(open_room: Open) -> None:
    """The invitation gives a place again, on any device; the old tickets do not."""
    ann = await devices_of(open_room)
    await moved_to_phone(ann)
    _, left = await ann.replica.queue.leave([ANN], with_tickets=True, devices=[LAPTOP])
    assert left == ["nothing"]
    assert await ann.redeem(TABLET) == Elsewhere()
    _, left = await ann.replica.queue.leave([ANN], with_tickets=True, devices=[PHONE])
    assert left == ["place"]
    assert isinstance(await ann.redeem(TABLET), QueuePosition)
    assert isinstance(await ann.poll(TABLET), QueuePosition)
    for device in (PHONE, LAPTOP):
        assert await ann.poll(device) == Elsewhere()


async def test_moved_place_that_was_claimed_begins_again(ground: Ground, open_room: Open) -> None:
    """After the session a later invitation gives a new place, as without a move."""
    ann = await devices_of(open_room, session_idle_timeout="1m", session_absolute_timeout="10m")
    await moved_to_phone(ann)
    await ann.claim(PHONE)
    assert await ann.redeem(TABLET, later_us=HOUR_US) == Elsewhere()
    await ground.pass_time(120)
    await ann.replica.released()
    assert await ann.redeem(TABLET) == UsedInvitation()
    assert isinstance(await ann.redeem(TABLET, later_us=HOUR_US), QueuePosition)
    assert isinstance(await ann.poll(TABLET, later_us=HOUR_US), QueuePosition)
    assert await ann.poll(PHONE) == Elsewhere()


async def test_moved_place_keeps_its_turn_after_a_loss(ground: Ground, open_room: Open) -> None:
    """The invitation is opened elsewhere before the phone polls: its later turn is not taken."""
    ann = await devices_of(open_room)
    await moved_to_phone(ann)
    phone = replace(ann.request(PHONE), moved_us=(await ann.replica.read_state()).now_us)
    await ground.write({})
    await ground.pass_time(1)
    await line_up(ann.replica, ["bob"])
    assert isinstance(await ann.redeem(TABLET), QueuePosition)
    assert (await ann.poll(TABLET)) == QueuePosition(ann.turns_us[TABLET], 1)
    for _ in range(2):
        assert await ann.replica.queue.poll(phone) == QueuePosition(phone.turn_us, 0)
    assert await ann.poll(TABLET) == Elsewhere()
    assert await ann.redeem(LAPTOP) == Elsewhere()
    assert (await ann.replica.read_state()).queue_length == 2
