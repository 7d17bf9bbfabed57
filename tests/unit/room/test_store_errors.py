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
    """As Redis, Valkey and DragonflyDB say it, directly and from inside of a script."""
    assert type(_translated(hiredis.ReplyError(text), "poll")) is StoreFull


@pytest.mark.parametrize(
    "error",
    [
        hiredis.ReplyError("ERR max number of clients reached"),
        hiredis.ReplyError("LOADING Dragonfly is loading the dataset in memory"),
        hiredis.ReplyError("ERR value is out of range"),
        hiredis.ReplyError(IN_SCRIPT.format("not a number")),
        hiredis.ReplyError("BUSY script running"),
        TimeoutError(),
        ConnectionResetError("memory"),
    ],
)
def test_other_error_is_a_lost_store(error: Exception) -> None:
    translated = _translated(error, "poll")
    assert not isinstance(translated, StoreFull)
    assert translated.public == "the store did not respond to 'poll'"
