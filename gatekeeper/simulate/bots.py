"""The bots of a run: the kinds, and their results.

Rules. No I/O and no clock. Bots come from few addresses, act in addition to the visitors for the
whole run, and start over as newcomers whenever an attempt ends. The kinds alternate:

    scraper   keeps no cookies: every request is another newcomer
    idler     keeps the cookie and polls, and never solves a challenge
    worker    solves its challenges while CPU time is left, then acts like an idler
    replayer  sends a proof that another place has used
    sharer    enters with copies of one pass, of another bot
    evader    sends requests that create no place (images, POSTs, HEAD, prefetches)

The share of the bots is their share of admissions. Each forwarded request of an evader is one.
Sharers have no own admissions: their requests are counted, forwarded or refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from gatekeeper.simulate.evidence import Promise
from gatekeeper.simulate.gate_response import ObservedResponse, Outcome
from gatekeeper.simulate.request_kinds import RequestKind
from gatekeeper.simulate.visitor import BOT_KINDS, Action, Visitor, VisitorKind

BOTS: Final = "bots"
REPLAY_ACCEPTED: Final = "a proof of another place was accepted"
UNSOLVED_ADMITTED: Final = "admitted without a solved challenge"
EVADED: Final = "a request that creates no place bypassed the challenge"
EVASIONS: Final = (RequestKind.IMAGE, RequestKind.POST, RequestKind.HEAD, RequestKind.PREFETCH)
_NEVER_SOLVES: Final = frozenset({VisitorKind.SCRAPER, VisitorKind.IDLER, VisitorKind.REPLAYER})
_WORK: Final = "work"
_TOO_MANY: Final = "status 429"


def new_bot(number: int, first: int) -> Visitor:
    """The bot with this number; `first`: that of the first bot."""
    kind = BOT_KINDS[(number - first) % len(BOT_KINDS)]
    action = Action.EVADE if kind is VisitorKind.EVADER else Action.ARRIVE
    return Visitor(number=number, kind=kind, browser=True, act_after=1, next_action=action)


def evasion_of(visitor: Visitor) -> RequestKind:
    """The next request of an evader."""
    return EVASIONS[visitor.visits % len(EVASIONS)]


def source_address(visitor: Visitor, *, first: int, addresses: int) -> str:
    """The address that a proxy would report: one for each visitor, a few shared ones for bots."""
    if visitor.is_bot:
        return f"192.0.2.{(visitor.number - first) % addresses + 1}"  # RFC 5737
    number = visitor.number + 1
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@dataclass(slots=True)
class BotRecord:
    """What the bots of one run did and received."""

    admitted: Counter[VisitorKind] = field(default_factory=Counter)
    cpu_s: float = 0.0  # of the proofs of bots
    hashes: int = 0
    solved: int = 0
    replays: int = 0
    replays_accepted: int = 0
    unsolved_admitted: int = 0
    shared_forwarded: int = 0
    shared_refused: int = 0
    evasions: int = 0  # requests of evaders
    evasions_forwarded: int = 0
    challenge_evaded: int = 0  # … of them, while the room set a challenge
    challenged: int = 0  # responses with a challenge, to visitors or bots
    unsolvable: int = 0  # … of another type than proof of work
    limited: int = 0  # responses to bots that refused a place

    def received(self, visitor: Visitor, response: ObservedResponse) -> str | None:
        """Record a response to a visitor or bot before it is applied; returns the violation."""
        if response.challenge is not None:
            self.challenged += 1
            self.unsolvable += response.challenge.get("type", _WORK) != _WORK
        if not visitor.is_bot:
            return None
        self.limited += visitor.next_action is Action.ARRIVE and response.outcome is Outcome.FAILED
        match visitor.kind, visitor.next_action:
            case VisitorKind.SHARER, Action.VISIT:
                self.shared_forwarded += response.outcome is Outcome.FORWARDED
                self.shared_refused += response.failure == _TOO_MANY
            case VisitorKind.REPLAYER, Action.SOLVE:
                return self._replayed(response)
            case VisitorKind.EVADER, Action.EVADE:
                return self._evaded(response)
        return None

    def _evaded(self, response: ObservedResponse) -> str | None:
        self.evasions += 1
        if response.outcome is not Outcome.FORWARDED:
            return None
        self.evasions_forwarded += 1
        self.admitted[VisitorKind.EVADER] += 1
        if not self.challenged:
            return None
        self.challenge_evaded += 1
        return EVADED

    def _replayed(self, response: ObservedResponse) -> str | None:
        self.replays += 1
        is_accepted = response.outcome is Outcome.ADMITTED or (
            response.outcome is Outcome.WAITING and response.challenge is None
        )
        self.replays_accepted += is_accepted
        return REPLAY_ACCEPTED if is_accepted else None

    def received_admitted(self, visitor: Visitor) -> str | None:
        """A visitor or bot was admitted; returns the violation."""
        if not visitor.is_bot:
            return None
        self.admitted[visitor.kind] += 1
        if visitor.kind not in _NEVER_SOLVES or not visitor.was_challenged:
            return None
        self.unsolved_admitted += 1
        return UNSOLVED_ADMITTED

    def spent(self, *, cpu_s: float, hashes: int) -> None:
        """Add the CPU time and hashes of a bot."""
        self.cpu_s += cpu_s
        self.hashes += hashes
        self.solved += 1


def bot_promise(record: BotRecord, *, admitted: int) -> Promise:
    """The promise about bots. `admitted`: the number of admitted visitors."""
    figures = bot_figures(record, admitted=admitted)
    got, share = figures["admitted"], figures["share"]
    detail = f"{got:,} of {got + admitted:,} admissions ({share:.1%})"
    detail += f" for {record.cpu_s:.1f} CPU-seconds of {record.solved:,} proofs"
    if record.solved and (each_s := figures["cpu_s_per_admission"]) is not None:
        detail += f", {each_s:.2f} for each"
    if record.replays:
        detail += f"; {record.replays_accepted:,} of {record.replays:,} replayed proofs accepted"
    shared = record.shared_forwarded + record.shared_refused
    if shared:
        detail += f"; {record.shared_refused:,} of {shared:,} requests of shared passes refused"
    if record.evasions:
        detail += f"; {record.evasions_forwarded:,} of {record.evasions:,} requests without a place"
        detail += " forwarded"
    if not record.challenged:
        return Promise(BOTS, None, f"{detail}; the room sets no challenge")
    without = record.unsolved_admitted + record.challenge_evaded
    detail += f"; {without:,} admitted without a solved challenge"
    return Promise(BOTS, not without and not record.replays_accepted, detail)


def bot_figures(record: BotRecord, *, admitted: int) -> dict[str, Any]:
    got = record.admitted.total()
    return {
        "admitted": got,
        "share": round(got / (got + admitted), 4) if got else 0.0,
        "by_kind": {kind.value: record.admitted[kind] for kind in BOT_KINDS},
        "cpu_s": round(record.cpu_s, 3),
        "cpu_s_per_admission": round(record.cpu_s / got, 3) if got else None,
        "hashes": record.hashes,
        "proofs": record.solved,
        "replays": record.replays,
        "replays_accepted": record.replays_accepted,
        "unsolved_admitted": record.unsolved_admitted,
        "shared_forwarded": record.shared_forwarded,
        "shared_refused": record.shared_refused,
        "evasions": record.evasions,
        "evasions_forwarded": record.evasions_forwarded,
        "challenge_evaded": record.challenge_evaded,
        "places_refused": record.limited,
    }
