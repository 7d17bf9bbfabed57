"""The sentences of the control room, the most urgent first."""

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.admin import diagnosis
from gatekeeper.admin.diagnosis import Finding, Observations, diagnose
from gatekeeper.admin.edge_status import Certificate, EdgeStatus
from gatekeeper.admin.history import Reading
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.schedule import Drawn, Event, Schedule
from gatekeeper.room.state import RoomState
from gatekeeper.room.worker_figures import Figures, RequestCounts
from tests.unit.admin.test_history import ORIGIN, STATE, figures

SALE = RoomName("sale")
NOW_S = 1_800_000_000.0
RULES = Rules.of(RoomConfig(name=SALE, max_active=400))
WAITING = replace(STATE, queue_length=1204, rate_per_minute=500.0, active=310)


def responses(count: int, *, bucket: int = 3) -> tuple[int, ...]:
    return tuple(count if index == bucket else 0 for index in range(ORIGIN))


def observations(
    state: RoomState = WAITING,
    *,
    before: Figures | None = None,
    after: Figures | None = None,
    released_before: int = 0,
    **more: object,
) -> Observations:
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
        "mode_changes": {},
        "events_on": True,
    }
    return Observations(**known | more)  # type: ignore[arg-type]


def texts(known: Observations) -> list[str]:
    return [each.text for each in diagnose(known)]


MOVING = replace(WAITING, released_total=500)


def test_moving_line_is_described_in_numbers() -> None:
    assert texts(observations(MOVING)) == [
        "1,204 in line, admitted at 500/min; a newcomer waits about 2 min. 310 of 400 active."
    ]


def test_empty_line_is_calm() -> None:
    assert diagnose(observations(replace(STATE, active=3))) == [
        Finding("calm", "The line is empty, 3 of 400 active.")
    ]


def test_held_line_names_operator_and_time() -> None:
    held = replace(WAITING, mode=Mode.HOLD)
    by_maria = observations(held, mode_changes={SALE: ("maria", 99.0)})
    assert diagnose(by_maria) == [
        Finding(
            "warn",
            "The line is held by maria since {since}: 1,204 in line, admission is paused.",
            99.0,
        )
    ]
    assert texts(observations(held)) == ["The line is held: 1,204 in line, admission is paused."]
    one = replace(held, queue_length=1)
    assert texts(observations(one, mode_changes={SALE: ("", 99.0)})) == [
        "The line is held since {since}: 1 in line, admission is paused."
    ]


def test_ended_and_open_have_their_own_sentences() -> None:
    assert texts(observations(replace(WAITING, mode=Mode.ENDED))) == [
        "Ended: admission is closed, 1,204 in line see that it is over."
    ]
    assert texts(observations(replace(WAITING, mode=Mode.OPEN))) == [
        "Open: every visitor is admitted at once, 310 active."
    ]


def test_end_of_an_event_names_the_event_and_no_operator() -> None:
    """The last change of the mode, to auto, did not end it."""
    event = Event("autumn", start_us=1, announced_us=1, end_us=2)
    ended = replace(WAITING, events=Schedule.of([event]).text, now_us=3)
    assert texts(observations(ended, mode_changes={SALE: ("maria", NOW_S - 60)})) == [
        "The event autumn has ended: admission is closed, 1,204 in line see that it is over."
    ]


def test_missing_draw_is_a_problem_after_the_beacon_deadline() -> None:
    event = Event("autumn", start_us=20, announced_us=20, prequeue_us=10)
    drawing = replace(WAITING, events=Schedule.of([event]).text, now_us=89_000_000, undrawn=1204)
    assert texts(observations(drawing)) == [
        "The order is being drawn: 1,204 of 1,204 in line have no turn yet."
    ]
    late = replace(drawing, now_us=91_000_000)
    [finding] = diagnose(observations(late))
    assert finding.level == "bad"
    assert finding.text.startswith("The draw has not been made, and admission waits for it")
    made = replace(event, drawn=Drawn("ab" * 32))
    assert (
        "is being drawn" in texts(observations(replace(late, events=Schedule.of([made]).text)))[0]
    )


def test_line_that_does_not_move_has_a_reason() -> None:
    assert texts(observations(replace(WAITING, active=400))) == [
        "Full, 400 of 400 active: 1,204 in line for a free slot."
    ]
    assert texts(observations(replace(WAITING, rate_per_minute=0.0))) == [
        "The rate is 0: 1,204 in line until you set a rate or admit some."
    ]
    returning = replace(WAITING, recovering_until_us=10)
    assert texts(observations(returning)) == [
        "Recovering after a store outage: 1,204 in line until every visitor had time to return."
    ]
    [stuck] = diagnose(observations(WAITING))
    assert stuck.level == "bad"
    assert stuck.text == "1,204 in line, but no release for 30 s at a rate of 500/min."


