"""An operator's calls about one visitor, on every store: find, admit, and search by reference."""

import pytest

from gatekeeper.policy.decision import QueuePosition, SlotGrant
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.reference import reference_of
from gatekeeper.policy.schedule import Event, Schedule
from gatekeeper.policy.tokens import VisitorId, new_visitor_id
from gatekeeper.room.standings import Whereabouts
from gatekeeper.room.visitor_search import scores_of, visitors_of_reference
from tests.contract.grounds import (
    Ground,
    Open,
    Replica,
    admitted_names,
    arrive,
    confirm,
    crowd,
    line_up,
    poll,
    poll_request,
)

ANN, BOB, CAT = VisitorId("ann"), VisitorId("bob"), VisitorId("cat")
MINUTE_US = 60_000_000


async def where(replica: Replica, visitor: VisitorId) -> Whereabouts:
    _, [found] = await replica.queue.find([visitor])
    return found


async def begin(replica: Replica, *, prequeue_s: float, start_s: float, order: str) -> None:
    """Begin an event; the times are seconds from now."""
    state = await replica.read_state()
    event = Event(
        name="sale",
        start_us=state.now_us + round(start_s * 1e6),
        announced_us=0,
        prequeue_us=state.now_us + round(prequeue_s * 1e6),
        order="draw" if order == "draw" else "arrival",
    )
    assert await replica.queue.change_events(state.schedule, Schedule.of([event])) is not None


# Find.


async def test_find_follows_a_visitor_through_the_room(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="0", claim_timeout="30s", session_idle_timeout="10m")
    assert (await where(replica, ANN)).state == "unknown"
    replies = await line_up(replica, ["bob", "ann"])
    turn_us = replies["ann"].turn_us
    assert await where(replica, ANN) == Whereabouts("waiting", ahead=1, turn_us=turn_us)
    await replica.allow(2)
    assert await replica.released() == 2
    found = await where(replica, ANN)
    now_us = (await replica.read_state()).now_us
    assert found.state == "released"
    assert found.until_us is not None
    assert now_us < found.until_us <= now_us + MINUTE_US / 2
    await poll(replica, {"ann": replies["ann"]})
    found = await where(replica, ANN)
    assert found.state == "admitted"
    assert found.ends_us is not None
    assert found.until_us is not None
    assert now_us + 9 * MINUTE_US < found.until_us < found.ends_us
    await replica.queue.leave([ANN])
    assert (await where(replica, ANN)).state == "void"
    await ground.pass_time(5 * 3600)
    assert (await where(replica, ANN)).state == "unknown"


async def test_find_separates_guesses_from_confirmed_visitors(open_room: Open) -> None:
    replica = await open_room(burst=4)
    await arrive(replica, ["ann"])
    assert (await where(replica, ANN)).state == "unconfirmed"
    await confirm(replica, ["ann"])
    assert (await where(replica, ANN)).state == "admitted"


async def test_find_changes_nothing_and_is_no_heartbeat(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="0")
    await line_up(replica, ["ann", "bob"])
    before = await ground.read()
    await replica.queue.find([ANN, BOB, CAT, ANN])
    assert await ground.read() == before
    await ground.pass_time(60)
    await replica.queue.find([ANN])
    await ground.pass_time(40)
    await replica.released()
    assert (await where(replica, ANN)).state == "unknown", "swept without a poll"


# Admit.


async def test_admitted_visitor_enters_and_nobody_else_moves(open_room: Open) -> None:
    replica = await open_room(rate="0")
    replies = await line_up(replica, crowd(5))
    name = crowd(5)[3]
    before = await replica.read_state()
    state, result = await replica.queue.admit(VisitorId(name))
    assert result == "released"
    assert (state.watermark_us, state.pending_grants) == (before.watermark_us, 0)
    assert (state.queue_length, state.active, state.expected) == (4, 1, 1)
    assert state.released_total == before.released_total + 1
    assert state.newer_than(before)
    standings = await poll(replica, replies)
    assert admitted_names(standings) == [name]
    aheads = [each.ahead for each in standings.values() if isinstance(each, QueuePosition)]
    assert aheads == [0, 1, 2, 3]
    assert (await replica.read_state()).admitted_total == 1


async def test_admission_of_one_visitor_costs_no_other(ground: Ground, open_room: Open) -> None:
    """Neither the rate nor a grant pays for it, and its no-show gives nothing back."""
    replica = await open_room(rate="6/min", burst=1, claim_timeout="30s")
    await arrive(replica, ["first"])  # takes the burst
    replies = await line_up(replica, ["bob", "ann", "cat"])
    await replica.queue.admit(ANN)
    assert await replica.released() == 0
    await ground.pass_time(10)
    assert await replica.released() == 1
    assert admitted_names(await poll(replica, {"bob": replies["bob"]})) == ["bob"]
    await ground.pass_time(5)
    await poll(replica, {"cat": replies["cat"]})
    before = await replica.read_state()
    await replica.set_mode(Mode.HOLD)
    await ground.pass_time(26)
    await replica.released()
    after = await replica.read_state()
    assert (await where(replica, ANN)).state == "unknown"
    assert (after.pending_grants, after.abandoned_total) == (0, before.abandoned_total + 1)


