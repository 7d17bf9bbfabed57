"""The published state of a room: its settings, and messages of another release."""

import json
from dataclasses import replace

import pytest

from gatekeeper.config.settings import MAX_OVERRIDES_CHARACTERS
from gatekeeper.room.state import parse_json
from tests.builders import room_state

STATE = replace(room_state(), overrides='{"title":["Größer 🎟","You are in line"]}')


def test_published_state_is_read_back() -> None:
    state, more = parse_json(STATE.to_json(sent_at=1.5))
    assert (state, more) == (STATE, {"sent_at": 1.5})


def test_state_of_an_older_release_has_no_overrides() -> None:
    raw = json.loads(STATE.to_json())
    del raw["overrides"]
    state, _ = parse_json(json.dumps(raw).encode())
    assert state == replace(STATE, overrides="")


@pytest.mark.parametrize("overrides", [None, 3, {}, ["x"], "x" * (MAX_OVERRIDES_CHARACTERS + 1)])
def test_overrides_that_no_gate_writes_are_refused(overrides: object) -> None:
    raw = json.loads(STATE.to_json()) | {"overrides": overrides}
    with pytest.raises(ValueError, match="expected overrides"):
        parse_json(json.dumps(raw).encode())
