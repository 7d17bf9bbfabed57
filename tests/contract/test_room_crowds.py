"""Floods, lurkers and no-shows, in figures: their cost for visitors and the origin."""

import pytest

from gatekeeper.policy.decision import SlotGrant
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.visitor_calls import ArrivalRequest
from tests.contract.virtual_room import VirtualRoom

PHASES_S = [0.0, 0.13, 0.49, 0.77, 0.98]  # of the room's second


async def waits_s(room: VirtualRoom, comes_s: list[float]) -> list[float]:
    """The waits of visitors who arrive at these times."""
    for number, at_s in enumerate(comes_s):
        room.come(at_s, f"honest {number}")
    await room.run(until_s=comes_s[-1] + 20)
    return [
        round(room.admitted_at_s[f"honest {number}"] - at_s, 3)
        for number, at_s in enumerate(comes_s)
    ]


@pytest.mark.parametrize("burst", [1, 2, 10])
@pytest.mark.parametrize(("rate", "apart_s"), [("60/min", 5), ("30/min", 7), ("6/min", 35)])
async def test_flood_without_cookies_delays_no_visitor(
    rate: str, apart_s: float, burst: int
) -> None:
    """Visitors who arrive one by one are admitted at once. During the flood they confirm first,
    after a second; also if the bucket holds only one admission, which an unconfirmed newcomer could
    take."""
    between_s = 60 / float(rate.removesuffix("/min"))
    comes_s = [10 + apart_s * number + phase * between_s for number, phase in enumerate(PHASES_S)]
    alone, flooded = (VirtualRoom(rate=rate, burst=burst, max_active=20) for _ in range(2))
    flooded.flood(per_s=20, until_s=comes_s[-1] + 5)
    assert await waits_s(alone, comes_s) == [0.0] * len(comes_s)
    assert max(await waits_s(flooded, comes_s)) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("burst", [1, 2, 10])
@pytest.mark.parametrize("rate", ["60/min", "120/min", "600/min"])
async def test_flood_costs_the_line_that_follows_at_most_2_s(rate: str, burst: int) -> None:
    """Half a bucket of unconfirmed slots would delay everyone in that line by seconds."""
    between_s = 60 / float(rate.removesuffix("/min"))
    comes_s = [30 + number * 0.4 * between_s for number in range(2 * burst + 10)]
    alone, flooded = (VirtualRoom(rate=rate, burst=burst) for _ in range(2))
    flooded.flood(per_s=20, until_s=comes_s[-1])
    without = await waits_s(alone, comes_s)
    assert max(await waits_s(flooded, comes_s)) <= max(without) + 2.1


async def test_crowd_of_half_a_bucket_walks_in_at_once() -> None:
    """A flood holds more unconfirmed slots than that; two crowds in a row are not a flood."""
    room = VirtualRoom(rate="60/min", burst=10)
    comes_s = [10.0] * 5 + [20.0] * 5
    assert await waits_s(room, comes_s) == [0.0] * len(comes_s)


@pytest.mark.parametrize(("rate", "is_kept"), [("60/min", True), ("120/min", False)])
async def test_last_admission_is_kept_for_a_visitor_about_to_confirm(
    rate: str, is_kept: bool
) -> None:
    """With a burst of 1, for two seconds, if the next admission would take a second or longer."""
    room = VirtualRoom(rate=rate, burst=1)
    queue = room.replica.queue
    await queue.join(starting=True)

    async def enters(name: str, *, after_s: float) -> bool:
        await room.ground.pass_time(after_s)
        standing = await queue.arrive(ArrivalRequest(VisitorId(name)))
        return isinstance(standing, SlotGrant)

    assert await enters("first", after_s=5)
    assert not await enters("second, who never confirms", after_s=0.1)
    assert await enters("third", after_s=1.5) is not is_kept
    assert await enters("fourth", after_s=2.1)


async def test_flood_leaves_only_unconfirmed_slots() -> None:
    room = VirtualRoom(rate="60/min", burst=10, max_active=20)
    room.flood(per_s=20, until_s=25)
    await room.run(until_s=25)
    contents = await room.ground.read()
    assert contents.keys() == {"state", "replicas", "unconfirmed"}
    assert len(contents["unconfirmed"]) <= 20


@pytest.mark.parametrize(("connected", "most_s"), [(False, 2), (True, 5)], ids=["polls", "streams"])
async def test_lurkers_who_never_claim_delay_no_visitor(*, connected: bool, most_s: float) -> None:
    """Heartbeats on streams claim nothing, even if an admission is due: a lurker on a stream keeps
    an admission for one claim window, and then it returns to the bucket."""
    comes_s = [40 + 9 * number + phase_s for number, phase_s in enumerate(PHASES_S)]
    keys: dict[str, object] = {"rate": "60/min", "burst": 1, "claim_timeout": "4s"}
    without = await waits_s(VirtualRoom(**keys), comes_s)
    room = VirtualRoom(**keys)
    for number in range(7):
        room.lurk(f"lurker {number}", first_s=number * 1.0, every_s=7, connected=connected)
    with_lurkers = await waits_s(room, comes_s)
    assert max(a - b for a, b in zip(with_lurkers, without, strict=True)) <= most_s


async def test_origin_receives_the_rate_despite_no_shows() -> None:
    room = VirtualRoom(rate="120/min", burst=1, claim_timeout="10s")
    for number in range(760):
        polls = 1 if number % 3 == 0 else 1_000_000
        room.come(number / 3.5, f"visitor {number}", polls=polls, every_s=4)
    await room.run(until_s=210)
    claims = sum(30 <= at_s < 210 for at_s in room.admitted_at_s.values())
    assert 0.95 <= claims / (3 * 120) <= 1.05
    assert (await room.replica.read_state()).abandoned_total > 120