def test_full_line_is_reported_with_its_limit() -> None:
    for limit, is_full in ((1204, True), (1000, True), (1205, False), (0, False)):
        limited = [replace(RULES, queue_limit=limit)]
        found = texts(observations(MOVING, rules=limited))
        expected = f"The line is full, 1,204 in line of {limit:,}: newcomers get no place."
        assert (expected in found) is is_full
    limited = [replace(RULES, queue_limit=1000)]
    assert len(texts(observations(replace(WAITING, mode=Mode.OPEN), rules=limited))) == 1


def test_what_limits_turned_away_is_reported_for_a_minute() -> None:
    def counted(limited: int, refused: int) -> Figures:
        counts = RequestCounts(limited=limited, refused=refused)
        return replace(figures("one"), rooms={SALE: counts})

    seen = texts(observations(MOVING, before=counted(5, 7), after=counted(1205, 8)))
    assert seen[1:] == [
        "1,200 turned away by newcomers_per_address (last minute).",
        "1 refused by concurrent (last minute).",
    ]
    assert len(texts(observations(MOVING, before=counted(5, 7), after=counted(5, 7)))) == 1


def test_full_store_comes_first() -> None:
    full = figures("one")
    full = replace(full, rooms={**full.rooms, SALE: replace(full.served(SALE), full=3)})
    assert diagnose(observations(MOVING, after=full))[0] == Finding(
        "bad", "The store is full: newcomers wait without a place in line until it has space."
    )
    assert len(diagnose(observations(MOVING, before=full, after=full))) == 1


def test_slow_rate_is_not_reported_as_stuck() -> None:
    assert texts(observations(replace(WAITING, rate_per_minute=1.0)))[0].startswith(
        "1,204 in line, admitted at 1/min"
    )


def test_unreachable_store_comes_first() -> None:
    first, second = diagnose(observations(MOVING, store_lost_at_s=NOW_S - 40))
    assert first.level == "bad"
    assert first.since_s == NOW_S - 40
    assert first.text == (
        "Store unreachable since {since}: active visitors keep their sessions, "
        "the line does not move, newcomers wait."
    )
    assert (second.level, second.text) == (
        "busy",
        "Last known state: auto, 1,204 in line, 310 active.",
    )
    opening = [replace(RULES, store_failure_mode="open")]
    assert texts(observations(MOVING, store_lost_at_s=NOW_S - 40, rules=opening))[0].endswith(
        "a share of newcomers is admitted to sale."
    )


def test_store_that_refuses_a_replica_is_named() -> None:
    """The store replies but refuses writes, e.g. because the operator named a read-only replica of
    it."""
    refused = replace(figures("one"), store_up=False)
    first = diagnose(observations(MOVING, after=refused))[0]
    assert first == Finding(
        "bad",
        "The store does not serve 1 of 1 replicas: the reason is in their log (store_unreachable).",
    )
    assert "does not serve" not in " ".join(
        texts(observations(MOVING, after=refused, store_lost_at_s=NOW_S - 40))
    )


def test_failing_origin_has_share_and_causes() -> None:
    before = figures("one", origin=responses(1000), failures={"502": 50})
    one_cause = figures("one", origin=responses(2000), failures={"502": 170})
    [first, _] = diagnose(observations(MOVING, before=before, after=one_cause))
    assert first == Finding("bad", "The origin returns 502 for 12% of requests (last minute).")
    several = figures("one", origin=responses(1950), failures={"502": 60, "unreachable": 50})
    assert texts(observations(MOVING, before=before, after=several))[0] == (
        "The origin fails 6.0% of requests (last minute): unreachable 50, 502 10."
    )
    away = figures("one", origin=responses(1000), failures={"502": 50, "unreachable": 40})
    assert texts(observations(MOVING, before=before, after=away))[0] == (
        "The origin is unreachable for 100% of requests (last minute)."
    )


