"""One simulated visitor: what they ask next, and what an answer makes of them.

Rules. No I/O and no clock. A visitor has at most one request under way. `hear` takes what the
answer said and returns after how many seconds the visitor asks again, None when they are done; the
question itself stands in `next`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from random import Random

from gatekeeper.simulate.gate_answer import Answer, Said, Token
from gatekeeper.simulate.judge import Place
from gatekeeper.simulate.plan import CrowdPlan

_JITTER = (0.85, 1.15)  # as the waiting page does
_PAGE_FIRST_POLL_S = 2.0  # likewise: the first poll shows that the cookie is kept
_WILD_S = (0.1, 1.0)
_RETRY_S = 2.0
_PATIENCE = 5  # failed attempts in a row before somebody goes home
_MOST_POLLS_BEFORE_ACTING = 3


class Kind(StrEnum):
    PATIENT = "patient"
    LEAVER = "leaver"
    RETURNER = "returner"
    GHOST = "ghost"
    REFRESHER = "refresher"
    JUMPER = "jumper"


class Ask(Enum):
    ARRIVE = auto()
    POLL = auto()
    VISIT = auto()
    LEAVE = auto()
    LIE_TO_STATUS = auto()
    LIE_TO_SITE = auto()
    REPLAY = auto()


LIES = frozenset({Ask.LIE_TO_STATUS, Ask.LIE_TO_SITE})


class Stage(StrEnum):
    COMING = "coming"
    WAITING = "waiting"
    AWAY = "away"
    INSIDE = "inside"
    GONE = "gone"


@dataclass(slots=True)
class Visitor:
    """The state of one visitor; `act_after` polls they do what their kind does."""

    number: int
    kind: Kind
    browser: bool
    act_after: int
    next: Ask = Ask.ARRIVE
    stage: Stage = Stage.COMING
    place: Place = field(default_factory=Place)
    token: Token | None = None
    ticket: Token | None = None  # the first one, for those who mean to use it again
    lies: Iterator[str] | None = None
    due_s: float = 0.0
    told_s: float = 0.0
    arrived_s: float = 0.0
    eta_s: float | None = None  # as first told …
    expected_s: float = 0.0  # … and the instant that it meant
    admitted: bool = False
    polls: int = 0
    visits: int = 0
    failures: int = 0


def new_visitor(number: int, plan: CrowdPlan, random: Random) -> Visitor:
    return Visitor(
        number=number,
        kind=_kind(plan, random.random()),
        browser=random.random() < plan.browsers,
        act_after=random.randint(1, _MOST_POLLS_BEFORE_ACTING),
    )


def _kind(plan: CrowdPlan, drawn: float) -> Kind:
    shares = plan.shares
    for kind, share in (
        (Kind.LEAVER, shares.leavers),
        (Kind.RETURNER, shares.returners),
        (Kind.GHOST, shares.ghosts),
        (Kind.REFRESHER, shares.refreshers),
        (Kind.JUMPER, shares.jumpers),
    ):
        if drawn < share:
            return kind
        drawn -= share
    return Kind.PATIENT


def hear(visitor: Visitor, answer: Answer, *, plan: CrowdPlan, random: Random) -> float | None:
    """Seconds until the visitor asks `visitor.next`; None when they are done."""
    again_s = _react(visitor, answer, plan=plan, random=random)
    if again_s is None:
        visitor.stage = Stage.GONE
    return again_s


def _react(visitor: Visitor, answer: Answer, *, plan: CrowdPlan, random: Random) -> float | None:
    if answer.said is Said.FAILED:
        return _try_again(visitor, random)
    visitor.failures = 0
    if answer.token is not None and visitor.next not in LIES:
        visitor.token = answer.token
    match visitor.next:
        case Ask.ARRIVE | Ask.POLL:
            return _stand(visitor, answer, plan=plan, random=random)
        case Ask.LIE_TO_STATUS | Ask.LIE_TO_SITE:
            visitor.next = Ask.POLL
            return visitor.told_s / 2 * random.uniform(*_JITTER)
        case Ask.VISIT:
            return _go_on(visitor, answer, plan=plan, random=random)
        case Ask.LEAVE:
            return _after_leaving(visitor, plan=plan, random=random)
        case Ask.REPLAY:
            return None


def _try_again(visitor: Visitor, random: Random) -> float | None:
    visitor.failures += 1
    if visitor.failures >= _PATIENCE or visitor.next in {Ask.LEAVE, Ask.REPLAY}:
        return None
    if visitor.next in LIES:
        visitor.next = Ask.POLL
    return _RETRY_S * visitor.failures * random.uniform(*_JITTER)


def _stand(visitor: Visitor, answer: Answer, *, plan: CrowdPlan, random: Random) -> float | None:
    """Told where they stand, on arrival or by a poll."""
    if visitor.kind is Kind.GHOST or answer.said is Said.NOTHING or visitor.token is None:
        return None
    if answer.said is not Said.WAITING:
        visitor.stage, visitor.next = Stage.INSIDE, Ask.VISIT
        if plan.visit_requests == 0:
            return _end_visit(visitor, plan=plan, random=random)
        return _a_moment_s(plan, random)
    arrived = visitor.next is Ask.ARRIVE
    visitor.stage, visitor.next, visitor.told_s = Stage.WAITING, Ask.POLL, answer.refresh_s
    told_s = answer.refresh_s * random.uniform(*_JITTER)
    if arrived:
        visitor.ticket = visitor.token if visitor.kind is Kind.JUMPER else None
        return min(told_s, _PAGE_FIRST_POLL_S) if visitor.browser else told_s
    visitor.polls += 1
    match visitor.kind:
        case Kind.REFRESHER:
            return random.uniform(*_WILD_S)
        case Kind.JUMPER if visitor.lies is not None:
            visitor.next = Ask.LIE_TO_SITE if visitor.polls % 3 == 0 else Ask.LIE_TO_STATUS
            return told_s / 2
        case Kind.LEAVER if visitor.polls == visitor.act_after:
            visitor.next = Ask.LEAVE
        case Kind.RETURNER if visitor.polls == visitor.act_after:
            visitor.stage = Stage.AWAY
            return plan.away_s
    return told_s


def _go_on(visitor: Visitor, answer: Answer, *, plan: CrowdPlan, random: Random) -> float | None:
    """Inside, after one more request to the site."""
    if answer.said is Said.WAITING:
        return None  # turned back; the crowd has noted it
    visitor.visits += 1
    if visitor.visits < plan.visit_requests:
        return plan.visit_s / plan.visit_requests * random.uniform(*_JITTER)
    return _end_visit(visitor, plan=plan, random=random)


def _end_visit(visitor: Visitor, *, plan: CrowdPlan, random: Random) -> float | None:
    if visitor.kind is not Kind.JUMPER and random.random() < plan.stayers:
        return None  # idles until the pass ends by itself
    visitor.next = Ask.LEAVE
    return _a_moment_s(plan, random)


def _after_leaving(visitor: Visitor, *, plan: CrowdPlan, random: Random) -> float | None:
    if visitor.ticket is None:
        return None
    visitor.stage, visitor.next, visitor.token = Stage.GONE, Ask.REPLAY, visitor.ticket
    return _a_moment_s(plan, random)


def _a_moment_s(plan: CrowdPlan, random: Random) -> float:
    """Between one thing and the next; short when the whole visit is."""
    return random.uniform(0.1, 1.0) * min(plan.visit_s, 1.0)
