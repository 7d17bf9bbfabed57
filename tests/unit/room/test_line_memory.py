"""Releases after a loss of the store, by what a replica remembers of the line."""

from __future__ import annotations

import heapq
import random
from dataclasses import replace

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.pacing import poll_interval_s, recovery_s
from gatekeeper.policy.rules import Rules
from gatekeeper.room.line_memory import LineMemory, Place, ReturnPlan
from tests.builders import room_state

RULES = Rules.of(RoomConfig(name=RoomName("sale")))
FIRST_US = 1_700_000_000_000_000
WINDOW_S = 1000.0


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def places(turns_us: list[int]) -> list[Place]:
    """As the script returns them."""
    found, ahead, last = [], 0, len(turns_us) - 1
    while ahead <= last:
        found.append(Place(ahead, turns_us[ahead]))
        next_ = max(ahead + 1, int(ahead * 1.1))
        ahead = last if ahead < last < next_ else next_
    return found


def turns_of(count: int) -> list[int]:
    return [FIRST_US + number * 1000 for number in range(count)]


def remembered(count: int, *, rate: float, for_s: int = 60) -> LineMemory:
    """A line that stood for a minute, a moment ago."""
    clock = Clock()
    memory = LineMemory(monotonic_s=clock)
    found, state = places(turns_of(count)), room_state(rate=rate)
    for second in range(for_s):
        clock.now_s = float(second)
        memory.note(found, state, rules=RULES)
    return memory


def stages(plan: ReturnPlan | None) -> list[tuple[int, float]]:
    """Turns, and after how many seconds they may be released."""
    assert plan is not None
    pairs = [each.split() for each in plan.turns.split(";") if each]
    return [(int(turn), int(delay_ms) / 1000) for turn, delay_ms in pairs]


def plan_of(memory: LineMemory, *, was_unreachable: bool = False) -> ReturnPlan | None:
    return memory.plan(rules=RULES, window_s=WINDOW_S, was_unreachable=was_unreachable)


@pytest.mark.parametrize("rate", [60, 300, 3000])
def test_front_of_a_long_line_is_released_within_3_s(rate: int) -> None:
    plan = plan_of(remembered(40_000, rate=rate), was_unreachable=True)
    found = stages(plan)
    assert found[0][1] <= 2.5
    turns = turns_of(40_000)
    assert found[0][0] >= turns[2]
    assert found == sorted(found, key=lambda each: (each[0], each[1]))
    assert (
        (plan and plan.line_s)
        == found[-1][1]
        <= recovery_s(40_000, rate_per_minute=rate, rules=RULES) + 2
    )
    assert found[-1][0] == turns[-1]


@pytest.mark.parametrize("rate", [60, 300, 3000])
def test_releases_are_never_far_behind_the_rate(rate: int) -> None:
    """What may be released grows faster than what falls due: nothing stands still for long."""
    found, turns = stages(plan_of(remembered(40_000, rate=rate))), turns_of(40_000)
    for turn_us, delay_s in found[:-1]:
        due = rate / 60 * (delay_s - 2.5)
        assert turns.index(turn_us) >= due, (turn_us, delay_s)


def test_estimate_is_right_within_a_tenth() -> None:
    memory, turns = remembered(40_000, rate=300), turns_of(40_000)
    for ahead in range(1, 40_000, 371):
        estimated = memory.ahead_of(turns[ahead], released_total=0)
        assert estimated is not None
        assert abs(estimated - ahead) <= 0.01 * ahead
    assert memory.ahead_of(turns[1000], released_total=400) == pytest.approx(600, abs=10)
    assert memory.ahead_of(turns[10], released_total=400) == 0
    assert memory.ahead_of(turns[-1] + 1, released_total=0) is None