def test_room_with_a_failing_origin_is_named() -> None:
    def both(*, failing: int, of: int, slow: bool = False) -> Figures:
        shop = figures("one", origin=responses(10_000)).rooms
        part = responses(of, bucket=11 if slow else 3)
        other = figures("one", room="other", origin=part, failures={"500": failing}).rooms
        return replace(figures("one"), rooms={**shop, **other})

    two: dict[str, Any] = {
        "rules": [RULES, replace(RULES, room=RoomName("other"))],
        "states": {SALE: MOVING, RoomName("other"): MOVING},
    }
    assert texts(observations(MOVING, after=both(failing=40, of=100), **two))[0] == (
        "other: the origin returns 500 for 40% of requests (last minute)."
    )
    assert texts(observations(MOVING, after=both(failing=200, of=200), **two))[0] == (
        "other: the origin returns 500 for 100% of requests (last minute)."
    )
    assert texts(observations(MOVING, after=both(failing=0, of=100, slow=True), **two))[0] == (
        "other: the origin is slow: p50 is 3.8 s (last minute)."
    )
    assert texts(observations(MOVING, after=both(failing=5000, of=10_000), **two))[0] == (
        "The origin returns 500 for 25% of requests (last minute)."
    )


def test_few_failures_are_not_reported() -> None:
    after = figures("one", origin=responses(10), failures={"500": 2})
    assert len(texts(observations(MOVING, after=after))) == 1


def test_slow_origin_is_reported_with_p50() -> None:
    after = figures("one", origin=responses(10, bucket=11))
    assert texts(observations(MOVING, after=after))[0] == (
        "The origin is slow: p50 is 3.8 s (last minute)."
    )


def test_silent_down_and_eventless_replicas_are_reported() -> None:
    silent = [(f"gate-{number}", 12.0) for number in range(5)]
    assert texts(observations(MOVING, silent=silent, living=3))[0] == (
        "5 of 8 replicas are not reporting: "
        "gate-0 for 12 s, gate-1 for 12 s, gate-2 for 12 s and 2 more."
    )
    assert texts(observations(MOVING, serving=3, down=1))[0] == (
        "3 of 4 workers are serving; the rest restart."
    )
    lonely = figures("one", events_up=False)
    assert "NATS is unreachable for 1 of 1 replicas" in texts(observations(MOVING, after=lonely))[0]
    assert len(texts(observations(MOVING, after=lonely, events_on=False))) == 1


def test_unwritten_audit_entries_are_reported() -> None:
    assert (
        texts(observations(MOVING, unwritten=2))[0]
        == "2 audit entries could not be written to disk."
    )


@pytest.mark.parametrize("rooms", [1, 2])
def test_several_rooms_are_named(rooms: int) -> None:
    all_rules = [replace(RULES, room=RoomName(name)) for name in ("sale", "other")[:rooms]]
    states = {rules.room: replace(WAITING, mode=Mode.HOLD) for rules in all_rules}
    shown = texts(observations(rules=all_rules, states=states))
    assert shown[0] == (
        "The line is held: 1,204 in line, admission is paused."
        if rooms == 1
        else "sale: the line is held: 1,204 in line, admission is paused."
    )
    assert len(shown) == rooms


@pytest.mark.parametrize(
    ("edge", "level", "text"),
    [
        (EdgeStatus(False), "bad", "The edge is down"),
        (EdgeStatus(True, (Certificate("a.b", "missing"),)), "bad", "a.b has no certificate"),
        (EdgeStatus(True, (Certificate("a.b", "expired", 1.0),)), "bad", "has expired"),
        (EdgeStatus(True, (Certificate("a.b", "expires soon", 1.0),)), "warn", "expires soon"),
        (
            EdgeStatus(True, (Certificate("a.b", "valid", 1.0, problem="refused"),)),
            "warn",
            "could not be renewed. Last problem: refused",
        ),
    ],
)
def test_problem_of_the_edge_is_a_finding(edge: EdgeStatus, level: str, text: str) -> None:
    [found] = [each for each in diagnose(observations(edge=edge)) if text in each.text]
    assert found.level == level


@pytest.mark.parametrize("edge", [None, EdgeStatus(True, (Certificate("a.b", "valid", 1.0),))])
def test_edge_without_a_problem_is_not_mentioned(edge: EdgeStatus | None) -> None:
    assert not [text for text in texts(observations(edge=edge)) if "a.b" in text or "edge" in text]


def test_documented_sentences_are_those_of_the_program() -> None:
    """Operators search the documentation for the sentence that they read."""
    tree = ast.parse(Path(diagnosis.__file__).read_text("utf-8"))
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    pieces = [each.lower() for each in texts if isinstance(each, str) and each.count(" ") >= 3]
    page = Path(__file__).parents[3] / "docs" / "reference" / "control-room.md"
    table = page.read_text("utf-8").partition("| example | meaning |")[2].partition("\n\n")[0]
    examples = re.findall(r"^\| ([^-|][^|]*?) \|", table, re.MULTILINE)
    assert len(examples) > 6
    assert [e for e in examples if not any(piece in e.lower() for piece in pieces)] == []
