"""The status for pages and apps: reason, estimate and the operator's message."""

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.pages.renderer import Pages
from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.room.state import RoomState
from gatekeeper.web.message import GateResponse, _common_lines
from gatekeeper.web.responses import Responses
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
def test_status_reports_the_reason_for_the_wait(
    known: RoomState | None, rules: Rules, reason: str
) -> None:
    status = waiting_status_of(TICKET, PLACED, known, rules=rules).json
    assert status["reason"] == reason


@pytest.mark.parametrize(
    ("known", "eta_seconds"),
    [
        (room_state(Mode.AUTO, rate=60.0, active=9), 1284),
        (room_state(Mode.AUTO, rate=60.0, active=10), None),
        (room_state(Mode.OPEN, rate=60.0, active=10), 1284),
        (room_state(Mode.HOLD, rate=60.0, active=9), None),
    ],
)
def test_full_room_has_no_estimate_by_rate(known: RoomState, eta_seconds: int | None) -> None:
    assert waiting_status_of(TICKET, PLACED, known, rules=FULL).json["eta_seconds"] == eta_seconds


def test_unknown_place_is_being_requested() -> None:
    assert (
        waiting_status_of(TICKET, None, room_state(Mode.AUTO), rules=FULL).json["reason"]
        == "reconnecting"
    )


def test_operator_message_is_in_every_status() -> None:
    status = waiting_status_of(
        TICKET, PLACED, room_state(Mode.AUTO, message="Doors at 18:00"), rules=FULL
    )
    assert status.json["message"] == "Doors at 18:00"
    assert (
        waiting_status_of(TICKET, PLACED, room_state(Mode.AUTO), rules=FULL).json["message"] is None
    )


def test_head_has_the_fields_in_order_and_keeps_no_token() -> None:
    """The common part of responses is created once, and never contains a token."""
    common = (("Cache-Control", "no-store"), ("X-Gatekeeper-State", "waiting"))
    before = _common_lines.cache_info().currsize
    for number in range(3):
        own = (("Set-Cookie", f"gatekeeper={number}"), ("X-Queue-Ticket", str(number)))
        lines = GateResponse(200, (*common, *own), b"abc").head().split(b"\r\n")
        assert lines[:6] == [
            b"HTTP/1.1 200 OK",
            b"Cache-Control: no-store",
            b"X-Gatekeeper-State: waiting",
            b"Set-Cookie: gatekeeper=%d" % number,
            b"X-Queue-Ticket: %d" % number,
            b"Content-Length: 3",
        ]
        assert lines[6].startswith(b"Date: ")
        assert lines[7:] == [b""]
    assert _common_lines.cache_info().currsize <= before + 1


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("updates", ["poll", "stream"])
@pytest.mark.parametrize("json_format", ["gatekeeper", "cloudflare"])
def test_waiting_response_ends_with_the_visitors_fields(
    accept: str, updates: str, json_format: str
) -> None:
    """`GateResponse.head` keeps the lines before them: a token in those lines would fill its
    cache."""
    room = RoomConfig.model_validate({"updates": updates, "json_format": json_format})
    facts = RequestFacts(
        Client("192.0.2.1", "https", "shop.example"),
        "GET",
        "/",
        accept=accept,
        is_htmx=True,
    )
    place = waiting_status_of(TICKET, PLACED, room_state(Mode.AUTO), rules=Rules.of(room))
    token = (("Set-Cookie", "gatekeeper=t"), ("X-Queue-Ticket", "t"))
    response = Responses(Pages()).waiting(facts, place, room=room, now_s=0.0, headers=token)
    assert response.headers[-2:] == token
    assert "Retry-After" in [name for name, _ in response.headers]


@pytest.mark.parametrize(("status", "has_length"), [(200, True), (204, False), (304, False)])
def test_response_without_body_has_no_length(status: int, has_length: bool) -> None:
    head = GateResponse(status, (), b"").head()
    assert (b"Content-Length: 0\r\n" in head) == has_length