async def test_repeated_admission_changes_nothing(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="0")
    replies = await line_up(replica, ["ann"])
    await replica.queue.admit(ANN)
    before = await ground.read()
    assert (await replica.queue.admit(ANN))[1] == "held"
    assert await ground.read() == before
    await poll(replica, replies)
    before = await ground.read()
    assert (await replica.queue.admit(ANN))[1] == "held"
    assert await ground.read() == before


async def test_unknown_visitor_is_not_admitted(ground: Ground, open_room: Open) -> None:
    """Never seen, left, and with a ticket that was not returned."""
    replica = await open_room(rate="0")
    await line_up(replica, ["bob"])
    await replica.queue.leave([BOB])
    await arrive(replica, ["cat"])
    before = await ground.read()
    for visitor in (ANN, BOB, CAT):
        assert (await replica.queue.admit(visitor))[1] == "unknown"
    assert await ground.read() == before


async def test_admission_exceeds_a_full_room_by_one(open_room: Open) -> None:
    replica = await open_room(rate="0", max_active=1)
    await line_up(replica, ["ann", "bob"])
    await replica.allow(2)
    assert await replica.released() == 1
    state, result = await replica.queue.admit(BOB)
    assert (result, state.active) == ("released", 2)


@pytest.mark.parametrize(
    ("mode", "result"),
    [
        (Mode.AUTO, "released"),
        (Mode.OPEN, "released"),
        (Mode.HOLD, "closed"),
        (Mode.ENDED, "closed"),
    ],
)
async def test_mode_decides_whether_one_is_admitted(
    open_room: Open, mode: Mode, result: str
) -> None:
    replica = await open_room(rate="0")
    await line_up(replica, ["ann"])
    await replica.set_mode(mode)
    assert (await replica.queue.admit(ANN))[1] == result


@pytest.mark.parametrize("order", ["draw", "arrival"])
async def test_no_visitor_is_admitted_before_the_start(open_room: Open, order: str) -> None:
    replica = await open_room(rate="0")
    await line_up(replica, ["ann"])
    await begin(replica, prequeue_s=60, start_s=120, order=order)
    assert (await replica.queue.admit(ANN))[1] == "released", "the prequeue has not begun"
    await begin(replica, prequeue_s=-1, start_s=120, order=order)
    await line_up(replica, ["bob"])
    assert (await replica.queue.admit(BOB))[1] == "closed"
    await replica.set_mode(Mode.OPEN)
    assert (await replica.queue.admit(BOB))[1] == "released", "the operator's mode comes first"


async def test_no_visitor_is_admitted_during_the_draw(open_room: Open) -> None:
    replica = await open_room(rate="0")
    await begin(replica, prequeue_s=-60, start_s=60, order="draw")
    await line_up(replica, ["ann"])
    state = await replica.read_state()
    [event] = state.schedule.events
    assert state.undrawn == 1
    started = Event(
        name="sale", start_us=state.now_us, announced_us=0, prequeue_us=event.prequeue_us
    )
    await replica.queue.change_events(state.schedule, Schedule.of([started]))
    assert (await replica.queue.admit(ANN))[1] == "closed"


async def test_released_visitor_survives_the_release_of_others(open_room: Open) -> None:
    replica = await open_room(rate="0")
    replies = await line_up(replica, crowd(4))
    await replica.queue.admit(VisitorId(crowd(4)[2]))
    await replica.allow(3)
    assert await replica.released() == 3
    assert admitted_names(await poll(replica, replies)) == crowd(4)
    grants = [
        await replica.queue.poll(poll_request(name, replies[name].turn_us)) for name in crowd(4)
    ]
    assert all(isinstance(each, SlotGrant) for each in grants)


# Search.


async def test_reference_is_found_in_line_and_among_slots(open_room: Open) -> None:
    replica = await open_room(rate="0")
    names = [str(new_visitor_id()) for _ in range(30)]
    await line_up(replica, names)
    await replica.allow(10)
    await replica.released()
    room = replica.queue.rules.room
    for name in (names[0], names[9], names[10], names[29]):
        reference = reference_of(VisitorId(name))
        found = await visitors_of_reference(replica.store, room, reference, portion=4)
        assert found == [name]
    stranger = reference_of(new_visitor_id())
    assert await visitors_of_reference(replica.store, room, stranger, portion=4) == []


async def test_scores_of_one_score_are_all_read(ground: Ground, open_room: Open) -> None:
    """More visitors with the same turn than fit in one portion."""
    replica = await open_room(rate="0")
    contents = await ground.read()
    names = crowd(20)
    contents["queue"] = {name: 7.0 if name in names[:15] else 8.0 for name in names}
    await ground.write(contents)
    key = f"gk:{{{ground.room}}}:queue"
    portions = [each async for each in scores_of(replica.store, key, portion=3)]
    assert {name for portion in portions for name in portion} == set(names)
    assert max(map(len, portions)) <= 24