def test_position_counts_visitors_that_have_yet_to_return() -> None:
    """Within a tenth of what it is, and exact where everyone ahead may have returned."""
    memory, turns = remembered(40_000, rate=300), turns_of(40_000)
    for ahead in range(0, 40_000, 371):
        for returned in {0, ahead // 2, round(ahead * 0.93), ahead}:
            found = memory.ahead_by_return(turns[ahead], returned=returned, released_total=0)
            assert 0.9 * ahead <= found <= 1.1 * ahead
            assert found == ahead or returned != ahead
    assert memory.ahead_by_return(turns[-1] + 1, returned=7, released_total=0) == 7
    assert memory.ahead_by_return(turns[435], returned=35, released_total=400) == 35


def test_line_in_the_draw_is_not_planned() -> None:
    memory = LineMemory(monotonic_s=Clock())
    assert plan_of(memory) is None
    turns = [FIRST_US, PROVISIONAL_US + FIRST_US]
    memory.note(places(turns), room_state(), rules=RULES)
    assert plan_of(memory) is None


def test_places_of_before_the_draw_say_nothing_of_its_turns() -> None:
    """Visitors were told when to poll as if nobody had a place."""
    clock = Clock()
    memory = LineMemory(monotonic_s=clock)
    for second in range(60):
        clock.now_s = float(second)
        turns = turns_of(100)
        if second < 50:
            turns = [PROVISIONAL_US + each for each in turns]
        memory.note(places(turns), room_state(rate=300), rules=RULES)
    [(_, first_s), *_] = stages(plan_of(memory))
    assert first_s >= RULES.longest_poll_interval_s - 10


def test_replica_that_has_just_started_waits_for_all() -> None:
    [(_, first_s), *_] = stages(plan_of(remembered(100, rate=300, for_s=5)))
    assert first_s >= RULES.longest_poll_interval_s - 5


@pytest.mark.parametrize("was_unreachable", [True, False])
def test_line_of_long_ago_is_not_planned(*, was_unreachable: bool) -> None:
    """The replica was paused, and knows nothing of the visitors who came since."""
    clock = Clock()
    memory = LineMemory(monotonic_s=clock)
    memory.note(places(turns_of(9)), room_state(rate=300), rules=RULES)
    clock.now_s = 2
    if was_unreachable:
        memory.note_outage()
    assert plan_of(memory, was_unreachable=was_unreachable) is not None
    clock.now_s = 4
    memory.note_outage()
    assert plan_of(memory, was_unreachable=was_unreachable) is None


def test_visitors_of_an_outage_have_time_to_return() -> None:
    empty = plan_of(remembered(0, rate=300), was_unreachable=False)
    assert empty is not None
    assert (empty.turns, empty.line_s <= 2.5) == ("", True)
    outage = plan_of(remembered(0, rate=300), was_unreachable=True)
    assert outage is not None
    assert outage.line_s > 10


def test_readings_are_bounded() -> None:
    """Also where the longest poll interval is hours."""
    rules = replace(RULES, poll_interval_max_s=9000, heartbeat_timeout_s=9e4, claim_timeout_s=9e4)
    clock = Clock()
    memory = LineMemory(monotonic_s=clock)
    found, state = places(turns_of(3)), room_state(rate=300)
    for second in range(12_000):
        clock.now_s = float(second)
        memory.note(found, state, rules=rules)
    assert len(memory._readings) <= 64
    assert clock.now_s - memory._readings[-1].at_s == 0
    plan = memory.plan(rules=rules, window_s=WINDOW_S, was_unreachable=False)
    assert stages(plan)[0][1] <= 2.5


class Line:
    """Visitors who poll as they are told, in a line that moves, until the store is lost."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = Clock()
        self.memory = LineMemory(monotonic_s=self.clock)
        self.turns = turns_of(self.random.choice([5, 300, 600]))
        self.rate = float(self.random.choice([30, 300, 3000]))
        self.next_polls = [(self.random.random(), turn) for turn in self.turns]
        heapq.heapify(self.next_polls)
        self.released = 0

    def run(self, until_s: float, *, is_up: bool) -> None:
        while self.clock.now_s < until_s:
            self.clock.now_s += 0.25
            if is_up:
                self._advance()
            while self.next_polls[0][0] <= self.clock.now_s:
                _, turn_us = heapq.heappop(self.next_polls)
                heapq.heappush(self.next_polls, (self._polled(turn_us, is_up=is_up), turn_us))

    def _advance(self) -> None:
        if self.random.random() < 0.03:
            self.rate = float(self.random.choice([30, 300, 3000]))
        gone = set()
        if self.random.random() < 0.03:  # many leave at once
            gone = set(self.random.sample(self.turns, len(self.turns) // 4))
        due = int(self.rate / 60 * self.clock.now_s) - self.released
        due = min(max(due, 0), len(self.turns) // 50)
        self.released += due
        self.turns = [each for each in self.turns[due:] if each not in gone] or self.turns[-1:]
        present = set(self.turns)
        self.next_polls = [each for each in self.next_polls if each[1] in present]
        heapq.heapify(self.next_polls)
        if self.memory.is_due():
            state = replace(room_state(rate=self.rate), released_total=self.released)
            self.memory.note(places(self.turns), state, rules=RULES)

    def _polled(self, turn_us: int, *, is_up: bool) -> float:
        ahead: int | None = self.turns.index(turn_us)
        if not is_up:
            ahead = self.memory.ahead_of(turn_us, released_total=self.released)
        told_s = poll_interval_s(ahead, rate_per_minute=self.rate, rules=RULES, arrival_us=turn_us)
        return self.clock.now_s + told_s * self.random.uniform(1, 1.1)


@pytest.mark.parametrize("seed", range(16))
def test_everyone_ahead_of_a_release_had_time_to_return(seed: int) -> None:
    line = Line(seed)
    line.run(60 + line.random.random(), is_up=True)
    outage_s = line.random.choice([0.0, 2.0, 30.0])
    line.memory.note_outage()
    line.run(line.clock.now_s + outage_s, is_up=False)
    found = stages(plan_of(line.memory, was_unreachable=True))
    return_s = {turn: at_s - line.clock.now_s for at_s, turn in line.next_polls}
    latest_s = 0.0
    for turn_us in line.turns:
        may_enter_s = next(delay_s for turn, delay_s in found if turn >= turn_us)
        assert may_enter_s >= latest_s, "released before one ahead polled"
        latest_s = max(latest_s, return_s[turn_us])
