"""One simulated visitor: the next action, and what a response changes.

Rules. No I/O and no clock. A visitor has at most one request in flight. `apply_response` takes the
parsed response and returns the pause until the next request, or None when the visitor is done; the
action of that request is `next_action`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from random import Random

from gatekeeper.simulate.gate_response import ObservedResponse, Outcome, Token
from gatekeeper.simulate.judge import Place
from gatekeeper.simulate.plan import CrowdPlan

_JITTER = (0.85, 1.15)  # as on the waiting page
_PAGE_FIRST_POLL_S = 2.0  # as on the waiting page: the first poll confirms the visitor
_REFRESHER_INTERVAL_S = (0.1, 1.0)
_RETRY_S = 2.0
_MAX_FAILURES = 5  # failed requests in a row after which a visitor gives up
_MAX_POLLS_BEFORE_ACTION = 3


class VisitorKind(StrEnum):
    PATIENT = "patient"
    LEAVER = "leaver"
    RETURNER = "returner"
    GHOST = "ghost"
    REFRESHER = "refresher"
    JUMPER = "jumper"


class Action(Enum):
    ARRIVE = auto()
    POLL = auto()
    VISIT = auto()
    LEAVE = auto()
    FORGE_POLL = auto()
    FORGE_VISIT = auto()
    REPLAY = auto()


FORGERY_ACTIONS = frozenset({Action.FORGE_POLL, Action.FORGE_VISIT})


class VisitorStage(StrEnum):
    ARRIVING = "arriving"
    WAITING = "waiting"
    SILENT = "silent"
    ADMITTED = "admitted"
    DONE = "done"


@dataclass(slots=True)
class Visitor:
    """The state of one visitor. After `act_after` polls a leaver leaves, a returner goes silent."""

    number: int
    kind: VisitorKind
    browser: bool
    act_after: int
    next_action: Action = Action.ARRIVE
    stage: VisitorStage = VisitorStage.ARRIVING
    place: Place = field(default_factory=Place)
    token: Token | None = None
    ticket: Token | None = None  # the first ticket of a jumper, to be replayed at the end
    forged_tokens: Iterator[str] | None = None
    due_s: float = 0.0
    poll_interval_s: float = 0.0
    arrived_s: float = 0.0
    eta_s: float | None = None  # as first reported …
    expected_at_s: float = 0.0  # … and the admission time that follows from it
    admitted: bool = False
    polls: int = 0
    visits: int = 0
    failures: int = 0


def new_visitor(number: int, plan: CrowdPlan, random: Random) -> Visitor:
    return Visitor(
        number=number,
        kind=_kind(plan, random.random()),
        browser=random.random() < plan.browsers,
        act_after=random.randint(1, _MAX_POLLS_BEFORE_ACTION),
    )


def _kind(plan: CrowdPlan, drawn: float) -> VisitorKind:
    shares = plan.shares
    for kind, share in (
        (VisitorKind.LEAVER, shares.leavers),
        (VisitorKind.RETURNER, shares.returners),
        (VisitorKind.GHOST, shares.ghosts),
        (VisitorKind.REFRESHER, shares.refreshers),
        (VisitorKind.JUMPER, shares.jumpers),
    ):
        if drawn < share:
            return kind
        drawn -= share
    return VisitorKind.PATIENT


def apply_response(
    visitor: Visitor, response: ObservedResponse, *, plan: CrowdPlan, random: Random
) -> float | None:
    """Apply a response. Returns the seconds until the next action; None at the end."""
    pause_s = _on_response(visitor, response, plan=plan, random=random)
    if pause_s is None:
        visitor.stage = VisitorStage.DONE
    return pause_s


def _on_response(
    visitor: Visitor, response: ObservedResponse, *, plan: CrowdPlan, random: Random
) -> float | None:
    if response.outcome is Outcome.FAILED:
        return _on_failure(visitor, random)
    visitor.failures = 0
    if response.token is not None and visitor.next_action not in FORGERY_ACTIONS:
        visitor.token = response.token
    match visitor.next_action:
        case Action.ARRIVE | Action.POLL:
            return _on_queue_response(visitor, response, plan=plan, random=random)
        case Action.FORGE_POLL | Action.FORGE_VISIT:
            visitor.next_action = Action.POLL
            return visitor.poll_interval_s / 2 * random.uniform(*_JITTER)
        case Action.VISIT:
            return _on_visit_response(visitor, response, plan=plan, random=random)
        case Action.LEAVE:
            return _after_leaving(visitor, plan=plan, random=random)
        case Action.REPLAY:
            return None


def _on_failure(visitor: Visitor, random: Random) -> float | None:
    visitor.failures += 1
    if visitor.failures >= _MAX_FAILURES or visitor.next_action in {Action.LEAVE, Action.REPLAY}:
        return None
    if visitor.next_action in FORGERY_ACTIONS:
        visitor.next_action = Action.POLL
    return _RETRY_S * visitor.failures * random.uniform(*_JITTER)


def _on_queue_response(
    visitor: Visitor, response: ObservedResponse, *, plan: CrowdPlan, random: Random
) -> float | None:
    """After a response to an arrival or a poll."""
    if (
        visitor.kind is VisitorKind.GHOST
        or response.outcome is Outcome.NO_PLACE
        or visitor.token is None
    ):
        return None
    if response.outcome is not Outcome.WAITING:
        visitor.stage, visitor.next_action = VisitorStage.ADMITTED, Action.VISIT
        if plan.visit_requests == 0:
            return _end_visit(visitor, plan=plan, random=random)
        return _short_pause_s(plan, random)
    is_arrival = visitor.next_action is Action.ARRIVE
    visitor.stage, visitor.next_action, visitor.poll_interval_s = (
        VisitorStage.WAITING,
        Action.POLL,
        response.poll_interval_s,
    )
    pause_s = response.poll_interval_s * random.uniform(*_JITTER)
    if is_arrival:
        visitor.ticket = visitor.token if visitor.kind is VisitorKind.JUMPER else None
        return min(pause_s, _PAGE_FIRST_POLL_S) if visitor.browser else pause_s
    visitor.polls += 1
    match visitor.kind:
        case VisitorKind.REFRESHER:
            return random.uniform(*_REFRESHER_INTERVAL_S)
        case VisitorKind.JUMPER if visitor.forged_tokens is not None:
            visitor.next_action = (
                Action.FORGE_VISIT if visitor.polls % 3 == 0 else Action.FORGE_POLL
            )
            return pause_s / 2
        case VisitorKind.LEAVER if visitor.polls == visitor.act_after:
            visitor.next_action = Action.LEAVE
        case VisitorKind.RETURNER if visitor.polls == visitor.act_after:
            visitor.stage = VisitorStage.SILENT
            return plan.away_s
    return pause_s


def _on_visit_response(
    visitor: Visitor, response: ObservedResponse, *, plan: CrowdPlan, random: Random
) -> float | None:
    """After a response to a request of an admitted visitor to the site."""
    if response.outcome is Outcome.WAITING:
        return None  # the observer records this violation
    visitor.visits += 1
    if visitor.visits < plan.visit_requests:
        return plan.visit_s / plan.visit_requests * random.uniform(*_JITTER)
    return _end_visit(visitor, plan=plan, random=random)


def _end_visit(visitor: Visitor, *, plan: CrowdPlan, random: Random) -> float | None:
    if visitor.kind is not VisitorKind.JUMPER and random.random() < plan.stayers:
        return None  # idles until the pass expires
    visitor.next_action = Action.LEAVE
    return _short_pause_s(plan, random)


def _after_leaving(visitor: Visitor, *, plan: CrowdPlan, random: Random) -> float | None:
    if visitor.ticket is None:
        return None
    visitor.stage, visitor.next_action, visitor.token = (
        VisitorStage.DONE,
        Action.REPLAY,
        visitor.ticket,
    )
    return _short_pause_s(plan, random)


def _short_pause_s(plan: CrowdPlan, random: Random) -> float:
    """A pause between two actions; shorter when the whole visit is short."""
    return random.uniform(0.1, 1.0) * min(plan.visit_s, 1.0)
