"""The end of a period as the store replies it."""

import pytest

from gatekeeper.errors import StoreError
from gatekeeper.room.period import PeriodEnd


def test_period_end_is_read_from_the_reply() -> None:
    end = PeriodEnd.parse([b"17", b"5100000", b"1 2 3 0 4", b"9", b"1", "größer".encode(), b"m"])
    assert end is not None
    assert (end.begin_us, end.steering, end.memory) == (17, "größer", "m")
    period = end.period
    assert (period.seconds, period.responses, period.failed) == (5.1, 8, 3)
    assert (period.admitted, period.waiting, list(period.counts)) == (9, True, [3, 0, 4])


def test_reply_without_an_end_is_none() -> None:
    assert PeriodEnd.parse([]) is None


@pytest.mark.parametrize(
    "reply",
    [
        [b"17"],
        [b"17", b"5100000", b"", b"9", b"1", b""],
        [b"x", b"5100000", b"", b"9", b"1", b"", b""],
        [b"17", b"5100000", b"1", b"9", b"1", b"", b""],
        [b"17", b"5100000", b"1 y", b"9", b"1", b"", b""],
    ],
)
def test_other_replies_are_refused(reply: list[bytes | int]) -> None:
    with pytest.raises(StoreError):
        PeriodEnd.parse(reply)
