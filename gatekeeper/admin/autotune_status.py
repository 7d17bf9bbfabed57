"""What autotune measured and did in a room, for operators. Pure."""

from __future__ import annotations

from gatekeeper.config.event_schema import spell_time
from gatekeeper.policy.autotune import Reason, Targets
from gatekeeper.room.steering_record import SteeringRecord, SteeringStep

REASONS: dict[str, str] = {
    Reason.TOO_SLOW: "the origin responds more slowly than the target",
    Reason.TOO_MANY_ERRORS: "more responses failed than the target allows",
    Reason.NEAR_TARGET: "the origin is close to its target",
    Reason.NEAR_LIMIT: "the rate is just below what the origin can serve",
    Reason.RECOVERED: "the origin has recovered",
    Reason.RISE: "visitors wait, and the origin keeps up",
    Reason.SETTLING: "the effect of the last step is not visible yet",
    Reason.REPLICA_LATE: "a replica was paused, so this period is no evidence",
    Reason.AT_MAX: "the rate is at autotune_max",
    Reason.AT_MIN: "the rate is at autotune_min",
    Reason.NO_DEMAND: "nobody waits for the rate",
    Reason.TOO_FEW_SAMPLES: "too few responses to judge by",
}


def reason_words(reason: str) -> str:
    """Why the rate changed or stayed; a reason of another release is shown as it is."""
    return REASONS.get(reason, reason.replace("_", " "))


def autotune_json(targets: Targets, record: SteeringRecord) -> dict[str, object]:
    """Rates per minute, seconds and shares. `last` is the newest period, `change` the newest that
    changed the rate; null: there was none."""
    return {
        "rate_min": targets.rate_min,
        "rate_max": targets.rate_max,
        "latency_target_s": targets.latency_s,
        "errors_target": targets.errors,
        "last": steering_json(record.last) if record.last else None,
        "change": steering_json(record.changes[-1]) if record.changes else None,
    }


def steering_json(steering: SteeringStep) -> dict[str, object]:
    """The end of one period."""
    share = steering.failed_share
    return {
        "at": spell_time(steering.at_us),
        "before": steering.before,
        "after": steering.after,
        "reason": steering.reason,
        "why": reason_words(steering.reason),
        "p95_s": None if steering.latency_s is None else round(steering.latency_s, 4),
        "failed_share": None if share is None else round(share, 5),
        "responses": steering.responses,
        "admitted": steering.admitted,
    }
