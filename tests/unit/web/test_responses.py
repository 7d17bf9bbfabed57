"""Why one waits, and what the operator says to all, as pages and apps are told."""

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.room.state import RoomState
from gatekeeper.web.waiting_status import waiting_status_of
from tests.builders import TICKET, room_state

FULL = Rules.of(RoomConfig(max_active=10))
WITHOUT_LIMIT = Rules.of(RoomConfig(max_active=0))
PLACED = QueuePosition(10**15, ahead=1283)


@pytest.mark.parametrize(
    ("known", "rules", "reason"),
    [
        (room_state(Mode.AUTO), FULL, "line"),
        (room_state(Mode.AUTO, active=9), FULL, "line"),
        (room_state(Mode.AUTO, active=10), FULL, "full"),
        (room_state(Mode.AUTO, active=11), FULL, "full"),
        (room_state(Mode.AUTO, active=10), WITHOUT_LIMIT, "line"),
        (room_state(Mode.OPEN, active=10), FULL, "line"),
        (room_state(Mode.HOLD, active=10), FULL, "held"),
        (room_state(Mode.AUTO, rate=0.0), FULL, "held"),
        (room_state(Mode.ENDED, active=10), FULL, "ended"),
        (None, FULL, "reconnecting"),
    ],
)
def test_one_is_told_what_holds_the_line_up(
    known: RoomState | None, rules: Rules, reason: str
) -> None:
    told = waiting_status_of(TICKET, PLACED, known, rules=rules).json
    assert told["reason"] == reason


@pytest.mark.parametrize(
    ("known", "eta_seconds"),
    [
        (room_state(Mode.AUTO, rate=60.0, active=9), 1284),
        (room_state(Mode.AUTO, rate=60.0, active=10), None),
        (room_state(Mode.OPEN, rate=60.0, active=10), 1284),
        (room_state(Mode.HOLD, rate=60.0, active=9), None),
    ],
)
def test_nobody_forecasts_by_the_rate_what_depends_on_when_others_leave(
    known: RoomState, eta_seconds: int | None
) -> None:
    assert waiting_status_of(TICKET, PLACED, known, rules=FULL).json["eta_seconds"] == eta_seconds


def test_a_place_that_nobody_knows_is_being_asked_for() -> None:
    assert (
        waiting_status_of(TICKET, None, room_state(Mode.AUTO), rules=FULL).json["reason"]
        == "reconnecting"
    )


def test_what_the_operator_says_reaches_all_and_nothing_is_null() -> None:
    told = waiting_status_of(
        TICKET, PLACED, room_state(Mode.AUTO, message="Doors at 18:00"), rules=FULL
    )
    assert told.json["message"] == "Doors at 18:00"
    assert (
        waiting_status_of(TICKET, PLACED, room_state(Mode.AUTO), rules=FULL).json["message"] is None
    )
