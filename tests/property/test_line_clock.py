"""The clock of a room is never ahead of the first server's and never steps back, and the rate holds
by real time, for any order of fail-overs to servers whose clocks are behind, and of returns."""

from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.profiles import ROOM_TIMEOUT_S, examples
from tests.property.honest_line import ROOM, HonestLine
from tests.property.line_replicas import LineReplica

BURST = 3
UNNOTICED_S = 0.5  # of a step back and the return
FAIL_OVERS = st.lists(
    st.tuples(
        st.floats(0.0, 40.0, allow_nan=False),  # seconds since the last one
        st.floats(0.0, 6.0, allow_nan=False),  # of the outage
        st.sampled_from([0.0, 0.0, 0.5, 5.0, 20.0, 3600.0]),  # how far the clock is behind
    ),
    min_size=1,
    max_size=6,
)


class TimedLine(HonestLine):
    """A line that checks its clock at each call of a pacer, and keeps the releases by then."""

    def __init__(self, *, seed: int, rate_per_minute: float) -> None:
        self.room_us = self.fail_overs = 0
        self.released: list[tuple[float, int]] = []
        super().__init__(seed=seed, rate_per_minute=rate_per_minute, stretched=(1,))

    def _advance(self, replica: LineReplica) -> None:
        super()._advance(replica)
        state = self.ground.rules.data[f"gk:{{{ROOM}}}:state"]
        room_us, released = int(state["filled_at"]), int(state["released"])
        latest_s = self.now_s + self.fail_overs * UNNOTICED_S
        assert self.room_us <= room_us <= round(latest_s * 1_000_000)
        self.room_us = room_us
        self.released.append((self.now_s, released))

    def fail_over(self, outage_s: float, behind_s: float) -> None:
        def promote() -> None:
            self._fail_over(deepcopy(self.ground.rules.data), behind_us=round(behind_s * 1e6))

        self.fail_overs += 1
        self.cut(outage_s)
        self.at(outage_s, promote)
        self.run(outage_s)

    def most_beyond(self, rate_per_minute: float) -> float:
        """The most releases beyond the rate in any span of time."""
        most = lowest = 0.0
        for at_s, total in self.released:
            level = total - at_s * rate_per_minute / 60
            lowest = min(lowest, level)
            most = max(most, level - lowest)
        return most


@pytest.mark.timeout(ROOM_TIMEOUT_S)
@settings(max_examples=examples(40), deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rate=st.sampled_from([60.0, 300.0]),
    visitors=st.integers(20, 60),
    fail_overs=FAIL_OVERS,
)
def test_rate_and_clock_hold_over_fail_overs_to_slow_clocks(
    seed: int, rate: float, visitors: int, fail_overs: list[tuple[float, float, float]]
) -> None:
    line = TimedLine(seed=seed, rate_per_minute=rate)
    try:
        line.arrive(visitors)
        for delay_s, outage_s, behind_s in fail_overs:
            line.run(delay_s)
            line.fail_over(outage_s, behind_s)
        line.run(20.0)
    finally:
        line.close()
    unnoticed_s = len(fail_overs) * UNNOTICED_S
    assert line.most_beyond(rate) <= BURST + 0.01 + unnoticed_s * rate / 60
    assert line.order.inversions == 0, line.order.examples
