"""One simulated visitor: its next action, and the effect of each response.

Rules. No I/O and no clock. A visitor has at most one request in flight. `apply_response` takes the
parsed response and returns the pause until the next request, or None when the visitor is done; the
action of that request is `next_action`. A lurker is never done.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from random import Random

from gatekeeper.simulate.gate_response import ObservedResponse, Outcome, Token
from gatekeeper.simulate.judge import Place
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.pressure import Lurk, PromisedWait
from gatekeeper.simulate.release_delays import is_near_front
from gatekeeper.simulate.simulated_lanes import SimulatedLane

_JITTER = (0.85, 1.15)  # as on the waiting page
_CONFIRM_WITHIN_S = 1.0  # a browser's first poll, which confirms the visitor
_REFRESHER_INTERVAL_S = (0.1, 1.0)
_RETRY_S = 2.0
_MAX_FAILURES = 5  # failed requests in a row after which a visitor gives up
_MAX_POLLS_BEFORE_ACTION = 3
# A lurker near the front is silent until it was released and its claim window has ended.
_LURK_FACTOR, _LURK_MARGIN_S = 1.5, 2.0
_BOT_RETURN_S = 1.0  # after a response that ended an attempt of a bot
_LURKER_RETURN_S = 2.0  # after a response that ended its attempt
_GOLDEN, _SILVER = 0.6180339887498949, 0.4142135623730951


class VisitorKind(StrEnum):
    PATIENT = "patient"
    LEAVER = "leaver"
    RETURNER = "returner"
    GHOST = "ghost"
    REFRESHER = "refresher"
    JUMPER = "jumper"
    NO_SHOW = "no-show"
    LURKER = "lurker"
    # Bots: see `bots`.
    SCRAPER = "scraper"
    IDLER = "idler"
    WORKER = "worker"
    REPLAYER = "replayer"
    SHARER = "sharer"
    EVADER = "evader"


BOT_KINDS = (
    VisitorKind.SCRAPER,
    VisitorKind.IDLER,
    VisitorKind.WORKER,
    VisitorKind.REPLAYER,
    VisitorKind.SHARER,
    VisitorKind.EVADER,
)
_BESIDE = frozenset({VisitorKind.LURKER, *BOT_KINDS})


class Action(Enum):
    ARRIVE = auto()
    POLL = auto()
    SOLVE = auto()  # send the proof of a challenge
    VISIT = auto()
    EVADE = auto()  # a request that creates no place
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
    misses: int = 0  # of a lurker: releases that it certainly missed
    lurk: Lurk | None = None
    lane: SimulatedLane | None = None
    invitation: str = ""
    promised: PromisedWait | None = None
    challenge: Mapping[str, object] | None = None  # of the last response
    was_challenged: bool = False  # since it arrived
    proof: str = ""  # to be sent with the action SOLVE

    @property
    def is_beside(self) -> bool:
        """Whether it is a lurker or a bot, which does not count as a visitor and never ends."""
        return self.kind in _BESIDE

    @property
    def is_bot(self) -> bool:
        return self.kind in BOT_KINDS

    @property
    def gives_up_next(self) -> bool:
        """Whether it is done if this request fails as well."""
        return self.failures + 1 >= _MAX_FAILURES


def new_visitor(number: int, plan: CrowdPlan, random: Random) -> Visitor:
    return Visitor(
        number=number,
        kind=_kind(plan, _drawn(number, plan.seed)),
        browser=random.random() < plan.browsers,
        act_after=random.randint(1, _MAX_POLLS_BEFORE_ACTION),
        lane=_lane(plan, (plan.seed * _GOLDEN + number * _SILVER) % 1),
    )


def new_lurker(number: int) -> Visitor:
    return Visitor(number=number, kind=VisitorKind.LURKER, browser=True, act_after=1)


def _drawn(number: int, seed: int) -> float:
    """A number from 0 to 1, evenly distributed over any range of visitors. Each range then has its
    share of each kind, so that the judge can compare rates in short spans.
    """
    return (seed * _SILVER + number * _GOLDEN) % 1


def _lane(plan: CrowdPlan, drawn: float) -> SimulatedLane | None:
    for lane in plan.lanes:
        if drawn < lane.share:
            return lane
        drawn -= lane.share
    return None


def _kind(plan: CrowdPlan, drawn: float) -> VisitorKind:
    shares = plan.shares
    for kind, share in (
        (VisitorKind.LEAVER, shares.leavers),
        (VisitorKind.RETURNER, shares.returners),
        (VisitorKind.GHOST, shares.ghosts),
        (VisitorKind.REFRESHER, shares.refreshers),
        (VisitorKind.JUMPER, shares.jumpers),
        (VisitorKind.NO_SHOW, shares.no_shows),
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
    is_arrival = visitor.next_action is Action.ARRIVE
    if response.outcome is Outcome.FAILED or (is_arrival and response.is_without_ticket):
        return _on_failure(visitor, random)
    visitor.failures = 0
    visitor.challenge = response.challenge
    visitor.was_challenged |= response.challenge is not None
    if response.token is not None and visitor.next_action not in FORGERY_ACTIONS:
        visitor.token = response.token
    match visitor.next_action:
        case Action.ARRIVE | Action.POLL | Action.SOLVE:
            return _on_queue_response(visitor, response, plan=plan, random=random)
        case Action.FORGE_POLL | Action.FORGE_VISIT:
            visitor.next_action = Action.POLL
            return visitor.poll_interval_s / 2 * random.uniform(*_JITTER)
        case Action.VISIT:
            return _on_visit_response(visitor, response, plan=plan, random=random)
        case Action.LEAVE:
            return _after_leaving(visitor, plan=plan, random=random)
        case Action.EVADE:
            visitor.visits += 1
            return _BOT_RETURN_S * random.uniform(*_JITTER)
        case Action.REPLAY:
            return None


def _on_failure(visitor: Visitor, random: Random) -> float | None:
    visitor.failures += 1
    if visitor.next_action is Action.SOLVE:
        visitor.next_action = Action.POLL  # which brings another challenge
    if visitor.is_bot and visitor.failures >= _MAX_FAILURES:
        _start_over(visitor)
    if visitor.is_beside:
        return _RETRY_S * random.uniform(*_JITTER)
    # An admitted visitor leaves: otherwise it would hold the slot until the idle timeout.
    leaves_line = visitor.next_action is Action.LEAVE and not visitor.admitted
    if visitor.failures >= _MAX_FAILURES or leaves_line or visitor.next_action is Action.REPLAY:
        return None
    if visitor.next_action in FORGERY_ACTIONS:
        visitor.next_action = Action.POLL
    return _RETRY_S * visitor.failures * random.uniform(*_JITTER)


def _on_queue_response(
    visitor: Visitor, response: ObservedResponse, *, plan: CrowdPlan, random: Random
) -> float | None:
    """Apply a response to an arrival or a poll."""
    if visitor.kind is VisitorKind.LURKER:
        return _on_lurker_response(visitor, response, plan=plan, random=random)
    if visitor.is_bot:
        return _on_bot_response(visitor, response, random=random)
    if (
        visitor.kind is VisitorKind.GHOST
        or response.outcome is Outcome.NO_PLACE
        or visitor.token is None
    ):
        return None
    if response.outcome is not Outcome.WAITING:
        if visitor.kind is VisitorKind.NO_SHOW:
            return None
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
        return min(pause_s, _CONFIRM_WITHIN_S) if visitor.browser else pause_s
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
        case VisitorKind.NO_SHOW if _is_near_front(response):
            return None
        case VisitorKind.RETURNER if visitor.polls == visitor.act_after:
            visitor.stage = VisitorStage.SILENT
            return plan.away_s
    return pause_s


def _on_lurker_response(
    visitor: Visitor, response: ObservedResponse, *, plan: CrowdPlan, random: Random
) -> float:
    """Apply a response to an arrival or a poll of a lurker, which never stops."""
    if response.outcome is not Outcome.WAITING or visitor.token is None:
        if visitor.next_action is Action.POLL and response.outcome is Outcome.ADMITTED:
            visitor.stage, visitor.next_action = VisitorStage.ADMITTED, Action.LEAVE
        else:
            _start_over(visitor)
        return _LURKER_RETURN_S
    is_arrival = visitor.next_action is Action.ARRIVE
    visitor.stage, visitor.next_action = VisitorStage.WAITING, Action.POLL
    visitor.poll_interval_s = response.poll_interval_s
    pause_s = response.poll_interval_s * random.uniform(*_JITTER)
    if is_arrival:
        return min(pause_s, _CONFIRM_WITHIN_S)
    visitor.polls += 1
    if not _is_near_front(response):
        return pause_s
    released_in_s = (response.position or 0) * 60 / (response.rate_per_minute or math.inf)
    return released_in_s + plan.claim_timeout_s * _LURK_FACTOR + _LURK_MARGIN_S


def _on_bot_response(visitor: Visitor, response: ObservedResponse, *, random: Random) -> float:
    """Apply a response to an arrival, a poll or a proof of a bot, which never stops."""
    pause_s = response.poll_interval_s * random.uniform(*_JITTER)
    is_place = response.outcome is Outcome.WAITING and visitor.token is not None
    if visitor.kind is VisitorKind.SCRAPER or not is_place:
        _start_over(visitor)
        return _BOT_RETURN_S * random.uniform(*_JITTER)
    is_arrival = visitor.next_action is Action.ARRIVE
    visitor.stage, visitor.next_action = VisitorStage.WAITING, Action.POLL
    visitor.poll_interval_s = response.poll_interval_s
    visitor.polls += not is_arrival
    return min(pause_s, _CONFIRM_WITHIN_S) if is_arrival else pause_s


def _is_near_front(response: ObservedResponse) -> bool:
    return is_near_front(response.position, rate_per_minute=response.rate_per_minute)


def _start_over(visitor: Visitor) -> None:
    """Become a newcomer without a token."""
    is_evader = visitor.kind is VisitorKind.EVADER
    visitor.stage = VisitorStage.ARRIVING
    visitor.next_action = Action.EVADE if is_evader else Action.ARRIVE
    visitor.token, visitor.place, visitor.admitted = None, Place(), False
    visitor.misses, visitor.lurk = 0, None
    visitor.challenge, visitor.was_challenged, visitor.proof = None, False, ""
    visitor.failures = 0


def _on_visit_response(
    visitor: Visitor, response: ObservedResponse, *, plan: CrowdPlan, random: Random
) -> float | None:
    """Apply a response to an admitted visitor's request to the site."""
    if visitor.is_bot:  # a copy of a pass
        return _BOT_RETURN_S * random.uniform(*_JITTER)
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
    if visitor.kind is VisitorKind.LURKER:
        _start_over(visitor)
        return _LURKER_RETURN_S
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
