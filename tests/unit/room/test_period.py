"""The end of a period in the reply of the store."""

import pytest

from gatekeeper.errors import StoreError
from gatekeeper.policy.visitor_groups import GROUPS
from gatekeeper.room.period import PeriodEnd


@pytest.mark.parametrize("late", [0, 3])
def test_period_end_is_read_from_the_reply(late: int) -> None:
    group = [1, 2, 3, *[0] * 29, 4]
    sums = " ".join(map(str, [late, *group * GROUPS])).encode()
    end = PeriodEnd.parse([b"17", b"5100000", sums, b"9", b"1", "größer".encode(), b"m"])
    assert end is not None
    assert (end.begin_us, end.steering, end.memory) == (17, "größer", "m")
    period = end.period
    assert (period.seconds, period.admitted, period.waiting) == (5.1, 9, True)
    assert period.is_late == (late > 0)
    assert (period.responses, period.failed) == (8 * GROUPS, 3 * GROUPS)
    assert list(period.counts) == [3 * GROUPS, *[0] * 29, 4 * GROUPS]


def test_reply_without_an_end_is_none() -> None:
    assert PeriodEnd.parse([]) is None


@pytest.mark.parametrize(
    "reply",
    [
        [b"17"],
        [b"17", b"5100000", b"", b"9", b"1", b""],
        [b"x", b"5100000", b"", b"9", b"1", b"", b""],
        [b"17", b"5100000", b"1 2", b"9", b"1", b"", b""],
        [b"17", b"5100000", b"1 2 3", b"9", b"1", b"", b""],
        [b"17", b"5100000", b"1 y", b"9", b"1", b"", b""],
    ],
)
def test_other_replies_are_refused(reply: list[bytes | int]) -> None:
    with pytest.raises(StoreError):
        PeriodEnd.parse(reply)
