"""A room's limits and durations as numbers, derived once from its configuration.

Rules. No I/O and no clock. Derived durations (such as the renewal interval of tokens) are computed
here and nowhere else, so that store, tokens and pages agree on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gatekeeper.config.challenge_keys import Challenge, Noscript
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.autotune import Targets
from gatekeeper.policy.lanes import Lane

_PASS_RENEWAL_CEILING_S = 60.0
_TICKET_RENEWAL_CEILING_S = 120.0
_SLOT_MARGIN_S = 5.0  # the store holds an unconfirmed slot this much longer than its pass lives
_POLL_INTERVAL_FLOOR_S = 1.0
_SHARE_OF_TIMEOUT = 0.4
_STREAM_LIFE_S = 300.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one room, in seconds, admissions per minute and visitors."""

    room: RoomName
    rate_per_minute: float
    burst: int
    max_active: int
    session_idle_timeout_s: float
    session_absolute_timeout_s: float
    claim_timeout_s: float
    confirm_timeout_s: float
    heartbeat_timeout_s: float
    place_ttl_s: float
    store_failure_mode: Literal["closed", "open"]
    poll_interval_max_s: float
    queue_limit: int = 0  # most visitors in line; 0: no limit
    updates: Literal["poll", "stream"] = "poll"
    challenge: Challenge = "off"
    challenge_noscript: Noscript = "wait"
    message: str = ""  # the file's own
    lanes: tuple[Lane, ...] = ()
    access: Literal["public", "invited"] = "public"
    autotune: Targets | None = None  # None: the origin does not steer the rate
    # The longest lifetimes of tokens that were issued under earlier rules.
    earlier_ticket_life_s: float = 0.0
    earlier_session_s: float = 0.0
    # A token is renewed by its first use after this long, not by every use.
    pass_renewal_s: float = field(init=False)
    # A renewal that is due waits at most until then for a response that no shared cache stores.
    pass_renewal_deadline_s: float = field(init=False)
    ticket_renewal_s: float = field(init=False)
    # The longest poll interval of a waiting visitor: two polls fit in `heartbeat_timeout` with
    # their jitter, so that one may be lost, and in `claim_timeout`, since a released visitor learns
    # of it by a poll.
    longest_poll_interval_s: float = field(init=False)

    def __post_init__(self) -> None:
        """Durations that every request or poll reads, and are therefore no properties."""
        within_s = min(self.heartbeat_timeout_s, self.claim_timeout_s) * _SHARE_OF_TIMEOUT
        for name, value_s in (
            ("pass_renewal_s", min(_PASS_RENEWAL_CEILING_S, self.session_idle_timeout_s / 10)),
            ("pass_renewal_deadline_s", self.session_idle_timeout_s / 2),
            (
                "ticket_renewal_s",
                min(
                    _TICKET_RENEWAL_CEILING_S,
                    self.place_ttl_s / 5,
                    # A session that begins without the store is counted from the ticket's issue.
                    self.session_absolute_timeout_s / 5,
                ),
            ),
            (
                "longest_poll_interval_s",
                max(_POLL_INTERVAL_FLOOR_S, min(self.poll_interval_max_s, within_s)),
            ),
        ):
            object.__setattr__(self, name, value_s)

    @classmethod
    def of(cls, room: RoomConfig, *, after: Rules | None = None) -> Rules:
        """The rules of a configuration; `after` are the previous ones."""
        return cls(
            room=room.name,
            rate_per_minute=room.rate,
            burst=room.burst,
            max_active=room.max_active,
            session_idle_timeout_s=room.session_idle_timeout,
            session_absolute_timeout_s=room.session_absolute_timeout,
            claim_timeout_s=room.claim_timeout,
            confirm_timeout_s=room.confirm_timeout,
            heartbeat_timeout_s=room.heartbeat_timeout,
            place_ttl_s=room.place_ttl,
            store_failure_mode=room.store_failure_mode,
            poll_interval_max_s=room.poll_interval_max,
            queue_limit=room.queue_limit,
            updates=room.updates,
            challenge=room.challenge,
            challenge_noscript=room.challenge_noscript,
            message=room.message,
            lanes=tuple(map(Lane.of, room.lanes)),
            access=room.access,
            autotune=Targets(
                rate_min=room.autotune_min,
                rate_max=room.autotune_max,
                latency_s=room.autotune_latency,
                errors=room.autotune_errors,
            )
            if room.autotune
            else None,
            earlier_ticket_life_s=after.longest_ticket_life_s if after else 0.0,
            earlier_session_s=after.longest_session_s if after else 0.0,
        )

    @property
    def pass_life_s(self) -> float:
        """The lifetime of a pass: long enough for `session_idle_timeout_s` after every use."""
        return self.session_idle_timeout_s + self.pass_renewal_s

    @property
    def ticket_life_s(self) -> float:
        """The lifetime of a ticket: an absence of `place_ttl_s` never costs the place, also after a
        stream, on which no ticket is renewed."""
        return self.place_ttl_s + self.ticket_renewal_s + self.stream_life_s

    @property
    def stream_life_s(self) -> float:
        """The longest time on one stream; 0 in a room without streams."""
        return _STREAM_LIFE_S if self.updates == "stream" else 0.0

    @property
    def unconfirmed_pass_s(self) -> float:
        """The lifetime of the pass of a newcomer who went straight through. If it is used
        before that, it is renewed as a confirmed one."""
        return min(self.confirm_timeout_s, self.pass_life_s)

    @property
    def unconfirmed_slot_s(self) -> float:
        """How long the store holds the slot of such a newcomer until the pass is used again."""
        return self.unconfirmed_pass_s + _SLOT_MARGIN_S

    @property
    def revoked_for_s(self) -> float:
        """After this duration every token of a revoked visitor has expired."""
        return max(self.longest_session_s, self.longest_ticket_life_s)

    @property
    def spent_for_s(self) -> float:
        """How long a visitor whose pass expired is remembered, so that the ticket that claimed it
        is not accepted twice."""
        return self.longest_ticket_life_s

    @property
    def longest_ticket_life_s(self) -> float:
        """The lifetime of a ticket, also under earlier rules."""
        return max(self.ticket_life_s, self.earlier_ticket_life_s)

    @property
    def longest_session_s(self) -> float:
        """The absolute timeout of a session, also under earlier rules."""
        return max(self.session_absolute_timeout_s, self.earlier_session_s)
