"""Floods, lurkers and no-shows with figures: what they cost visitors and the origin."""

import pytest

from tests.contract.virtual_room import VirtualRoom

PHASES_S = [0.0, 0.13, 0.49, 0.77, 0.98]  # of the room's second


async def waits_s(room: VirtualRoom, comes_s: list[float]) -> list[float]:
    """How long visitors wait who come at these times."""
    for number, at_s in enumerate(comes_s):
        room.come(at_s, f"honest {number}")
    await room.run(until_s=comes_s[-1] + 10)
    return [
        round(room.admitted_at_s[f"honest {number}"] - at_s, 3)
        for number, at_s in enumerate(comes_s)
    ]


@pytest.mark.parametrize("burst", [1, 10])
async def test_flood_without_cookies_delays_no_visitor(burst: int) -> None:
    comes_s = [10 + 5 * number + phase_s for number, phase_s in enumerate(PHASES_S)]
    alone, flooded = (VirtualRoom(rate="60/min", burst=burst, max_active=20) for _ in range(2))
    flooded.flood(per_s=20, until_s=35)
    without = await waits_s(alone, comes_s)
    assert max(a - b for a, b in zip(await waits_s(flooded, comes_s), without, strict=True)) <= 2


async def test_flood_leaves_only_unconfirmed_slots() -> None:
    room = VirtualRoom(rate="60/min", burst=10, max_active=20)
    room.flood(per_s=20, until_s=25)
    await room.run(until_s=25)
    contents = await room.ground.read()
    assert contents.keys() == {"state", "replicas", "unconfirmed"}
    assert len(contents["unconfirmed"]) <= 20


@pytest.mark.parametrize(("connected", "most_s"), [(False, 2), (True, 5)], ids=["polls", "streams"])
async def test_lurkers_who_never_claim_delay_no_visitor(*, connected: bool, most_s: float) -> None:
    """Heartbeats on streams claim nothing even where an admission is due: such a lurker takes one
    claim window of it before the admission returns."""
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
    assert (await room.replica.look()).abandoned_total > 120
