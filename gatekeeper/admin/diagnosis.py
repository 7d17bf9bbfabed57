"""The state of the gate in sentences, the most urgent first.

Rules. Pure. A sentence names a fact and what it means for visitors, in numbers. A time is `{since}`
in the text and a separate number of seconds: only the page knows the reader's time zone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from gatekeeper import metrics
from gatekeeper.admin.edge_status import EdgeStatus
from gatekeeper.admin.history import Reading, growth, origin_responses, quantile
from gatekeeper.config.event_schema import spell_time
from gatekeeper.config.types import RoomName
from gatekeeper.metrics import TIMEOUT, UNREACHABLE
from gatekeeper.policy.phase import Mode, Phase, is_full
from gatekeeper.policy.rules import Rules
from gatekeeper.room.state import RoomState
from gatekeeper.room.worker_figures import RequestCounts

Level = Literal["bad", "warn", "busy", "calm"]
_ORDER: tuple[Level, ...] = ("bad", "warn", "busy", "calm")
_FEW_FAILURES = 3
_BAD_SHARE, _WARN_SHARE = 0.05, 0.01
_SLOW_S = 2.0
_STUCK_AFTER_S = 30.0
_LATEST_DRAW_S = 90.0  # the gate waits for a beacon 60 s at most


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence; `since_s` is of the wall clock and replaces `{since}` in the text."""

    level: Level
    text: str
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Observations:
    """The input of `diagnose`. `states` are the newest from the store."""

    now_s: float
    rules: Sequence[Rules]
    states: dict[RoomName, RoomState]
    readings: Sequence[Reading]
    silent: Sequence[tuple[str, float]]  # replicas, and seconds since their last heartbeat
    living: int
    store_lost_at_s: float | None
    mode_changes: dict[RoomName, tuple[str, float]]  # operator ("" is unknown) and time
    events_on: bool
    serving: int = 0  # workers of this process group
    down: int = 0  # workers of this process group that do not serve
    unwritten: int = 0  # entries of the audit log
    edge: EdgeStatus | None = None


def diagnose(seen: Observations) -> list[Finding]:
    """Every finding, the most urgent first; never empty."""
    findings = [
        *_store(seen),
        *_origin(seen),
        *_replicas(seen),
        *_edge(seen.edge),
        *(each for rules in seen.rules for each in _room(seen, rules)),
        *(each for rules in seen.rules for each in _limits(seen, rules.room)),
    ]
    if seen.unwritten:
        entries = "1 audit entry" if seen.unwritten == 1 else f"{seen.unwritten:,} audit entries"
        findings.append(Finding("warn", f"{entries} could not be written to disk."))
    return sorted(findings, key=lambda each: _ORDER.index(each.level))


def _limits(seen: Observations, room: RoomName) -> Iterator[Finding]:
    """Refusals by limits of the room in the last minute."""
    replicas = list(seen.readings[-1].replicas)

    def recent(count: Callable[[RequestCounts], int]) -> int:
        return sum(
            growth(seen.readings, name, lambda figures: (count(figures.served(room)),))[0]
            for name in replicas
        )

    prefix = f"{room}: " if len(seen.rules) > 1 else ""
    if recent(lambda counts: counts.full):
        text = "The store is full: newcomers wait without a place in line until it has space."
        yield Finding("bad", f"{prefix}{text}")
    if limited := recent(lambda counts: counts.limited):
        yield Finding(
            "busy", f"{prefix}{limited:,} turned away by newcomers_per_address (last minute)."
        )
    if refused := recent(lambda counts: counts.refused):
        yield Finding("busy", f"{prefix}{refused:,} refused by concurrent (last minute).")


def _store(seen: Observations) -> Iterator[Finding]:
    if seen.store_lost_at_s is None:
        return
    fail_open = [rules.room for rules in seen.rules if rules.store_failure_mode == "open"]
    new = "newcomers wait"
    if fail_open:
        new = f"a share of newcomers is admitted to {', '.join(fail_open)}"
    text = f"active visitors keep their sessions, the line does not move, {new}."
    yield Finding("bad", "Store unreachable since {since}: " + text, seen.store_lost_at_s)


def _replicas(seen: Observations) -> Iterator[Finding]:
    if seen.down:
        workers = seen.serving + seen.down
        text = f"{seen.serving} of {workers} workers are serving; the rest restart."
        yield Finding("bad", text)
    if seen.silent:
        names = ", ".join(f"{name} for {_span(silent_s)}" for name, silent_s in seen.silent[:3])
        more = f" and {len(seen.silent) - 3} more" if len(seen.silent) > 3 else ""
        total = len(seen.silent) + seen.living
        verb = "is" if len(seen.silent) == 1 else "are"
        text = f"{len(seen.silent)} of {total} replicas {verb} not reporting: {names}{more}."
        yield Finding("bad", text)
    newest = seen.readings[-1].replicas.values()
    lost = sum(not figures.store_up for figures in newest)
    if lost and seen.store_lost_at_s is None:
        text = f"The store does not serve {lost:,} of {len(newest):,} replicas: "
        yield Finding("bad", text + "the reason is in their log (store_unreachable).")
    events_up = [figures.events_up for figures in newest]
    if seen.events_on and events_up and not all(events_up):
        down, total = events_up.count(False), len(events_up)
        text = f"NATS is unreachable for {down:,} of {total:,} replicas: "
        yield Finding("warn", text + "they receive changes from the store only.")


