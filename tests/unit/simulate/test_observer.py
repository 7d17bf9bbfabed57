"""Which responses the observer counts as an arrival."""

from gatekeeper.simulate.gate_response import ObservedResponse, Outcome, Token
from gatekeeper.simulate.observer import Observer
from gatekeeper.simulate.token_claims import TICKET, Claims
from gatekeeper.simulate.visitor import Action, Visitor, VisitorKind

UNKNOWN = ObservedResponse(Outcome.WAITING, reason="reconnecting", reference="4Q7K-92ZD")
TICKETED = ObservedResponse(
    Outcome.WAITING, token=Token("a.b.c"), claims=Claims(TICKET, "v", 1, 1), position=1
)


def visitor(action: Action, *, failures: int = 0) -> Visitor:
    return Visitor(
        1, VisitorKind.PATIENT, browser=False, act_after=1, next_action=action, failures=failures
    )


def observed(subject: Visitor, response: ObservedResponse) -> Observer:
    observer = Observer()
    observer.request_began(subject, now_s=1)
    observer.response_received(subject, response, sent=Token("a.b.c"), began_s=1, now_s=1.1)
    return observer


def test_arrival_counts_once_it_brings_a_ticket() -> None:
    assert observed(visitor(Action.ARRIVE), UNKNOWN).arrived == 0
    assert observed(visitor(Action.ARRIVE), TICKETED).arrived == 1


def test_arrival_never_given_a_ticket_is_a_problem() -> None:
    counts = [
        observed(visitor(Action.ARRIVE, failures=failures), UNKNOWN).unreadable_tokens
        for failures in (0, 4)
    ]
    assert counts == [0, 1]
