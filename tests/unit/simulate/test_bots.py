"""The actions of bots next to a crowd, what is attributed to them, and the verdict on them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from random import Random

import pytest

from gatekeeper.simulate.bots import (
    EVASIONS,
    BotRecord,
    bot_figures,
    bot_promise,
    evasion_of,
    new_bot,
    source_address,
)
from gatekeeper.simulate.gate_client import forwarded_for
from gatekeeper.simulate.gate_response import ObservedResponse, Outcome, Token
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.proof_solver import ProofSolver, solve
from gatekeeper.simulate.visitor import (
    BOT_KINDS,
    Action,
    Visitor,
    VisitorKind,
    VisitorStage,
    apply_response,
    new_visitor,
)

PLAN = CrowdPlan(("http://127.0.0.1:8080",), visitors=100, bots=10)
CHALLENGE = {"type": "work"}
TICKET = Token("ticket", "gatekeeper")
IN_LINE = ObservedResponse(Outcome.WAITING, token=TICKET, position=7, poll_interval_s=4.0)
UNSOLVED = ObservedResponse(
    Outcome.WAITING, token=TICKET, reason="challenge", challenge=CHALLENGE, poll_interval_s=4.0
)
ADMITTED = ObservedResponse(Outcome.ADMITTED, token=Token("pass", "gatekeeper"))
REFUSED = ObservedResponse(Outcome.FAILED, failure="status 403")


def bot(kind: VisitorKind) -> Visitor:
    return next(each for each in (new_bot(n, 0) for n in range(9)) if each.kind is kind)


def receive(visitor: Visitor, *responses: ObservedResponse) -> float:
    pause_s: float | None = None
    for response in responses:
        pause_s = apply_response(visitor, response, plan=PLAN, random=Random(1))
        assert pause_s is not None, "a bot never stops"
    assert pause_s is not None
    return pause_s


def test_kinds_of_bots_take_turns() -> None:
    kinds = Counter(new_bot(number, 100).kind for number in range(100, 112))
    assert kinds == dict.fromkeys(BOT_KINDS, 2)


def test_bots_come_from_few_addresses_and_visitors_from_one_each() -> None:
    bots = {source_address(new_bot(n, 1000), first=1000, addresses=3) for n in range(1000, 1050)}
    assert bots == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
    visitors = {
        source_address(new_visitor(n, PLAN, Random(1)), first=1000, addresses=3)
        for n in (0, 1, 254, 255, 256, 65_534, 65_535, 999_999)
    }
    assert len(visitors) == 8
    assert not visitors & bots


def test_address_is_a_field_of_the_request_and_the_body_stays() -> None:
    request = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab\r\n"
    assert forwarded_for(request, "192.0.2.1") == (
        b"POST /x HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\nHost: a\r\n"
        b"Content-Length: 4\r\n\r\nab\r\n"
    )


def test_scraper_keeps_nothing_and_comes_again() -> None:
    scraper = bot(VisitorKind.SCRAPER)
    receive(scraper, IN_LINE)
    assert (scraper.next_action, scraper.token) == (Action.ARRIVE, None)


def test_idler_polls_and_starts_over_when_it_is_admitted() -> None:
    idler = bot(VisitorKind.IDLER)
    assert receive(idler, UNSOLVED) <= 1.0, "it returns the ticket like a page"
    assert receive(idler, UNSOLVED) == pytest.approx(4.0, rel=0.2)
    assert (idler.next_action, idler.was_challenged) == (Action.POLL, True)
    receive(idler, ADMITTED)
    assert (idler.next_action, idler.stage, idler.token) == (
        Action.ARRIVE,
        VisitorStage.ARRIVING,
        None,
    )
    assert not idler.was_challenged


def test_refused_proof_leads_to_a_new_challenge_then_a_new_place() -> None:
    replayer = bot(VisitorKind.REPLAYER)
    receive(replayer, UNSOLVED, UNSOLVED)
    for _ in range(5):
        assert replayer.token is TICKET
        replayer.next_action = Action.SOLVE
        receive(replayer, REFUSED)
    assert (replayer.next_action, replayer.token) == (Action.ARRIVE, None)


def counted(
    record: BotRecord, visitor: Visitor, action: Action, response: ObservedResponse
) -> str | None:
    visitor.next_action = action
    return record.received(visitor, response)


def test_replayed_proof_that_is_accepted_breaks_the_promise() -> None:
    record, replayer = BotRecord(), bot(VisitorKind.REPLAYER)
    assert counted(record, replayer, Action.POLL, UNSOLVED) is None
    assert counted(record, replayer, Action.SOLVE, REFUSED) is None
    assert counted(record, replayer, Action.SOLVE, UNSOLVED) is None, "the challenge stays"
    assert bot_promise(record, admitted=10).held is True
    assert counted(record, replayer, Action.SOLVE, IN_LINE) is not None
    promise = bot_promise(record, admitted=10)
    assert promise.held is False
    assert "1 of 3 replayed proofs accepted" in promise.detail


@pytest.mark.parametrize("kind", [VisitorKind.IDLER, VisitorKind.REPLAYER])
def test_admission_without_a_solved_challenge_breaks_the_promise(kind: VisitorKind) -> None:
    record, idler = BotRecord(), bot(kind)
    counted(record, idler, Action.POLL, UNSOLVED)
    receive(idler, UNSOLVED)
    assert record.received_admitted(idler) is not None
    assert bot_promise(record, admitted=10).held is False


def test_share_is_that_of_all_admissions_for_the_cpu_spent() -> None:
    record, worker = BotRecord(), bot(VisitorKind.WORKER)
    counted(record, worker, Action.POLL, UNSOLVED)
    receive(worker, UNSOLVED)
    record.spent(cpu_s=1.5, hashes=1_000_000)
    record.spent(cpu_s=0.5, hashes=500_000)
    for _ in range(2):
        assert record.received_admitted(worker) is None
    record.received_admitted(new_visitor(1, PLAN, Random(1)))  # no bot
    promise = bot_promise(record, admitted=18)
    assert promise.held is True
    assert (
        "2 of 20 admissions (10.0%) for 2.0 CPU-seconds of 2 proofs, 1.00 for each"
        in promise.detail
    )
    figures = bot_figures(record, admitted=18)
    assert (figures["share"], figures["cpu_s"], figures["hashes"]) == (0.1, 2.0, 1_500_000)
    assert figures["by_kind"]["worker"] == 2


def test_room_without_a_challenge_is_not_judged() -> None:
    record, idler = BotRecord(), bot(VisitorKind.IDLER)
    counted(record, idler, Action.POLL, IN_LINE)
    assert record.received_admitted(idler) is None
    promise = bot_promise(record, admitted=1)
    assert promise.held is None
    assert "1 of 2 admissions (50.0%)" in promise.detail
    assert bot_promise(BotRecord(), admitted=0).held is None


def test_requests_of_shared_passes_are_counted() -> None:
    record, sharer = BotRecord(), bot(VisitorKind.SHARER)
    counted(record, sharer, Action.VISIT, ObservedResponse(Outcome.FORWARDED))
    counted(record, sharer, Action.VISIT, ObservedResponse(Outcome.FAILED, failure="status 429"))
    counted(record, sharer, Action.VISIT, ObservedResponse(Outcome.FAILED, failure="status 502"))
    assert (record.shared_forwarded, record.shared_refused) == (1, 1)
    assert "1 of 2 requests of shared passes" in bot_promise(record, admitted=1).detail


def test_evader_sends_what_creates_no_place_and_goes_on() -> None:
    evader = bot(VisitorKind.EVADER)
    kinds = []
    for outcome in (
        Outcome.NO_PLACE,
        Outcome.FORWARDED,
        *[Outcome.FAILED] * 6,
        *[Outcome.NO_PLACE] * 6,
    ):
        assert evader.next_action is Action.EVADE
        kinds.append(evasion_of(evader))
        receive(evader, ObservedResponse(outcome))
    assert evader.token is None
    assert set(kinds) == set(EVASIONS)


def test_evaded_challenge_breaks_the_promise() -> None:
    record, evader = BotRecord(), bot(VisitorKind.EVADER)
    assert counted(record, evader, Action.EVADE, ObservedResponse(Outcome.NO_PLACE)) is None
    assert counted(record, evader, Action.EVADE, ObservedResponse(Outcome.FORWARDED)) is None
    counted(record, bot(VisitorKind.IDLER), Action.POLL, UNSOLVED)
    promise = bot_promise(record, admitted=9)
    assert promise.held is True, "the room set no challenge then"
    assert "1 of 10 admissions (10.0%)" in promise.detail
    assert "1 of 2 requests without a place forwarded" in promise.detail
    assert counted(record, evader, Action.EVADE, ObservedResponse(Outcome.NO_PLACE)) is None
    assert bot_promise(record, admitted=9).held is True
    assert counted(record, evader, Action.EVADE, ObservedResponse(Outcome.FORWARDED)) is not None
    assert bot_promise(record, admitted=9).held is False
    figures = bot_figures(record, admitted=9)
    assert (figures["evasions"], figures["evasions_forwarded"]) == (4, 2)
    assert (figures["challenge_evaded"], figures["by_kind"]["evader"]) == (1, 2)


# Proof of work.


def challenge(number: int, *, most: int = 1000) -> dict[str, object]:
    salt = "salt?expires=1&"
    return {
        "algorithm": "SHA-256",
        "challenge": hashlib.sha256(f"{salt}{number}".encode()).hexdigest(),
        "maxnumber": most,
        "salt": salt,
        "signature": "s",
    }


@pytest.mark.parametrize("number", [0, 1, 999, 1000])
def test_solver_finds_the_number_and_sends_what_it_was_given(number: int) -> None:
    given = challenge(number)
    proof = solve(given)
    assert proof is not None
    sent = json.loads(base64.b64decode(proof.payload))
    assert sent == {key: given[key] for key in given if key != "maxnumber"} | {"number": number}
    assert proof.hashes == number + 1


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"type": "turnstile"},
        challenge(5) | {"maxnumber": 4},
        challenge(5) | {"maxnumber": "1000"},
        challenge(5) | {"maxnumber": 10**12},
        challenge(5) | {"salt": None},
    ],
)
def test_challenge_that_has_no_solution_ends(given: dict[str, object]) -> None:
    assert solve(given) is None


async def test_bots_compute_no_longer_than_their_budget() -> None:
    async with ProofSolver(bot_cpu_s=0.0) as solver:
        assert await solver.solved(challenge(5), is_bot=True) is None
        assert solver._pool is None
