"""What is going on, in sentences: the most pressing first.

Rules. Pure. A sentence says what is so and what it means for visitors, in numbers. A time stands
as `{since}` in the text and as seconds beside it, since only the reader's machine knows the
reader's clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from gatekeeper import metrics
from gatekeeper.admin.samples import Reading, answered, grown_by, quantile
from gatekeeper.config.types import RoomName
from gatekeeper.metrics import TIMEOUT, UNREACHABLE
from gatekeeper.policy.phase import Phase, is_full
from gatekeeper.policy.rules import Rules
from gatekeeper.room.state import RoomState
from gatekeeper.room.worker_figures import Served

Level = Literal["bad", "warn", "busy", "calm"]
_ORDER: tuple[Level, ...] = ("bad", "warn", "busy", "calm")
_FEW_FAILURES = 3
_BAD_SHARE, _WARN_SHARE = 0.05, 0.01
_SLOW_S = 2.0
_STUCK_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that is so; `since_s` is of the wall clock."""

    level: Level
    text: str
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the statements are made of. `states` are the last that the store said."""

    now_s: float
    rules: Sequence[Rules]
    states: dict[RoomName, RoomState]
    readings: Sequence[Reading]
    silent: Sequence[tuple[str, float]]  # replicas and for how long, seconds
    living: int
    store_lost_at_s: float | None
    mode_by: dict[RoomName, tuple[str, float]]  # who set the mode, and when; "" is not known
    events_on: bool
    down: int = 0  # workers of this process group that do not serve
    unwritten: int = 0  # entries of the audit log


def statements(facts: Facts) -> list[Statement]:
    """All there is to say, the most pressing first; never empty."""
    said = [
        *_store(facts),
        *_origin(facts),
        *_replicas(facts),
        *(each for rules in facts.rules for each in _room(facts, rules)),
    ]
    if facts.unwritten:
        said.append(
            Statement("warn", f"The disk did not take {_n(facts.unwritten)} audit entries.")
        )
    return sorted(said, key=lambda each: _ORDER.index(each.level))


def _store(facts: Facts) -> Iterator[Statement]:
    if facts.store_lost_at_s is None:
        return
    away_s = facts.now_s - facts.store_lost_at_s
    opening = [rules.room for rules in facts.rules if rules.store_failure_mode == "open"]
    new = "newcomers wait" if not opening else f"a share of newcomers enters {', '.join(opening)}"
    text = "those inside stay, nobody in line moves"
    yield Statement("bad", f"The store has been away for {_span(away_s)}: {text}, {new}.")


def _replicas(facts: Facts) -> Iterator[Statement]:
    if facts.down:
        workers = "1 worker" if facts.down == 1 else f"{facts.down} workers"
        yield Statement("bad", f"{workers} of this machine died and will be started again.")
    if facts.silent:
        names = ", ".join(f"{name} for {_span(quiet_s)}" for name, quiet_s in facts.silent[:3])
        more = f" and {len(facts.silent) - 3} more" if len(facts.silent) > 3 else ""
        of = len(facts.silent) + facts.living
        verb = "is" if len(facts.silent) == 1 else "are"
        yield Statement(
            "bad", f"{len(facts.silent)} of {of} replicas {verb} silent: {names}{more}."
        )
    up = [figures.events_up for figures in facts.readings[-1].replicas.values()]
    if facts.events_on and up and not all(up):
        yield Statement(
            "warn",
            f"NATS is away for {_n(up.count(False))} of {_n(len(up))} replicas: "
            "they hear of each other from the store alone.",
        )


def _origin(facts: Facts) -> Iterator[Statement]:
    """Of the origin as a whole; of a room, where it is worse off than the whole."""
    whole = _trouble(facts, None)
    rooms: list[Statement] = []
    if len(facts.rules) > 1 and (whole is None or whole.level != "bad"):
        troubled = (_trouble(facts, rules.room) for rules in facts.rules)
        rooms = [each for each in troubled if each is not None]
    bad = [each for each in rooms if each.level == "bad"]
    yield from bad or ([whole] if whole is not None else rooms)


def _trouble(facts: Facts, room: RoomName | None) -> Statement | None:
    """What is wrong with the origin's answers to one room, or to all."""
    readings = facts.readings
    replicas = list(readings[-1].replicas)
    answers = answered(readings, replicas, room)
    causes: Counter[str] = Counter()
    for name in replicas:
        known = sorted(readings[-1].replicas[name].served(room).failures)
        grown = grown_by(readings, name, lambda f, k=known: _of_causes(f.served(room), k))  # type: ignore[misc]
        causes.update(dict(zip(known, grown, strict=False)))
    failed = causes.total()
    asked = sum(answers) + causes[UNREACHABLE] + causes[TIMEOUT]
    where = f"{room}: the" if room is not None else "The"
    if failed >= _FEW_FAILURES and failed >= asked * _WARN_SHARE:
        share = failed / max(asked, 1)
        level: Level = "bad" if share >= _BAD_SHARE else "warn"
        return Statement(level, f"{where} origin {_failing(causes, share)}")
    median_s = quantile(metrics.origin_seconds.bounds_s, answers, 0.5)
    if median_s is not None and median_s > _SLOW_S:
        slow = f"{where} origin is slow: half of its answers take longer than {median_s:.1f} s."
        return Statement("warn", slow)
    return None


