"""A room with proof of work over HTTP: which solutions give a place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.challenge import NOSCRIPT_WAIT_S
from gatekeeper.policy.tokens import Ticket
from gatekeeper.web.request_body import MAX_BODY_BYTES
from tests.altcha_solver import payload_of, solve
from tests.builders import make_ticket, room_toml, sign_token
from tests.gates import HTML, Gate, GateStarter, Visitor
from tests.gates.http_visitor import Response

CHALLENGE = "/.gatekeeper/challenge"
STATUS = "/.gatekeeper/status"
EASY = 20  # hashes on average


@pytest.fixture
async def working(start_gate: GateStarter) -> Gate:
    """A gate that admits no visitor and requires proof of work."""
    return await start_gate(rate="0", challenge="work", challenge_difficulty=EASY)


async def arrive(gate: Gate, *others: Gate) -> tuple[Visitor, dict[str, Any]]:
    """A visitor who has not solved the challenge, and the challenge."""
    visitor = gate.visitor(*others)
    assert (await visitor.get())[0] == 503
    status = await visitor.status()
    assert (status["reason"], status["position"]) == ("challenge", None)
    return visitor, status["challenge"]


async def send(visitor: Visitor, payload: str, *, at: int = 0, room: str | None = None) -> Response:
    query = f"?room={room}" if room else ""
    return await visitor.request("POST", CHALLENGE + query, at=at, json={"payload": payload})


async def in_line(gate: Gate) -> int:
    return (await gate.queue.read_state()).queue_length


def ticket_of(gate: Gate, visitor: Visitor) -> Ticket:
    token = gate.token(visitor.cookies()[gate.cookie_name])
    assert isinstance(token, Ticket)
    return token


async def test_newcomer_waits_outside_the_line_until_the_work_is_done(
    start_gate: GateStarter,
) -> None:
    """Also if the room has space: a bot is never admitted at once."""
    gate = await start_gate(rate="60000/min", challenge="work", challenge_difficulty=EASY)
    visitor, challenge = await arrive(gate)
    for _ in range(3):
        assert (await visitor.status())["reason"] == "challenge"
        assert 'data-state="challenge"' in (await visitor.get())[1]
    assert await in_line(gate) == 0
    assert gate.origin.requests == []
    assert not ticket_of(gate, visitor).confirmed
    solved = await send(visitor, payload_of(solve(challenge)))
    assert (solved.status, solved.json["state"]) == (200, "admitted")
    assert (await visitor.get())[0] == 200


async def test_solution_confirms_the_place_of_the_arrival(working: Gate) -> None:
    first, first_challenge = await arrive(working)
    second, second_challenge = await arrive(working)
    before = ticket_of(working, first)
    assert (await send(second, payload_of(solve(second_challenge)))).json["position"] == 1
    solved = await send(first, payload_of(solve(first_challenge)))
    assert solved.json["position"] == 1, "who confirms later stands where they came"
    assert "challenge" not in solved.json
    assert solved.headers["X-Gatekeeper-State"] == "waiting"
    assert ticket_of(working, first) == replace(before, confirmed=True)
    assert (await second.status())["position"] == 2
    assert await in_line(working) == 2


async def test_challenge_endpoint_has_the_form_of_altcha(working: Gate) -> None:
    visitor, _ = await arrive(working)
    response = await visitor.request("GET", CHALLENGE)
    assert response.status == 200
    assert response.json["maxnumber"] == 2 * EASY
    assert response.json["algorithm"] == "SHA-256"
    assert response.headers["Cache-Control"] == "no-store"
    assert (await send(visitor, payload_of(solve(response.json)))).json["position"] == 1
    assert (await visitor.request("GET", CHALLENGE)).status == 404, "it is solved"
    stranger = working.visitor()
    assert (await stranger.request("GET", CHALLENGE)).status == 404
    assert (await send(stranger, payload_of(solve(response.json)))).json == {"state": "none"}
    assert stranger.cookies() == {}


async def test_app_gets_the_challenge_with_its_token(working: Gate) -> None:
    app = working.visitor()
    enqueued = await app.request("POST", "/.gatekeeper/enqueue")
    assert (enqueued.status, enqueued.json["reason"]) == (201, "challenge")
    by_token = {"X-Queue-Token": enqueued.json["token"]}
    payload = payload_of(solve(enqueued.json["challenge"]))
    solved = await app.request("POST", CHALLENGE, json={"payload": payload}, headers=by_token)
    assert solved.json["position"] == 1
    renewed = {"X-Queue-Token": solved.headers["X-Queue-Token"]}
    assert app.cookies() == {}
    assert (await app.request("GET", STATUS, headers=renewed)).json["position"] == 1
    assert (await app.request("GET", STATUS, headers=by_token)).json["reason"] == "challenge"


async def test_solution_is_worth_one_place_on_all_replicas(start_gate: GateStarter) -> None:
    keys: dict[str, Any] = {"rate": "0", "challenge": "work", "challenge_difficulty": EASY}
    one, two = await start_gate(**keys), await start_gate(**keys)
    visitor, challenge = await arrive(one, two)
    unsolved = visitor.cookies()[one.cookie_name]
    payload = payload_of(solve(challenge))
    for at in (1, 0, 1):
        assert (await send(visitor, payload, at=at)).json["position"] == 1
    copy = one.visitor(two)
    for at in (0, 1):
        copy.set_cookie(one.cookie_name, unsolved)
        assert (await send(copy, payload, at=at)).json["position"] == 1
    assert await in_line(one) == 1
    await visitor.leave()
    copy.set_cookie(one.cookie_name, unsolved)
    assert (await send(copy, payload, at=1)).json == {"state": "none"}, "the place is used up"
    assert await in_line(one) == 0


async def test_solution_of_another_visitor_or_room_is_refused(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    keys: dict[str, Any] = {"rate": "0", "challenge": "work", "challenge_difficulty": EASY}
    other = RoomName(room_name + "-2")
    rooms = room_toml(room_name, path="/", **keys) + room_toml(other, path="/two/", **keys)
    gate = await start_gate(rooms=rooms)
    visitor, challenge = await arrive(gate)
    payload = payload_of(solve(challenge))
    stranger, _ = await arrive(gate)
    assert (await send(stranger, payload)).status == 403
    await visitor.get("/two/")
    assert (await visitor.status(room=other))["reason"] == "challenge"
    assert (await send(visitor, payload, room=other)).status == 403
    assert (await visitor.status(room=other))["reason"] == "challenge"
    assert await in_line(gate) == 0
    assert (await send(visitor, payload)).json["position"] == 1


def other_digit(digits: str) -> str:
    """The same with another first digit."""
    return ("1" if digits[0] == "0" else "0") + digits[1:]


async def test_altered_and_misspelled_proofs_buy_nothing(working: Gate) -> None:
    visitor, challenge = await arrive(working)
    solution = solve(challenge)
    good = payload_of(solution)
    for wrong in (
        payload_of(solution | {"number": solution["number"] + 1}),
        payload_of(solution | {"salt": other_digit(solution["salt"])}),
        payload_of(solution | {"signature": "0" * 64}),
        "",
        "!",
    ):
        response = await send(visitor, wrong)
        assert response.status == 403, wrong
        assert "Set-Cookie" not in response.headers
        assert "error" in response.json
    cases: list[tuple[int, dict[str, Any]]] = [
        (415, {"data": good, "headers": {"Content-Type": "application/xml"}}),
        (415, {"data": good, "headers": {"Content-Type": "multipart/form-data; boundary=x"}}),
        (415, {"data": good.encode(), "headers": {"Content-Type": ""}}),
        (400, {"data": "{", "headers": {"Content-Type": "application/json"}}),
        (400, {"json": [good]}),
        (403, {"json": {"payload": 7}}),
        (403, {"json": {"other": good}}),
        (400, {"data": b"\xff", "headers": {"Content-Type": "text/plain"}}),
        (413, {"json": {"payload": good, "more": "x" * MAX_BODY_BYTES}}),
    ]
    for status, options in cases:
        assert (await visitor.request("POST", CHALLENGE, **options)).status == status, options
    assert (await visitor.request("PUT", CHALLENGE, json={"payload": good})).status == 405
    assert (await visitor.status())["reason"] == "challenge"
    assert await in_line(working) == 0


@pytest.mark.parametrize(
    "form",
    [
        lambda payload: {"json": {"altcha": payload}},
        lambda payload: {"data": {"altcha": payload}},
        lambda payload: {"data": payload, "headers": {"Content-Type": "text/plain"}},
    ],
    ids=["json", "form", "text"],
)
async def test_proof_is_accepted_as_altchas_widget_sends_it(working: Gate, form: Any) -> None:
    visitor, challenge = await arrive(working)
    payload = payload_of(solve(challenge))
    assert (await visitor.request("POST", CHALLENGE, **form(payload))).json["position"] == 1


async def test_without_script_the_place_counts_after_the_fixed_time(
    room_name: RoomName, start_gate: GateStarter
) -> None:
    waits = await start_gate(rate="0", challenge="work")
    refuses = await start_gate(rate="0", challenge="work", challenge_noscript="refuse")
    late = make_ticket(room_name, now_s=waits.now_s(), ago_s=NOSCRIPT_WAIT_S + 1)
    visitor = waits.visitor(refuses)
    visitor.set_cookie(waits.cookie_name, sign_token(replace(late, confirmed=False)))
    page = (await visitor.get(at=1))[1]
    assert "The check needs JavaScript." in page
    assert (await visitor.status(at=1))["reason"] == "challenge"
    assert await in_line(waits) == 0
    assert (await visitor.status())["position"] == 1
    assert ticket_of(waits, visitor).confirmed
    assert (await visitor.status(at=1))["position"] == 1, "confirmed once and for all"
    fresh = waits.visitor()
    assert "Without JavaScript the check takes one minute." in (await fresh.get())[1]


async def test_tabs_that_were_restored_together_solve_one_challenge(working: Gate) -> None:
    """Each tab received a ticket, and the last one set the cookie: the earliest arrival counts."""
    tickets = [
        replace(make_ticket(working.room_name, now_s=working.now_s(), ago_s=ago_s), confirmed=False)
        for ago_s in (9, 6, 3)
    ]
    first, second, third = map(sign_token, tickets)
    visitor = working.visitor()
    visitor.set_cookie(working.cookie_name, third)
    for page in (second, first):
        response = await visitor.request("GET", STATUS, headers={"X-Queue-Ticket": page})
        assert response.json["reason"] == "challenge"
        assert response.headers["X-Queue-Ticket"] == visitor.cookies()[working.cookie_name]
    assert ticket_of(working, visitor).visitor == tickets[0].visitor
    challenge = (await visitor.status())["challenge"]
    assert (await send(visitor, payload_of(solve(challenge)))).json["position"] == 1
    late_tab = await visitor.request("GET", STATUS, headers={"X-Queue-Ticket": first})
    assert late_tab.json["position"] == 1, "the solved one counts before its own copy"
    assert await in_line(working) == 1


async def test_bypassed_webhook_needs_no_work(start_gate: GateStarter) -> None:
    rule = '[[rule]]\nname = "bank"\naction = "bypass"\nmethod = "POST"\npath = "/webhook"\n'
    gate = await start_gate(rule, rate="60000/min", challenge="work")
    bank = gate.visitor()
    assert (await bank.request("POST", "/webhook", data=b"paid")).status == 200
    assert (await bank.request("POST", "/webhook2", data=b"paid")).status == 503
    assert bank.cookies() == {}


async def test_leaving_with_an_unsolved_ticket_is_free(working: Gate) -> None:
    """It has no place, so the store is not called, and the cookie is deleted."""
    visitor, _ = await arrive(working)
    calls = working.worker.site.gates[working.room_name].admission.room.queue
    before = (await working.queue.read_state()).version
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calls, "leave", None)
        assert (await visitor.request("POST", "/.gatekeeper/leave")).status == 200
    assert (await working.queue.read_state()).version == before
    assert visitor.cookies() == {}


async def test_waiting_visitor_who_has_work_to_do_gets_no_stream(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0", challenge="work", challenge_difficulty=EASY, updates="stream")
    visitor, challenge = await arrive(gate)
    stream = await visitor.request("GET", STATUS, headers={"Accept": "text/event-stream"})
    assert stream.status == 204, "the page polls, which costs the store nothing"
    await send(visitor, payload_of(solve(challenge)))
    async with visitor.session.get(
        visitor.urls[0] + STATUS, headers={"Accept": "text/event-stream"}
    ) as opened:
        assert opened.status == 200
        assert opened.headers["Content-Type"] == "text/event-stream"


async def test_cloudflare_json_is_unchanged_and_status_has_challenge(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(
        rate="0", challenge="work", challenge_difficulty=EASY, json_format="cloudflare"
    )
    app = gate.visitor()
    waiting = await app.request("GET", "/", headers={"Accept": "application/json"})
    assert waiting.json.keys() == {"cfWaitingRoom"}
    status = await app.status()
    assert (await send(app, payload_of(solve(status["challenge"])))).json["position"] == 1


async def test_only_the_page_with_work_may_name_a_worker(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="0", challenge="work", challenge_difficulty=EASY)
    visitor = gate.visitor()
    page = await visitor.request("GET", "/", headers=HTML)
    policy = page.headers["Content-Security-Policy"]
    assert "trusted-types gatekeeper-solver gatekeeper-notifier;" in policy
    assert "unsafe" not in policy
    assert "blob:" not in policy
    assert "http" not in policy
    solver = page.text.partition('data-solver="')[2].partition('"')[0]
    assert (await visitor.request("GET", solver)).status == 200
    challenge = (await visitor.status())["challenge"]
    await send(visitor, payload_of(solve(challenge)))
    in_line_page = await visitor.request("GET", "/", headers=HTML)
    assert "trusted-types gatekeeper-notifier;" in in_line_page.headers["Content-Security-Policy"]
    assert 'id="challenge"' not in in_line_page.text
