"""Chooses among several tokens of one request, when only the store knows which are void.

Rules. A request carries several tickets, or passes that expired, after tabs were restored, or if a
sibling host planted cookies. The first expired pass whose slot is held is effective: its visitor is
admitted. Then the first ticket that is not void. Any number of void tokens cannot hide a valid one:
one store call checks all expired passes, and one more, which claims nothing, checks all tickets
after the first. While the store is unreachable, void tokens are unknown: then no token is
overwritten, and no place is given up. Tickets with an unsolved challenge come last, the earliest
arrival first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from gatekeeper.policy.decision import Elsewhere, VoidToken, WaitWithoutPlace
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.tokens import Pass, Ticket
from gatekeeper.web.admission import Admission
from gatekeeper.web.credentials import PresentedToken
from gatekeeper.web.outcome import Admit, Newcomers, Outcome, Wait


async def admit_one_of(
    held: PresentedToken,
    admission: Admission,
    *,
    newcomers: Newcomers,
    facts: RequestFacts | None = None,
) -> Outcome:
    """The outcome for the effective token; `newcomers`: what the request does without one."""
    tokens = (held.token, *held.others, *held.ended)
    tickets = [each for each in tokens if isinstance(each, Ticket)]
    unsolved = [each for each in tickets if admission.is_unsolved(each)]
    known = [each for each in tickets if each not in unsolved]
    passes = [each for each in tokens if isinstance(each, Pass)]
    entered = await _admit_pass(passes, admission, by_header=held.by_header)
    if isinstance(entered, Admit):
        return entered
    outcome: Outcome | None = await _admit_ticket(known, admission)
    if entered is not None:  # a pass may be valid, but the store did not reply
        outcome = replace(outcome, changed=False) if isinstance(outcome, Wait) else outcome
        outcome = outcome or entered
    if outcome is None and unsolved:  # no slot is held
        first = await admission.admit(unsolved[0], newcomers="denied")
        outcome = replace(first, changed=True) if isinstance(first, Wait) else None
    return outcome or await admission.admit(None, newcomers=newcomers, facts=facts)


async def _admit_ticket(tickets: Sequence[Ticket], admission: Admission) -> Admit | Wait | None:
    for portion in (tickets[:1], tickets[1:]):
        not_void = await _not_void(portion, admission)
        if not_void is None:
            return await _admit_without_store(tickets, admission)
        for ticket in not_void:
            outcome = await admission.admit(ticket, newcomers="denied")
            is_unplaced = isinstance(outcome, Wait) and outcome.position is None
            if is_unplaced or not _has_store(admission):
                return await _admit_without_store(tickets, admission)
            if isinstance(outcome, Admit | Wait):
                admission.give_up([each for each in tickets if each is not ticket])
                return replace(outcome, changed=True)  # the visitor also holds other tokens
    return None


async def _not_void(tickets: Sequence[Ticket], admission: Admission) -> Sequence[Ticket] | None:
    """The tickets that are not void; None: the store does not reply."""
    if len(tickets) <= 1:
        return tickets
    standings = await asyncio.gather(*map(admission.attend, tickets))
    if not _has_store(admission) or None in standings:
        return None
    return [
        ticket
        for ticket, standing in zip(tickets, standings, strict=True)
        if not isinstance(standing, VoidToken | Elsewhere)
    ]


async def _admit_without_store(
    tickets: Sequence[Ticket], admission: Admission
) -> Admit | Wait | None:
    """The first ticket that enters, else the first that waits."""
    outcomes = await asyncio.gather(
        *(admission.admit(each, newcomers="denied") for each in tickets)
    )
    for kind in (Admit, Wait):
        for outcome in outcomes:
            if isinstance(outcome, kind):
                return replace(outcome, changed=False)
    return None


async def _admit_pass(
    passes: Sequence[Pass], admission: Admission, *, by_header: bool
) -> Admit | WaitWithoutPlace | None:
    """The first pass that enters. Without the store the others may be valid, and are kept."""
    outcomes = await asyncio.gather(
        *(admission.admit(each, by_header, newcomers="denied") for each in passes)
    )
    for outcome in outcomes:
        if isinstance(outcome, Admit):
            return outcome
    unknown = WaitWithoutPlace("reconnecting")
    return unknown if unknown in outcomes else None


def _has_store(admission: Admission) -> bool:
    return admission.room.view.decisive.store_up