def _edge(edge: EdgeStatus | None) -> Iterator[Finding]:
    if edge is not None and not edge.running:
        yield Finding("bad", "The edge is down and is being restarted: no visitor can connect.")
    for each in edge.certificates if edge is not None and edge.running else ():
        why = f" Last problem: {each.problem}" if each.problem else ""
        match each.state:
            case "missing":
                text = f"{each.domain} has no certificate: its visitors cannot connect.{why}"
                yield Finding("bad", text)
            case "expired":
                text = (
                    f"The certificate of {each.domain} has expired: browsers show a warning.{why}"
                )
                yield Finding("bad", text)
            case "expires soon":
                yield Finding("warn", f"The certificate of {each.domain} expires soon.{why}")
            case "valid":
                if why:
                    text = f"The certificate of {each.domain} could not be renewed.{why}"
                    yield Finding("warn", text)
            case _:
                assert_never(each.state)


def _origin(seen: Observations) -> Iterator[Finding]:
    """Findings about the origin as a whole, and about rooms in which it fails more often."""
    whole = _origin_problem(seen, None)
    rooms: list[Finding] = []
    if len(seen.rules) > 1 and (whole is None or whole.level != "bad"):
        problems = (_origin_problem(seen, rules.room) for rules in seen.rules)
        rooms = [each for each in problems if each is not None]
    bad = [each for each in rooms if each.level == "bad"]
    yield from bad or ([whole] if whole is not None else rooms)


def _origin_problem(seen: Observations, room: RoomName | None) -> Finding | None:
    """Failures or slow responses of the origin in one room, or in all."""
    readings = seen.readings
    replicas = list(readings[-1].replicas)
    responses = origin_responses(readings, replicas, room)
    failures: Counter[str] = Counter()
    for name in replicas:
        causes = sorted(readings[-1].replicas[name].served(room).failures)
        grown = growth(readings, name, lambda f, k=causes: _by_cause(f.served(room), k))  # type: ignore[misc]
        failures.update(dict(zip(causes, grown, strict=False)))
    failed = failures.total()
    requests = sum(responses) + failures[UNREACHABLE] + failures[TIMEOUT]
    where = f"{room}: the" if room is not None else "The"
    if failed >= _FEW_FAILURES and failed >= requests * _WARN_SHARE:
        share = failed / max(requests, 1)
        level: Level = "bad" if share >= _BAD_SHARE else "warn"
        return Finding(level, f"{where} origin {_failing(failures, share)}")
    p50_s = quantile(metrics.origin_seconds.bounds_s, responses, 0.5)
    if p50_s is not None and p50_s > _SLOW_S:
        return Finding("warn", f"{where} origin is slow: p50 is {p50_s:.1f} s (last minute).")
    return None


def _by_cause(served: RequestCounts, causes: Sequence[str]) -> tuple[int, ...]:
    return tuple(served.failures.get(cause, 0) for cause in causes)


_VERBS = {UNREACHABLE: "is unreachable", TIMEOUT: "times out"}


def _failing(failures: Mapping[str, int], share: float) -> str:
    percent = f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"
    counted = sorted(((count, cause) for cause, count in failures.items() if count), reverse=True)
    if len(counted) == 1:
        cause = counted[0][1]
        verb = _VERBS.get(cause, f"returns {cause}")
        return f"{verb} for {percent} of requests (last minute)."
    parts = ", ".join(f"{cause} {count:,}" for count, cause in counted)
    return f"fails {percent} of requests (last minute): {parts}."