def _of_causes(served: Served, causes: Sequence[str]) -> tuple[int, ...]:
    return tuple(served.failures.get(cause, 0) for cause in causes)


_CAUSES = {UNREACHABLE: "no connection", TIMEOUT: "no answer in time"}


def _failing(causes: Mapping[str, int], share: float) -> str:
    percent = f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"
    counted = sorted(((n, _CAUSES.get(cause, cause)) for cause, n in causes.items() if n))[::-1]
    if len(counted) == 1:
        cause = counted[0][1]
        what = f"answers {cause} for" if cause.isdigit() else f"gives {cause} for"
        return f"{what} {percent} of requests (last minute)."
    parts = ", ".join(f"{cause} {_n(n)}" for n, cause in counted)
    return f"fails {percent} of requests (last minute): {parts}."


def _room(facts: Facts, rules: Rules) -> Iterator[Statement]:
    state = facts.states.get(rules.room)
    if state is None:
        return
    prefix = f"{rules.room}: " if len(facts.rules) > 1 else ""
    who, since_s = facts.mode_by.get(rules.room, ("", 0.0))
    by = (f" by {who}" if who else "") + (" since {since}" if since_s else "")
    since = since_s or None
    wait = f"{_n(state.queue_length)} wait" if state.queue_length != 1 else "1 waits"
    if facts.store_lost_at_s is not None:
        inside = f"{_n(state.active)} inside"
        yield Statement(
            "busy", _say(prefix, f"as last known {state.mode.value}: {wait}, {inside}.")
        )
        return
    match state.phase:
        case Phase.HELD:
            text = f"held{by}: {wait}, nobody is let in."
            yield Statement("warn", _say(prefix, text), since)
        case Phase.ENDED:
            text = f"ended{by}: {wait} and read that it is over, nobody is let in."
            yield Statement("warn", _say(prefix, text), since)
        case Phase.OPEN:
            text = f"open{by}: everybody goes in at once, {_n(state.active)} are inside."
            yield Statement("warn", _say(prefix, text), since)
        case Phase.RUNNING | Phase.PREQUEUE | Phase.DRAW:
            yield _by_rate(facts, rules, state, prefix=prefix, wait=wait)
        case _:
            assert_never(state.phase)


def _by_rate(facts: Facts, rules: Rules, state: RoomState, *, prefix: str, wait: str) -> Statement:
    inside = f"{_n(state.active)} inside"
    if rules.max_active:
        inside = f"{_n(state.active)} of {_n(rules.max_active)} inside"
    if state.queue_length == 0:
        return Statement("calm", _say(prefix, f"nobody waits, {inside}."))
    if state.recovering_until_us > state.now_us:
        text = f"the store was away or came back empty: {wait} until all had time to return."
        return Statement("warn", _say(prefix, text))
    if is_full(state.phase, active=state.active, max_active=rules.max_active):
        text = f"full, {inside}: {wait} for someone to leave."
        return Statement("busy", _say(prefix, text))
    if state.rate_per_minute == 0 and not state.pending_grants:
        return Statement("busy", _say(prefix, f"the rate is 0: {wait} for you to allow some."))
    if _stuck(facts, rules, state):
        text = f"{wait} and nobody was let in for {_span(_STUCK_AFTER_S)} at a rate of "
        return Statement("bad", _say(prefix, text + f"{_rate(state)}."))
    newcomers = "" if not state.rate_per_minute else f"; newcomers wait about {_eta(state)}"
    text = f"{wait}, {_rate(state)} are let in{newcomers}. {inside}."
    return Statement("busy", _say(prefix, text))


def _stuck(facts: Facts, rules: Rules, state: RoomState) -> bool:
    """Nobody was released for so long that several should have been, with people in line."""
    for reading in reversed(facts.readings):
        known = reading.rooms.get(rules.room)
        if known is None or known.queue_length == 0 or known.phase is not Phase.RUNNING:
            return False
        if known.released_total != state.released_total:
            return False
        span_s = facts.now_s - reading.at_s
        if span_s >= _STUCK_AFTER_S and span_s / 60 * state.rate_per_minute >= _FEW_FAILURES:
            return True
    return False


def _rate(state: RoomState) -> str:
    return f"{state.rate_per_minute:,.0f} a minute"


def _eta(state: RoomState) -> str:
    return _span(state.queue_length / state.rate_per_minute * 60)


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _n(number: int) -> str:
    return f"{number:,}"


def _say(prefix: str, text: str) -> str:
    """Behind its room's name, or as a sentence of its own."""
    return prefix + text if prefix else text[0].upper() + text[1:]
