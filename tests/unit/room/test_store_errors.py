"""What an error of the store means: full, or lost."""

import hiredis
import pytest

from gatekeeper.room.store import StoreFull, _translated

IN_SCRIPT = "ERR Error running script (call to f_94a5): @user_script:412: {}"


@pytest.mark.parametrize(
    "text",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "ERR Out of memory",
        "Out of memory",
        "-ERR Out of memory",
        IN_SCRIPT.format("OOM command not allowed when used memory > 'maxmemory'."),
        IN_SCRIPT.format("ERR Out of memory"),
        IN_SCRIPT.format("-ERR Out of memory"),
        "EXECABORT Transaction discarded because of: ERR Out of memory",
    ],
)
def test_store_at_maxmemory_is_full(text: str) -> None:
    """The error texts of Redis, Valkey and DragonflyDB, directly and from a script."""
    assert type(_translated(hiredis.ReplyError(text), "poll")) is StoreFull


@pytest.mark.parametrize(
    ("error", "public"),
    [
        (
            hiredis.ReplyError("READONLY You can't write against a read only replica."),
            "the store refused 'poll': READONLY You can't write against a read only replica.",
        ),
        (hiredis.ReplyError("MOVED 7 10.0.0.1:1"), "the store refused 'poll': MOVED 7 10.0.0.1:1"),
        (
            hiredis.ReplyError(IN_SCRIPT.format("not a number")),
            f"the store refused 'poll': {IN_SCRIPT.format('not a number')}",
        ),
        (hiredis.ReplyError("ERR \x1b[2J"), r"the store refused 'poll': ERR \u001b[2J"),
        (TimeoutError(), "the store did not respond to 'poll'"),
        (ConnectionResetError("memory"), "the store did not respond to 'poll': memory"),
    ],
)
def test_other_error_is_a_lost_store_with_its_cause(error: Exception, public: str) -> None:
    translated = _translated(error, "poll")
    assert not isinstance(translated, StoreFull)
    assert translated.public == public


def test_error_of_the_store_is_cut_to_a_line_of_a_log() -> None:
    assert len(_translated(hiredis.ReplyError("x" * 10_000), "poll").public) < 400
