"""The filter distinguishes byte strings that occur again from those that occur once."""

from gatekeeper.proxy.fastpath.repeat_filter import RepeatFilter


def test_second_time_is_a_repeat() -> None:
    repeats = RepeatFilter(10)
    assert [repeats.is_repeat(data) for data in (b"a", b"b", b"a", b"b", b"c")] == [
        False,
        False,
        True,
        True,
        False,
    ]


def test_filter_starts_over_at_its_limit() -> None:
    repeats = RepeatFilter(2)
    assert not any(repeats.is_repeat(data) for data in (b"a", b"b", b"c", b"a"))
    assert repeats.is_repeat(b"c")


def test_cleared_filter_knows_nothing() -> None:
    repeats = RepeatFilter(2)
    repeats.is_repeat(b"a")
    repeats.clear()
    assert not repeats.is_repeat(b"a")
