"""What is going on, in one sentence: the most pressing first."""

from dataclasses import replace
from typing import Any

import pytest

from gatekeeper.admin.diagnosis import Facts, Statement, statements
from gatekeeper.admin.samples import Reading
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.room.state import RoomState
from gatekeeper.room.worker_figures import Figures
from tests.unit.admin.test_samples import ORIGIN, STATE, figures

SALE = RoomName("sale")
NOW_S = 1_800_000_000.0
RULES = Rules.of(RoomConfig(name=SALE, max_active=400))
WAITING = replace(STATE, queue_length=1204, rate_per_minute=500.0, active=310)


def answers(count: int, *, bucket: int = 3) -> tuple[int, ...]:
    return tuple(count if index == bucket else 0 for index in range(ORIGIN))


def facts(
    state: RoomState = WAITING,
    *,
    before: Figures | None = None,
    after: Figures | None = None,
    released_before: int = 0,
    **more: object,
) -> Facts:
    earlier = replace(state, released_total=released_before)
    first = Reading(NOW_S - 60, {SALE: earlier}, {"one": before or figures("one")})
    last = Reading(NOW_S, {SALE: state}, {"one": after or figures("one")})
    known: dict[str, object] = {
        "now_s": NOW_S,
        "rules": [RULES],
        "states": {SALE: state},
        "readings": [first, last],
        "silent": [],
        "living": 1,
        "store_lost_at_s": None,
        "mode_by": {},
        "events_on": True,
    }
    return Facts(**known | more)  # type: ignore[arg-type]


def said(known: Facts) -> list[str]:
    return [each.text for each in statements(known)]


MOVING = replace(WAITING, released_total=500)


def test_a_line_that_moves_is_told_in_numbers() -> None:
    assert said(facts(MOVING)) == [
        "1,204 wait, 500 a minute are let in; newcomers wait about 2 min. 310 of 400 inside."
    ]


def test_nobody_waits() -> None:
    assert statements(facts(replace(STATE, active=3))) == [
        Statement("calm", "Nobody waits, 3 of 400 inside.")
    ]


def test_who_holds_the_line_and_since_when() -> None:
    held = replace(WAITING, mode=Mode.HOLD)
    by_maria = facts(held, mode_by={SALE: ("maria", 99.0)})
    assert statements(by_maria) == [
        Statement("warn", "Held by maria since {since}: 1,204 wait, nobody is let in.", 99.0)
    ]
    assert said(facts(held)) == ["Held: 1,204 wait, nobody is let in."]
    one = replace(held, queue_length=1)
    assert said(facts(one, mode_by={SALE: ("", 99.0)})) == [
        "Held since {since}: 1 waits, nobody is let in."
    ]


def test_ended_and_open_are_told_apart() -> None:
    assert said(facts(replace(WAITING, mode=Mode.ENDED))) == [
        "Ended: 1,204 wait and read that it is over, nobody is let in."
    ]
    assert said(facts(replace(WAITING, mode=Mode.OPEN))) == [
        "Open: everybody goes in at once, 310 are inside."
    ]


def test_why_nobody_moves_has_its_reasons() -> None:
    assert said(facts(replace(WAITING, active=400))) == [
        "Full, 400 of 400 inside: 1,204 wait for someone to leave."
    ]
    assert said(facts(replace(WAITING, rate_per_minute=0.0))) == [
        "The rate is 0: 1,204 wait for you to allow some."
    ]
    returning = replace(WAITING, recovering_until_us=10)
    assert said(facts(returning)) == [
        "The store was away or came back empty: 1,204 wait until all had time to return."
    ]
    [stuck] = statements(facts(WAITING))
    assert stuck.level == "bad"
    assert stuck.text == "1,204 wait and nobody was let in for 30 s at a rate of 500 a minute."


def test_a_slow_rate_is_not_taken_for_a_line_that_is_stuck() -> None:
    assert said(facts(replace(WAITING, rate_per_minute=1.0)))[0].startswith(
        "1,204 wait, 1 a minute"
    )


def test_the_store_is_away() -> None:
    first, second = statements(facts(MOVING, store_lost_at_s=NOW_S - 40))
    assert first.level == "bad"
    assert first.text == (
        "The store has been away for 40 s: those inside stay, nobody in line moves, newcomers wait."
    )
    assert (second.level, second.text) == (
        "busy",
        "As last known auto: 1,204 wait, 310 inside.",
    )
    opening = [replace(RULES, store_failure_mode="open")]
    assert said(facts(MOVING, store_lost_at_s=NOW_S - 40, rules=opening))[0].endswith(
        "a share of newcomers enters sale."
    )


