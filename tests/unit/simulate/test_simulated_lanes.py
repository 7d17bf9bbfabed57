"""Lanes of a crowd: invitations, and the violations that the judge of head starts must find."""

from collections.abc import Sequence
from random import Random

import jwt
import pytest

from gatekeeper.errors import ConfigError
from gatekeeper.simulate.gate_response import ObservedResponse, Outcome
from gatekeeper.simulate.lane_record import LaneRecord, lane_figures, lane_promise
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.simulated_lanes import SimulatedLane, invitation_of, parse_lane
from gatekeeper.simulate.token_claims import TICKET, Claims, claims_of
from gatekeeper.simulate.visitor import Action, Visitor, VisitorKind, new_visitor

MEMBERS = SimulatedLane("members", 0.2, 900.0)
HEAD_START_US = 900_000_000
ARRIVAL_US = 1_796_115_600_000_000
SECRET = b"s" * 32


def member(number: int = 1) -> Visitor:
    return Visitor(number, VisitorKind.PATIENT, browser=True, act_after=1, lane=MEMBERS)


def ticket(turn_us: int, *, lane: str = "members") -> ObservedResponse:
    claims = Claims(TICKET, "visitor", ARRIVAL_US, turn_us, lane)
    return ObservedResponse(Outcome.WAITING, claims=claims)


def judged(
    turn_us: int, *, released_us: Sequence[int] = (), lane: str = "members", by_draw: bool = False
) -> tuple[str | None, LaneRecord]:
    record = LaneRecord()
    for us in released_us:
        other = Visitor(0, VisitorKind.PATIENT, browser=True, act_after=1)
        record.received_ticket(other, ticket(us, lane=""), by_draw=by_draw)
        other.next_action, other.place.turn_us = Action.POLL, us
        record.received_admitted(other)
    visitor = member()
    record.arrival_began(visitor)
    problem = record.received_ticket(visitor, ticket(turn_us, lane=lane), by_draw=by_draw)
    return problem, record


@pytest.mark.parametrize("text", ["members:0.2:15m", "vip-1:1:1h"])
def test_lane_is_spelled_with_share_and_head_start(text: str) -> None:
    lane = parse_lane(text)
    assert (lane.name, lane.share) == (text.split(":")[0], float(text.split(":")[1]))


def test_lane_has_seconds_of_head_start() -> None:
    assert parse_lane("members:0.2:15m") == MEMBERS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "members",
        "members:0.2",
        "members:0:15m",
        "members:1.1:15m",
        "members:x:15m",
        "members:0.2:0s",
        "members:0.2:25h",
        "Members:0.2:15m",
        ":0.2:15m",
        "members:0.2:soon",
    ],
)
def test_strange_lane_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected NAME:SHARE:HEAD_START"):
        parse_lane(text)


def test_plan_needs_a_secret_and_shares_of_one() -> None:
    lanes = (MEMBERS, SimulatedLane("friends", 0.9, 60.0))
    with pytest.raises(ConfigError) as raised:
        CrowdPlan(urls=("http://a",), lanes=lanes)
    assert [each.split(":")[0] for each in raised.value.problems] == ["lanes", "lanes"]


def test_share_of_the_crowd_is_invited() -> None:
    plan = CrowdPlan(urls=("http://a",), lanes=(MEMBERS,), invitation_secret=SECRET)
    lanes = [new_visitor(number, plan, Random(1)).lane for number in range(1000)]
    assert abs(lanes.count(MEMBERS) - 200) <= 2


def test_invitation_is_for_one_visitor_of_one_run() -> None:
    made = [
        invitation_of(number, MEMBERS, room="sale", secret=SECRET, run=run, now_s=1000.0)
        for number, run in ((1, "a"), (2, "a"), (1, "b"))
    ]
    claims = [
        jwt.decode(each, SECRET, algorithms=["HS256"], options={"verify_exp": False})
        for each in made
    ]
    assert len({each["sub"] for each in claims}) == 3
    assert {(each["room"], each["lane"]) for each in claims} == {("sale", "members")}


def test_lane_of_a_ticket_is_read() -> None:
    raw = jwt.encode(
        {"sub": "v", "arr": 9, "trn": 5, "lan": "members"}, SECRET, headers={"typ": TICKET}
    )
    assert claims_of(raw) == Claims(TICKET, "v", 9, 5, "members")


