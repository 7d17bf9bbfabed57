"""The pause before a restart."""

from gatekeeper.process.children import restart_pause_s


def test_restart_pause_grows_with_exits_in_a_row() -> None:
    pauses_s = [restart_pause_s(exits) for exits in range(1, 8)]
    assert pauses_s == sorted(pauses_s)
    assert (pauses_s[0], pauses_s[-1]) == (0.1, 5)


def test_restart_pause_is_bounded() -> None:
    assert restart_pause_s(10**6) == restart_pause_s(5)