def test_an_origin_that_fails_is_told_with_its_share_and_causes() -> None:
    before = figures("one", origin=answers(1000), failures={"502": 50})
    one_cause = figures("one", origin=answers(2000), failures={"502": 170})
    [first, _] = statements(facts(MOVING, before=before, after=one_cause))
    assert first == Statement("bad", "The origin answers 502 for 12% of requests (last minute).")
    several = figures("one", origin=answers(1950), failures={"502": 60, "unreachable": 50})
    assert said(facts(MOVING, before=before, after=several))[0] == (
        "The origin fails 6.0% of requests (last minute): no connection 50, 502 10."
    )
    away = figures("one", origin=answers(1000), failures={"502": 50, "unreachable": 40})
    assert said(facts(MOVING, before=before, after=away))[0] == (
        "The origin gives no connection for 100% of requests (last minute)."
    )


def test_a_room_whose_part_of_the_site_fails_is_named_when_the_whole_is_well() -> None:
    def both(*, failing: int, of: int, slow: bool = False) -> Figures:
        shop = figures("one", origin=answers(10_000)).rooms
        part = answers(of, bucket=11 if slow else 3)
        other = figures("one", room="other", origin=part, failures={"500": failing}).rooms
        return replace(figures("one"), rooms={**shop, **other})

    two: dict[str, Any] = {
        "rules": [RULES, replace(RULES, room=RoomName("other"))],
        "states": {SALE: MOVING, RoomName("other"): MOVING},
    }
    assert said(facts(MOVING, after=both(failing=40, of=100), **two))[0] == (
        "other: the origin answers 500 for 40% of requests (last minute)."
    )
    assert said(facts(MOVING, after=both(failing=200, of=200), **two))[0] == (
        "other: the origin answers 500 for 100% of requests (last minute)."
    )
    assert said(facts(MOVING, after=both(failing=0, of=100, slow=True), **two))[0] == (
        "other: the origin is slow: half of its answers take longer than 3.8 s."
    )
    assert said(facts(MOVING, after=both(failing=5000, of=10_000), **two))[0] == (
        "The origin answers 500 for 25% of requests (last minute)."
    )


def test_a_single_failure_is_no_news() -> None:
    after = figures("one", origin=answers(10), failures={"500": 2})
    assert len(said(facts(MOVING, after=after))) == 1


def test_an_origin_that_is_slow_is_told() -> None:
    after = figures("one", origin=answers(10, bucket=11))
    assert said(facts(MOVING, after=after))[0] == (
        "The origin is slow: half of its answers take longer than 3.8 s."
    )


def test_replicas_that_are_silent_or_down_or_without_nats_are_told() -> None:
    silent = [(f"gate-{number}", 12.0) for number in range(5)]
    assert said(facts(MOVING, silent=silent, living=3))[0] == (
        "5 of 8 replicas are silent: gate-0 for 12 s, gate-1 for 12 s, gate-2 for 12 s and 2 more."
    )
    assert (
        said(facts(MOVING, down=1))[0] == "1 worker of this machine died and will be started again."
    )
    lonely = figures("one", events_up=False)
    assert "NATS is away for 1 of 1 replicas" in said(facts(MOVING, after=lonely))[0]
    assert len(said(facts(MOVING, after=lonely, events_on=False))) == 1


def test_an_audit_log_that_could_not_be_written_is_told() -> None:
    assert said(facts(MOVING, unwritten=2))[0] == "The disk did not take 2 audit entries."


@pytest.mark.parametrize("rooms", [1, 2])
def test_with_several_rooms_each_is_named(rooms: int) -> None:
    all_rules = [replace(RULES, room=RoomName(name)) for name in ("sale", "other")[:rooms]]
    states = {rules.room: replace(WAITING, mode=Mode.HOLD) for rules in all_rules}
    told = said(facts(rules=all_rules, states=states))
    assert told[0] == (
        "Held: 1,204 wait, nobody is let in."
        if rooms == 1
        else "sale: held: 1,204 wait, nobody is let in."
    )
    assert len(told) == rooms
