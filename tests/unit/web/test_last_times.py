"""The memory of recent actions for visitors is bounded."""

from gatekeeper.web.last_times import LastTimes


def test_newest_time_counts() -> None:
    times = LastTimes[str]()
    assert times.of("a") == 0
    times.note("a", 1)
    times.note("a", 2)
    assert (times.of("a"), len(times)) == (2, 1)


def test_keys_of_longest_ago_are_forgotten_first() -> None:
    times = LastTimes[int](limit=3)
    for at, key in enumerate((1, 2, 3, 1, 4), start=1):
        times.note(key, at)
    assert [times.of(key) for key in (1, 2, 3, 4)] == [4, 0, 3, 5]
    for key in range(100):
        times.note(key, 100 + key)
        assert len(times) == 3