def _room(seen: Observations, rules: Rules) -> Iterator[Finding]:
    state = seen.states.get(rules.room)
    if state is None:
        return
    prefix = f"{rules.room}: " if len(seen.rules) > 1 else ""
    operator, since_s = seen.mode_changes.get(rules.room, ("", 0.0))
    by = f" by {operator}" if operator else ""
    since = since_s or None
    since_text, at_text = (" since {since}", " at {since}") if since else ("", "")
    line = f"{state.queue_length:,} in line"
    active = f"{state.active:,} active"
    if seen.store_lost_at_s is not None:
        text = f"last known state: {state.mode.value}, {line}, {active}."
        yield Finding("busy", _sentence(prefix, text))
        return
    if 0 < rules.queue_limit <= state.queue_length and state.phase is not Phase.OPEN:
        text = f"the line is full, {line} of {rules.queue_limit:,}: newcomers get no place."
        yield Finding("warn", _sentence(prefix, text))
    match state.phase:
        case Phase.HELD:
            text = f"the line is held{by}{since_text}: {line}, admission is paused."
            yield Finding("warn", _sentence(prefix, text), since)
        case Phase.ENDED if state.mode is Mode.AUTO and state.window.event is not None:
            name = state.window.event.name
            text = f"the event {name} has ended: admission is closed, {line} see that it is over."
            yield Finding("warn", _sentence(prefix, text))
        case Phase.ENDED:
            text = f"ended{by}{at_text}: admission is closed, {line} see that it is over."
            yield Finding("warn", _sentence(prefix, text), since)
        case Phase.OPEN:
            opened = f"opened{by}{at_text}" if by or since else "open"
            text = f"{opened}: every visitor is admitted at once, {active}."
            yield Finding("warn", _sentence(prefix, text), since)
        case Phase.BEFORE | Phase.PREQUEUE:
            yield Finding("calm", _sentence(prefix, _until_start(state, line)))
        case Phase.DRAW if _draw_is_late(state):
            text = (
                f"the draw has not been made, and admission waits for it: {line}. "
                "The reason is in the log: search for draw_key_unknown."
            )
            yield Finding("bad", _sentence(prefix, text))
        case Phase.DRAW:
            text = f"the order is being drawn: {state.undrawn:,} of {line} have no turn yet."
            yield Finding("calm", _sentence(prefix, text))
        case Phase.RUNNING:
            yield _by_rate(seen, rules, state, prefix=prefix)
        case _:
            assert_never(state.phase)


def _draw_is_late(state: RoomState) -> bool:
    """Whether the draw is missing for longer than the maximum wait for a beacon."""
    event = state.window.event
    if event is None or event.drawn is not None:
        return False
    return state.now_us - event.start_us > _LATEST_DRAW_S * 1_000_000


def _until_start(state: RoomState, line: str) -> str:
    event = state.window.event
    assert event is not None  # by the phase
    opens = f"{event.name} opens {spell_time(event.start_us // 1_000_000 * 1_000_000)}"
    kind = "closed before it" if state.phase is Phase.BEFORE else "visitors gather"
    return f"{opens}, {kind}: {line}."


def _by_rate(seen: Observations, rules: Rules, state: RoomState, *, prefix: str) -> Finding:
    line = f"{state.queue_length:,} in line"
    active = f"{state.active:,}"
    if rules.max_active:
        active += f" of {rules.max_active:,}"
    active += " active"
    if state.queue_length == 0:
        return Finding("calm", _sentence(prefix, f"the line is empty, {active}."))
    if state.recovering_until_us > state.now_us:
        text = f"recovering after a store outage: {line} until every visitor had time to return."
        return Finding("warn", _sentence(prefix, text))
    if is_full(state.phase, active=state.active, max_active=rules.max_active):
        return Finding("busy", _sentence(prefix, f"full, {active}: {line} for a free slot."))
    if state.current_rate_per_minute == 0 and not state.pending_grants:
        text = f"the rate is 0: {line} until you set a rate or admit some."
        return Finding("busy", _sentence(prefix, text))
    rate = f"{state.current_rate_per_minute:,.0f}/min"
    if _stuck(seen, rules, state):
        text = f"{line}, but no release for {_span(_STUCK_AFTER_S)} at a rate of {rate}."
        return Finding("bad", _sentence(prefix, text))
    newcomers = ""
    if state.current_rate_per_minute:
        wait_s = state.queue_length / state.current_rate_per_minute * 60
        newcomers = f"; a newcomer waits about {_span(wait_s)}"
    text = f"{line}, admitted at {rate}{newcomers}. {active[0].upper() + active[1:]}."
    return Finding("busy", _sentence(prefix, text))


def _stuck(seen: Observations, rules: Rules, state: RoomState) -> bool:
    """Whether visitors wait, and none was released for a time in which several should have been."""
    for reading in reversed(seen.readings):
        known = reading.rooms.get(rules.room)
        if known is None or known.queue_length == 0 or known.phase is not Phase.RUNNING:
            return False
        if known.released_total != state.released_total:
            return False
        span_s = seen.now_s - reading.at_s
        if (
            span_s >= _STUCK_AFTER_S
            and span_s / 60 * state.current_rate_per_minute >= _FEW_FAILURES
        ):
            return True
    return False


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _sentence(prefix: str, text: str) -> str:
    """`text` after its room's name, or capitalised as a sentence."""
    return prefix + text if prefix else text[0].upper() + text[1:]
