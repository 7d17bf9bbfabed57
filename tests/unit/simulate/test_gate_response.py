"""What a response shows about its visitor."""

import json
from dataclasses import replace

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.reference import reference_of
from gatekeeper.policy.tokens import Keyring, Ticket, Tokens, VisitorId
from gatekeeper.proxy.response import ResponseHead
from gatekeeper.simulate.connection import RawResponse
from gatekeeper.simulate.gate_response import ObservedResponse, Outcome, Token, parse_gate_response
from gatekeeper.simulate.token_claims import TICKET, Claims

TOKENS = Tokens(Keyring([b"a secret of the tests, longer than 32 bytes"]), RoomName("default"))
MINE, OTHER = VisitorId("a" * 22), VisitorId("b" * 22)
FORGED = Token(TOKENS.mint(Ticket(RoomName("default"), MINE, 2_000_000_000, 1_000, 1_600)))
WAITING = ObservedResponse(Outcome.WAITING, position=None, reason="reconnecting")


def raw_json(body: dict[str, object]) -> RawResponse:
    lines = b"\r\nContent-Type: application/json"
    head = ResponseHead(
        503, b"", True, lines, {}, concerns_gate=False, persistent=True, size=len(lines)
    )
    return RawResponse(head, json.dumps(body).encode())


def ticket_for(visitor: VisitorId) -> Claims:
    return Claims(TICKET, visitor, 1, 1)


@pytest.mark.parametrize(
    ("response", "is_accepted"),
    [
        (replace(WAITING, reference=reference_of(MINE)), True),
        (replace(WAITING, reference=reference_of(OTHER)), False),
        (WAITING, True),
        (replace(WAITING, claims=ticket_for(MINE), reference=reference_of(MINE)), True),
        (replace(WAITING, claims=ticket_for(OTHER), reference=reference_of(OTHER)), False),
        (ObservedResponse(Outcome.ADMITTED), True),
        (ObservedResponse(Outcome.NO_PLACE), False),
        (ObservedResponse(Outcome.FAILED), False),
    ],
    ids=[
        "waits as its visitor",
        "waits as another",
        "waits without a name",
        "new ticket for its visitor",
        "new ticket for another",
        "admitted",
        "no place",
        "failed",
    ],
)
def test_forged_ticket_is_accepted_unless_another_visitor_waits(
    response: ObservedResponse, is_accepted: bool
) -> None:
    """A replica without a state makes every request without a valid token wait, and sets no
    token."""
    assert response.accepts_ticket(FORGED) is is_accepted


@pytest.mark.parametrize(
    ("response", "is_accepted"),
    [
        (replace(WAITING, reference=reference_of(MINE)), False),
        (replace(WAITING, reference=reference_of(MINE), position=3), True),
        (replace(WAITING, reference=reference_of(MINE), reason="line"), True),
        (ObservedResponse(Outcome.ADMITTED), True),
        (ObservedResponse(Outcome.NO_PLACE), False),
    ],
    ids=["kept without the store", "in line", "in line, undrawn", "admitted", "no place"],
)
def test_spent_ticket_is_accepted_with_a_place_or_a_pass(
    response: ObservedResponse, is_accepted: bool
) -> None:
    assert response.accepts_spent(FORGED) is is_accepted


@pytest.mark.parametrize(
    ("response", "is_taken"),
    [
        (ObservedResponse(Outcome.FORWARDED), True),
        (ObservedResponse(Outcome.FORWARDED, claims=ticket_for(MINE)), True),
        (ObservedResponse(Outcome.FORWARDED, claims=ticket_for(OTHER)), False),
        (replace(WAITING, reference=reference_of(MINE)), True),
        (replace(WAITING, reference=reference_of(OTHER)), False),
    ],
    ids=["forwarded", "renewed", "a newcomer's", "waits as its visitor", "waits as another"],
)
def test_forged_visit_is_taken_unless_another_visitor_is_named(
    response: ObservedResponse, is_taken: bool
) -> None:
    assert response.takes_for_visitor(FORGED) is is_taken


@pytest.mark.parametrize("reason", ["reconnecting", "line"])
@pytest.mark.parametrize("token", ["", FORGED.raw])
def test_arrival_is_without_ticket_only_while_reconnecting(reason: str, token: str) -> None:
    body: dict[str, object] = {
        "state": "waiting",
        "position": None,
        "reason": reason,
        "reference": "4Q7K-92ZD",
    }
    body |= {"token": token} if token else {}
    response = parse_gate_response(raw_json(body), own=True)

    assert response.reference == "4Q7K-92ZD"
    assert response.is_without_ticket is (reason == "reconnecting" and not token)
