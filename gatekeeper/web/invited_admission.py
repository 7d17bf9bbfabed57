"""Admission of invited visitors: from an invitation to a place.

Rules. A place that the request already holds takes precedence over its invitation: a pass always, a
ticket unless the invitation names a lane with an earlier turn. An invited visitor confirms first
like every newcomer, and the first device that claims holds the place. Without the store the ticket
is stamped here; no pass is issued, since only the store knows whether the person already has one.
`newcomers_per_address` does not count invited visitors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, assert_never

from gatekeeper.policy.decision import (
    Arrive,
    Elsewhere,
    LineFull,
    QueuePosition,
    UsedInvitation,
    WaitWithoutPlace,
    decide,
)
from gatekeeper.policy.fetch_metadata import outlasts_admission
from gatekeeper.policy.invitation_address import PARAMETER, find_invitation
from gatekeeper.policy.invitations import Invitation, InvitationProblem, InvitationScope
from gatekeeper.policy.lanes import Lane, turn_ahead_us
from gatekeeper.policy.next_token import conclude, in_lane, on_device, ticket_of
from gatekeeper.policy.ordering import turn_of
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.routing import InRoom
from gatekeeper.policy.schedule import NO_EVENTS
from gatekeeper.policy.tokens import Ticket, new_device
from gatekeeper.room.visitor_calls import ArrivalRequest
from gatekeeper.web.admission import Admission
from gatekeeper.web.message import QUEUE_INVITATION
from gatekeeper.web.outcome import Admit, Outcome, Wait
from gatekeeper.web.pipeline import Visit
from gatekeeper.web.request_body import ReadBody, fields_of

_FIELDS: Final = ("invitation", PARAMETER)
_BODIES: Final = frozenset({"application/json", "application/x-www-form-urlencoded"})


def may_redeem(visit: Visit) -> bool:
    """Whether an invitation counts for this request: the room accepts invitations, and the request
    creates a place."""
    return (
        isinstance(visit.route, InRoom)
        and visit.gate is not None
        and visit.gate.invitations is not None
        and visit.creates_place
        and not outlasts_admission(visit.facts)
    )


async def sent_invitations(visit: Visit, read_body: ReadBody) -> tuple[str, ...]:
    """The distinct invitations of a request to `enqueue`: in its address, its fields, or its body,
    a form or JSON. Raises BadRequest for another body."""
    gate, facts = visit.gate, visit.facts
    if gate is None or gate.invitations is None:
        return ()
    found = find_invitation(facts.target)
    sent = [*(found.values if found else ()), *facts.fields(QUEUE_INVITATION)]
    content_type = ", ".join(facts.fields("Content-Type"))
    if facts.has_body and content_type.partition(";")[0].strip().lower() in _BODIES:
        fields = fields_of(await read_body(), content_type)
        sent += [fields[name] for name in _FIELDS if name in fields]
    return tuple(dict.fromkeys(sent))


async def admit(visit: Visit) -> Outcome:
    """The outcome for a request, by the invitation in its fields if there is one."""
    gate = visit.gate
    if gate is not None and gate.invitations is not None:
        sent = visit.facts.fields(QUEUE_INVITATION)
        if sent and may_redeem(visit):
            return await redeem(visit, tuple(dict.fromkeys(sent)))
    return await visit.admit()


async def redeem(visit: Visit, sent: Sequence[str]) -> Outcome:
    """The outcome for a request with these invitations; more than one distinct invitation is
    invalid."""
    current: Outcome | None = None
    if visit.held.token is not None:
        current = await visit.admit_as("denied")
        if isinstance(current, Admit) or current == WaitWithoutPlace("reconnecting"):
            return current
    invitation = _read(visit, sent)
    held = current if isinstance(current, Wait) else None
    if not isinstance(invitation, Invitation):
        return held or WaitWithoutPlace(invitation)
    if held is not None and (
        held.ticket.visitor == invitation.visitor or invitation.lane is None or held.ticket.lane
    ):
        return held
    outcome = await _admit(visit.admission, invitation)
    if held is None:
        return outcome
    if isinstance(outcome, Wait) and _is_earlier(outcome.ticket, held.ticket, visit.admission):
        visit.admission.give_up([held.ticket])
        return outcome
    return held


def _read(visit: Visit, sent: Sequence[str]) -> Invitation | InvitationProblem:
    assert visit.gate is not None
    assert visit.gate.invitations is not None
    admission = visit.gate.admission
    state = admission.room.view.state
    events = state.schedule.events if state is not None else ()
    scope = InvitationScope(
        lanes=[lane.name for lane in admission.rules.lanes],
        events=[event.name for event in events if not event.cancelled],
    )
    if len(sent) != 1:
        return "invitation_invalid"
    return visit.gate.invitations.read(sent[0], now_s=admission.now_s(), scope=scope)


def _is_earlier(invited: Ticket, held: Ticket, admission: Admission) -> bool:
    """Whether the place of the invitation is the earlier one; before a draw, that of the lane."""
    view = admission.room.view.decisive
    turns_us = [turn_of(each, view.ordering) for each in (invited, held)]
    return view.phase is Phase.PREQUEUE or turns_us[0] < turns_us[1]


async def _admit(admission: Admission, invitation: Invitation) -> Outcome:
    """Give this device a ticket for the invited visitor's place."""
    rules, room = admission.rules, admission.room
    lane = next((each for each in rules.lanes if each.name == invitation.lane), None)
    decisive, now_s = room.view.decisive, admission.now_s()
    decision = decide(None, decisive, rules=rules, now_s=now_s, is_invited=True)
    if isinstance(decision, WaitWithoutPlace):
        return decision
    device, standing = new_device(), None
    if isinstance(decision, Arrive):
        standing = await room.arrive_invited(
            ArrivalRequest(
                invitation.visitor,
                head_start_us=0 if lane is None else lane.head_start_us,
                may_enter=False,
                device=device,
                invited_until_us=round(invitation.expires_at_s * 1_000_000),
            )
        )
    match standing:
        case None:
            lost = replace(decisive, store_up=False)
            decision = decide(None, lost, rules=rules, now_s=now_s, is_invited=True)
            if isinstance(decision, WaitWithoutPlace):
                return decision
            ticket = _stamped(admission, invitation, lane)
        case QueuePosition():
            token = conclude(invitation.visitor, standing, None, rules=rules, now_s=now_s)
            assert isinstance(token, Ticket)
            ticket = token
        case LineFull():
            return WaitWithoutPlace("queue_full")
        case Elsewhere():
            return WaitWithoutPlace("other_device")
        case UsedInvitation():
            return WaitWithoutPlace("invitation_used")
        case _:
            assert_never(standing)
    ticket = on_device(ticket, device, invited_until_s=invitation.expires_at_s)
    ticket = in_lane(ticket, lane.name if lane is not None else "")
    is_unsolved = admission.is_unsolved(ticket)
    position = None if is_unsolved else standing
    return Wait(ticket, position, changed=True, is_new=not is_unsolved)


def _stamped(admission: Admission, invitation: Invitation, lane: Lane | None) -> Ticket:
    """A ticket without the store: its turn is from the estimate of the store's clock."""
    view, now_s = admission.room.view, admission.now_s()
    arrival_us = admission.room.stamp_arrival(came_s=now_s)
    turn_us = arrival_us
    if lane is not None:
        turn_us = turn_ahead_us(
            arrival_us,
            lane.head_start_us,
            # The watermark may be one short of a turn that is partly released.
            lowest_us=view.decisive.watermark_us + 2,
            schedule=NO_EVENTS if view.state is None else view.state.schedule,
        )
    return ticket_of(
        invitation.visitor,
        arrival_us=arrival_us,
        turn_us=turn_us,
        rules=admission.rules,
        now_s=now_s,
        is_new=True,
    )
