"""The tokens that the gate issues, and a visitor's next token after the store's reply.

Rules. Pure: callers pass `now_s`, seconds of the store's clock. `conclude` turns the store's reply
into a token; the functions before it create each kind. Without the store a ticket is kept, and only
its expiry moves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from gatekeeper.policy.decision import Elsewhere, QueuePosition, SlotGrant, Standing, VoidToken
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Pass, Ticket, Token, VisitorId


def ticket_of(
    visitor: VisitorId,
    *,
    arrival_us: int,
    rules: Rules,
    now_s: float,
    turn_us: int | None = None,
    lane: str = "",
    reference: str = "",
    is_new: bool = False,
) -> Ticket:
    """A ticket as issued at `now_s`; without `turn_us` the turn is the arrival. `is_new`: of a
    newcomer; it is unconfirmed if the room has a challenge."""
    own_turn_us = _own_turn_us(turn_us, arrival_us=arrival_us)
    expires_at_s = now_s + rules.ticket_life_s
    confirmed = not is_new or rules.challenge == "off"
    return Ticket(
        rules.room,
        visitor,
        arrival_us,
        now_s,
        expires_at_s,
        own_turn_us,
        confirmed,
        lane,
        reference=reference,
    )


def in_lane(ticket: Ticket, lane: str) -> Ticket:
    """The first ticket of a lane's visitor, who has not returned it yet."""
    return replace(ticket, lane=lane, confirmed=False) if lane else ticket


def on_device(
    ticket: Ticket, device: str, *, invited_until_s: float | None = None, moved_us: int = 0
) -> Ticket:
    """The ticket bound to one device; `invited_until_s`: of an invited visitor; `moved_us`: when
    the place was moved to the device."""
    return replace(ticket, device=device, invited_until_s=invited_until_s, moved_us=moved_us)


def kept_without_store(
    ticket: Ticket, *, rules: Rules, now_s: float, turn_us: int | None = None
) -> Ticket:
    """The ticket of a visitor who waits at `turn_us` while the store is unreachable. It is renewed
    with a later expiry but not a later issue, since the store has not seen the visitor. In the
    prequeue of a draw it now records that it was returned in time."""
    if turn_us is not None and turn_us >= PROVISIONAL_US and ticket.own_turn_us is None:
        return replace(ticket, own_turn_us=turn_us)
    if ticket.expires_at_s - now_s > rules.ticket_life_s - rules.ticket_renewal_s:
        return ticket
    return replace(ticket, expires_at_s=now_s + rules.ticket_life_s)


def pass_of(
    visitor: VisitorId,
    *,
    arrival_us: int,
    confirmed: bool,
    rules: Rules,
    now_s: float,
    turn_us: int | None = None,
    ends_at_us: int | None = None,
) -> Pass:
    """A pass as issued at `now_s`; without `turn_us` the turn is the arrival, and without
    `ends_at_us` the session begins now."""
    ends_at_s = now_s + rules.session_absolute_timeout_s
    if ends_at_us is not None:
        ends_at_s = ends_at_us / 1_000_000
    life_s = rules.pass_life_s if confirmed else rules.unconfirmed_pass_s
    return Pass(
        room=rules.room,
        visitor=visitor,
        arrival_us=arrival_us,
        issued_at_s=now_s,
        expires_at_s=min(now_s + life_s, ends_at_s),
        ends_at_s=ends_at_s,
        confirmed=confirmed,
        own_turn_us=_own_turn_us(turn_us, arrival_us=arrival_us),
    )


def _own_turn_us(turn_us: int | None, *, arrival_us: int) -> int | None:
    return None if turn_us == arrival_us else turn_us


def renewed(pass_: Pass, *, rules: Rules, now_s: float) -> Pass:
    """The pass after one more use: its expiry slides, its absolute end does not."""
    return Pass(
        room=pass_.room,
        visitor=pass_.visitor,
        arrival_us=pass_.arrival_us,
        issued_at_s=now_s,
        expires_at_s=min(now_s + rules.pass_life_s, pass_.ends_at_s),
        ends_at_s=pass_.ends_at_s,
        own_turn_us=pass_.own_turn_us,
    )


def conclude(
    visitor: VisitorId, standing: Standing, held: Token | None, *, rules: Rules, now_s: float
) -> Token | None:
    """The visitor's next token after the store's reply; None: start again as a newcomer. `held` is
    the token of the request. A session that is claimed again (by a second tab, or late) keeps its
    end, so that it never exceeds `session_absolute_timeout`.
    """
    if isinstance(standing, QueuePosition) and isinstance(held, Ticket):  # first: every poll
        is_fresh = held.confirmed and now_s - held.issued_at_s < rules.ticket_renewal_s
        is_same = standing.turn_us < PROVISIONAL_US and not standing.is_moved
        is_same = is_same and standing.returned_at is None
        if is_fresh and is_same and held.own_turn_us != held.arrival_us:
            return held
    match standing:
        case QueuePosition(turn_us=turn_us, is_moved=is_moved):
            arrival_us = (standing.arrival_us or turn_us) if held is None else held.arrival_us
            # In the prequeue of a draw the ticket now records that it was returned in time.
            is_own = is_moved or held is None or turn_us >= PROVISIONAL_US
            own_turn_us = turn_us if is_own or held is None else held.own_turn_us
            own_turn_us = _own_turn_us(own_turn_us, arrival_us=arrival_us)
            if (
                isinstance(held, Ticket)
                and held.own_turn_us == own_turn_us
                and held.confirmed
                and standing.returned_at is None
                and now_s - held.issued_at_s < rules.ticket_renewal_s
            ):
                return held
            ticket = ticket_of(
                visitor,
                arrival_us=arrival_us,
                turn_us=own_turn_us,
                rules=rules,
                now_s=now_s,
                lane=held.lane if isinstance(held, Ticket) else "",
                reference=held.reference if isinstance(held, Ticket) else "",
                is_new=held is None,
            )
            returned_at = standing.returned_at
            if returned_at is None and isinstance(held, Ticket) and not is_moved:
                returned_at = held.returned_at
            if returned_at is not None:
                ticket = replace(ticket, returned_at=returned_at)
            if isinstance(held, Ticket) and held.device is not None:
                return on_device(
                    ticket,
                    held.device,
                    invited_until_s=held.invited_until_s,
                    moved_us=held.moved_us,
                )
            return ticket
        case SlotGrant(turn_us=turn_us, confirmed=confirmed, ends_at_us=ends_at_us):
            if isinstance(held, Pass):
                pass_ = renewed(held, rules=rules, now_s=now_s)
            else:
                pass_ = pass_of(
                    visitor,
                    arrival_us=turn_us if held is None else held.arrival_us,
                    turn_us=None if held is None else held.own_turn_us,
                    ends_at_us=ends_at_us,
                    confirmed=confirmed,
                    rules=rules,
                    now_s=now_s,
                )
            return pass_ if now_s < pass_.ends_at_s else None  # it ended during the store call
        case VoidToken() | Elsewhere():
            return None
        case _:
            assert_never(standing)
