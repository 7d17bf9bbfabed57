"""Settings in the state of a room: set together, kept through losses and restarts."""

import pytest

from gatekeeper.config.settings import SettingsChange
from gatekeeper.room.state import RoomState
from tests.contract.grounds import Ground, Open, Replica

SALE = '{"burst":[20,1],"title":["Größer & schöner 🎟","You are in line"]}'
MORE = '{"burst":[30,1]}'


async def set_settings(
    replica: Replica,
    overrides: str,
    *,
    before: str = "",
    rate: float | None = None,
    message: str | None = None,
) -> RoomState | None:
    change = SettingsChange(overrides, rate, message, {})
    return await replica.queue.change_settings(before, change)


async def lose_everything(ground: Ground) -> None:
    await ground.write({})
    await ground.pass_time(1)


async def test_settings_are_in_every_reply_from_then_on(ground: Ground, open_room: Open) -> None:
    one, other = await open_room(), await open_room()
    before = await one.read_state()
    state = await set_settings(one, SALE, rate=800, message="Soon")
    assert state is not None
    assert (state.overrides, state.rate_per_minute, state.message) == (SALE, 800, "Soon")
    assert state.version == before.version + 1
    advanced, _ = await other.queue.advance()
    assert (advanced.overrides, advanced.rate_per_minute) == (SALE, 800)


async def test_rate_and_message_stay_when_a_change_leaves_them_out(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room()
    await replica.queue.set_rate(99)
    await replica.queue.set_message("Soon")
    state = await set_settings(replica, SALE)
    assert state is not None
    assert (state.rate_per_minute, state.message) == (99, "Soon")
    state = await set_settings(replica, "", before=SALE, message="")
    assert state is not None
    assert (state.overrides, state.rate_per_minute, state.message) == ("", 99, "")


async def test_change_of_other_overrides_than_stored_changes_nothing(
    ground: Ground, open_room: Open
) -> None:
    """Two operators read the same settings; the second change is refused as a whole."""
    one, other = await open_room(), await open_room()
    assert await set_settings(one, SALE) is not None
    before = await ground.read()
    assert await set_settings(other, MORE, rate=5, message="x") is None
    assert await set_settings(other, SALE, rate=5, message="x") is None
    assert await ground.read() == before
    assert other.newest is not None
    assert other.newest.overrides == SALE


async def test_repeated_change_has_the_effect_of_one(ground: Ground, open_room: Open) -> None:
    """The reply of the first call may be lost: the caller reads again and sets the same."""
    replica = await open_room()
    await set_settings(replica, SALE, rate=800)
    state = await set_settings(replica, SALE, before=SALE, rate=800)
    assert state is not None
    assert (state.overrides, state.rate_per_minute) == (SALE, 800)


async def test_rate_of_zero_empties_the_bucket(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="600/min", burst=10)
    await set_settings(replica, SALE, rate=0)
    assert (await ground.read())["state"]["level"] == "0"


async def test_settings_outlive_a_restart(ground: Ground, open_room: Open) -> None:
    await set_settings(await open_room(), SALE, rate=800, message="Soon")
    state = await (await open_room()).read_state()
    assert (state.overrides, state.rate_per_minute, state.message) == (SALE, 800, "Soon")


async def test_settings_are_written_back_to_an_empty_store(ground: Ground, open_room: Open) -> None:
    replica = await open_room()
    await set_settings(replica, SALE, rate=800, message="Soon")
    await lose_everything(ground)
    state = await replica.read_state()
    assert (state.overrides, state.rate_per_minute, state.message) == (SALE, 800, "Soon")


async def test_newest_settings_are_written_back_in_any_order(
    ground: Ground, open_room: Open
) -> None:
    for first_is_newest in (True, False):
        old, new = await open_room(), await open_room()
        held = (await new.read_state()).overrides
        await set_settings(old, SALE, before=held)
        await set_settings(new, MORE, before=SALE)
        await lose_everything(ground)
        for replica in (new, old) if first_is_newest else (old, new):
            await replica.queue.join()
        assert (await new.read_state()).overrides == MORE


async def test_settings_made_after_a_loss_are_kept(ground: Ground, open_room: Open) -> None:
    informed = await open_room()
    await set_settings(informed, SALE, rate=800)
    await lose_everything(ground)
    fresh = await open_room()
    await set_settings(fresh, MORE)
    state = await informed.queue.join()
    assert state.overrides == MORE
    assert state.rate_per_minute == 800, "the operator has not set the rate since the loss"


@pytest.mark.parametrize("live", ["Doors at noon", ""])
async def test_message_lasts_until_that_of_the_file_changes(
    ground: Ground, open_room: Open, live: str
) -> None:
    replica = await open_room(message="Welcome")
    assert (await replica.read_state()).message == "Welcome"
    await replica.queue.set_message(live)
    assert (await (await open_room(message="Welcome")).read_state()).message == live
    assert (await (await open_room(message="Hello")).read_state()).message == "Hello"


async def test_store_of_an_older_release_has_no_overrides(ground: Ground, open_room: Open) -> None:
    replica = await open_room()
    await replica.queue.set_message("Soon")
    contents = await ground.read()
    for field in ("overrides", "configured_message"):
        contents["state"].pop(field, None)
    await ground.write(contents)
    state = await (await open_room()).read_state()
    assert (state.overrides, state.message) == ("", "Soon")
