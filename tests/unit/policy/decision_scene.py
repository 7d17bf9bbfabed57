"""Tokens and views for tests of decisions."""

from dataclasses import replace

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import EnterByShare, Forward, Poll, RoomView, StampWithoutStore
from gatekeeper.policy.next_token import pass_of, ticket_of
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Token, VisitorId

ROOM = RoomName("default")
RULES = Rules.of(RoomConfig())
OPEN_ON_LOSS = replace(RULES, store_failure_mode="open")
VISITOR = VisitorId("A" * 22)
NOW_S = 1_700_000_000.0
ARRIVAL_US = 1_699_999_990_000_000
TICKET = ticket_of(VISITOR, arrival_us=ARRIVAL_US, rules=RULES, now_s=NOW_S)
LONG_KEPT = replace(TICKET, issued_at_s=NOW_S - RULES.session_absolute_timeout_s)
FRESH = pass_of(VISITOR, arrival_us=ARRIVAL_US, confirmed=True, rules=RULES, now_s=NOW_S)
USED = pass_of(VISITOR, arrival_us=ARRIVAL_US, confirmed=True, rules=RULES, now_s=NOW_S - 60)
LATE = pass_of(VISITOR, arrival_us=ARRIVAL_US, confirmed=True, rules=RULES, now_s=NOW_S - 900)
MAY_WAIT = Forward(USED, renew=True, may_wait=True)
UNCONFIRMED = pass_of(
    VISITOR, arrival_us=ARRIVAL_US, confirmed=False, rules=RULES, now_s=NOW_S - 19.9
)
UNCONFIRMED_LATE = pass_of(
    VISITOR, arrival_us=ARRIVAL_US, confirmed=False, rules=RULES, now_s=NOW_S - 20
)
EXPIRED = pass_of(VISITOR, arrival_us=ARRIVAL_US, confirmed=True, rules=RULES, now_s=NOW_S - 1860)
POLL, STAMP, SHARE = Poll(VISITOR, ARRIVAL_US), StampWithoutStore(), EnterByShare()


def view(
    *,
    phase: Phase = Phase.RUNNING,
    watermark_us: int = ARRIVAL_US - 1,
    store_up: bool = True,
    revoked: frozenset[VisitorId] = frozenset(),
    queue_length: int = 0,
) -> RoomView:
    return RoomView(phase, watermark_us, revoked, store_up, queue_length=queue_length)


UP, DOWN = view(), view(store_up=False)
RELEASED, RELEASED_DOWN = (view(watermark_us=ARRIVAL_US, store_up=up) for up in (True, False))
OPEN, OPEN_DOWN = (view(phase=Phase.OPEN, store_up=up) for up in (True, False))
HELD, HELD_DOWN = (view(phase=Phase.HELD, store_up=up) for up in (True, False))
ENDED, ENDED_DOWN = (view(phase=Phase.ENDED, store_up=up) for up in (True, False))
EVERY_TOKEN: list[Token] = [FRESH, USED, EXPIRED, UNCONFIRMED, UNCONFIRMED_LATE, TICKET]