@pytest.mark.parametrize(
    ("turn_us", "released_us", "behind"),
    [
        (ARRIVAL_US - HEAD_START_US, (), 0),
        (ARRIVAL_US - HEAD_START_US, (ARRIVAL_US - HEAD_START_US - 1,), 0),
        (ARRIVAL_US - 5, (ARRIVAL_US - 6, ARRIVAL_US - 900), 1),
    ],
)
def test_head_start_is_held(turn_us: int, released_us: Sequence[int], behind: int) -> None:
    problem, record = judged(turn_us, released_us=released_us)
    assert problem is None
    promise = lane_promise(record)
    assert promise.held
    assert len(record.behind) == behind
    assert lane_figures(record) == {"members": {"arrived": 1, "admitted": 0}}


@pytest.mark.parametrize(
    ("turn_us", "released_us", "lane", "problem"),
    [
        (ARRIVAL_US, (), "members", "has no head start"),
        (ARRIVAL_US - HEAD_START_US - 1, (), "members", "has a longer head start than its lane"),
        (ARRIVAL_US - 5, (ARRIVAL_US - 5,), "members", "stands before a released turn"),
        (
            ARRIVAL_US - HEAD_START_US,
            (ARRIVAL_US - 5, ARRIVAL_US - 99),
            "members",
            "stands before a released turn",
        ),
        (ARRIVAL_US - HEAD_START_US, (), "", "received a ticket without its lane"),
        (ARRIVAL_US - HEAD_START_US, (), "friends", "received a ticket without its lane"),
    ],
)
def test_broken_head_start_is_found(
    turn_us: int, released_us: Sequence[int], lane: str, problem: str
) -> None:
    found, record = judged(turn_us, released_us=released_us, lane=lane)
    assert found == problem
    promise = lane_promise(record)
    assert promise.held is False
    assert problem in promise.detail


def test_ticket_of_a_prequeue_has_no_head_start() -> None:
    assert judged(ARRIVAL_US, by_draw=True)[0] is None


def test_release_after_the_arrival_began_is_no_evidence() -> None:
    record, visitor, other = LaneRecord(), member(), member(2)
    record.arrival_began(visitor)
    other.next_action, other.place.turn_us = Action.POLL, ARRIVAL_US
    record.received_admitted(other)
    assert record.received_ticket(visitor, ticket(ARRIVAL_US - 5), by_draw=False) is None


@pytest.mark.parametrize(
    ("confirms", "turn_us", "is_member", "may_move"),
    [
        (True, 11, True, True),
        (True, 9, True, False),
        (False, 11, True, False),
        (True, 11, False, False),
    ],
)
def test_only_a_member_that_confirms_moves_behind(
    confirms: bool, turn_us: int, is_member: bool, may_move: bool
) -> None:
    visitor = member()
    visitor.lane = MEMBERS if is_member else None
    visitor.place.turn_us, visitor.place.sent_s = 10, 3.0
    visitor.place.confirm_began_s = 3.0 if confirms else 1.0
    assert LaneRecord().may_move(visitor, turn_us) is may_move


def test_lane_without_visitors_is_not_judged() -> None:
    assert lane_promise(LaneRecord()).held is None


def test_shorter_head_start_without_a_release_is_found() -> None:
    problem, record = judged(ARRIVAL_US - 5, released_us=(ARRIVAL_US - 7,))
    assert problem is None  # until the crowd's turns are known
    promise = lane_promise(record)
    assert promise.held is False
    assert "shorter head start" in promise.detail


@pytest.mark.parametrize(
    ("turns_us", "is_held"),
    [
        ((ARRIVAL_US - 5, ARRIVAL_US - 5), True),
        ((ARRIVAL_US - 5, ARRIVAL_US - 4), True),  # in consecutive turns
        ((ARRIVAL_US - 5, ARRIVAL_US - 3), False),
    ],
)
def test_turn_of_a_member_that_entered_at_once_is_unknown(
    turns_us: Sequence[int], is_held: bool
) -> None:
    """It may have been moved after the released turns, and its pass does not contain the turn."""
    record = LaneRecord()
    first = member()
    first.next_action, first.place.confirm_began_s, first.place.sent_s = Action.POLL, 1.0, 1.0
    record.received_admitted(first)
    for number, turn_us in enumerate(turns_us, start=1):
        visitor = member(number)
        record.arrival_began(visitor)
        assert record.received_ticket(visitor, ticket(turn_us), by_draw=False) is None
    assert lane_promise(record).held is is_held
