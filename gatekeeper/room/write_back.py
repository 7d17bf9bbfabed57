"""What a replica writes to a store that is empty, or knows less: the arguments of `join`; and the
recovery window."""

from __future__ import annotations

from gatekeeper.policy.pacing import recovery_s
from gatekeeper.policy.rules import Rules
from gatekeeper.room.line_memory import ReturnPlan
from gatekeeper.room.state import RoomState


def rate_text(per_minute: float) -> str:
    """The spelling that both Luas read back exactly; one for each rate."""
    return format(per_minute, ".12g")


def known_arguments(known: RoomState | None, plan: ReturnPlan | None) -> list[str]:
    """The state that the caller knows, and who may be released when, as the script reads it."""
    if known is None:
        return []
    return [
        known.mode.value,
        rate_text(known.rate_per_minute),
        str(known.watermark_us),
        str(known.last_arrival_us),
        str(known.pending_grants),
        str(known.arrived_total),
        str(known.released_total),
        str(known.admitted_total),
        str(known.abandoned_total),
        known.message,
        str(known.expected),
        known.overrides,
        known.events,
        known.schedule.windows_text,
        str(known.active),
        plan.turns if plan is not None else "",
        str(round(plan.line_s * 1_000_000)) if plan is not None else "",
    ]


def recovery_window_s(known: RoomState | None, *, rules: Rules) -> float:
    """How long after a loss visitors may return, seconds."""
    waiting = known.queue_length if known else 0
    rate = known.expected_rate_per_minute if known else rules.rate_per_minute
    opens = is_opening(known, rules=rules)
    return recovery_s(waiting, rate_per_minute=rate, rules=rules, is_opening=opens)


def is_opening(known: RoomState | None, *, rules: Rules) -> bool:
    """Whether visitors may not know the turns yet that they drew."""
    spread_us = round(2 * rules.longest_poll_interval_s * 1_000_000)
    return known is not None and known.schedule.is_opening(known.now_us, spread_us=spread_us)
