"""A challenge together with other features of a room: a draw, TLS, live settings, other ways to
leave."""

from __future__ import annotations

from gatekeeper.config.settings import parse_changes
from gatekeeper.config.types import RoomName
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.operator import Operator
from tests.altcha_solver import payload_of, solve
from tests.builders import room_toml
from tests.gates import Gate, GateStarter, Visitor
from tests.integration.gate.test_draws import drawn, event_toml, knows_the_draw, open_now
from tests.patient_store import PatientStore
from tests.servers import eventually

CHALLENGE = "/.gatekeeper/challenge"


async def solves(visitor: Visitor) -> dict[str, object]:
    challenge = (await visitor.status())["challenge"]
    payload = payload_of(solve(challenge))
    response = await visitor.request("POST", CHALLENGE, json={"payload": payload})
    assert response.status == 200
    return response.json


async def test_only_solved_places_of_the_prequeue_are_drawn(
    start_gate: GateStarter, room_name: RoomName
) -> None:
    keys = room_toml(room_name, rate="0", challenge="work", challenge_difficulty=20)
    gate = await start_gate(rooms=keys + event_toml(room_name))
    early, idle = gate.visitor(), gate.visitor()
    for visitor in (early, idle):
        await visitor.get()
    assert (await idle.status())["reason"] == "challenge"
    solved = await solves(early)
    assert (solved["reason"], solved["position"]) == ("prequeue", None)
    token = gate.token(early.cookies()[gate.cookie_name])
    assert token is not None
    assert token.own_turn_us is not None
    assert token.own_turn_us >= PROVISIONAL_US, "it says that it was returned in time"
    await open_now(gate)
    await eventually(lambda: knows_the_draw(gate))
    record = await drawn(early)
    assert record.participants == 1
    assert (await solves(idle))["position"] == 2, "behind all that were drawn"
    assert "draw" not in await idle.status()
    assert "draw" in await early.status()


async def test_cookie_behind_tls_has_its_prefix_after_the_proof(start_gate: GateStarter) -> None:
    toml = '[server]\ntrusted_proxies = ["127.0.0.1"]\n'
    gate = await start_gate(toml, rate="0", challenge="work", challenge_difficulty=20)
    by_tls = {"X-Forwarded-Proto": "https"}
    visitor = gate.visitor()
    arrived = await visitor.request("GET", "/", headers={"Accept": "text/html"} | by_tls)
    cookie = arrived.headers["Set-Cookie"].partition(";")[0]
    assert cookie.startswith("__Host-")
    held = by_tls | {"Cookie": cookie}
    challenge = (await visitor.request("GET", CHALLENGE, headers=held)).json
    solved = await visitor.request(
        "POST", CHALLENGE, json={"payload": payload_of(solve(challenge))}, headers=held
    )
    assert solved.json["position"] == 1
    renewed = solved.headers["Set-Cookie"]
    assert renewed.startswith("__Host-")
    assert "; Secure" in renewed
    assert "; HttpOnly" in renewed


async def challenge_is(gate: Gate, value: str) -> None:
    await eventually(
        lambda: gate.worker.site.gates[gate.room_name].admission.config.challenge == value
    )


async def test_challenge_is_switched_on_and_off_while_visitors_wait(
    store_url: str, start_gate: GateStarter
) -> None:
    """Visitors in line stay there. A ticket without a proof is in line after the challenge is
    switched off."""
    gate = await start_gate(rate="0", challenge_difficulty=20)
    [config] = gate.worker.site.parts.config.rooms
    store = PatientStore(store_url)
    operator = Operator(store, NoEvents(), config)
    before, during, after = (gate.visitor() for _ in range(3))
    assert (await before.join())["position"] == 1
    await operator.change_settings(parse_changes({"challenge": "work"}))
    await challenge_is(gate, "work")
    assert (await before.status())["position"] == 1
    assert (await during.join())["reason"] == "challenge"
    assert (await after.join())["reason"] == "challenge"
    assert (await solves(after))["position"] == 2
    await operator.change_settings(parse_changes({"challenge": "off"}))
    await challenge_is(gate, "off")
    assert (await during.status())["position"] == 2, "at its own arrival"
    await operator.change_settings(parse_changes({"challenge": "work"}))
    await challenge_is(gate, "work")
    assert [(await each.status())["position"] for each in (before, during, after)] == [1, 2, 3]
    await operator.close()
    await store.close()


async def test_forward_auth_asks_for_the_same_challenge(start_gate: GateStarter) -> None:
    toml = '[server]\ntrusted_proxies = ["127.0.0.1"]\n'
    gate = await start_gate(toml, rate="60000/min", challenge="work", challenge_difficulty=20)
    original = {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/basket"}
    visitor = gate.visitor()
    checked = await visitor.request("GET", "/.gatekeeper/auth", headers=original)
    assert (checked.status, checked.json["reason"]) == (503, "challenge")
    assert (await solves(visitor))["state"] == "admitted"
    checked = await visitor.request("GET", "/.gatekeeper/auth", headers=original)
    assert checked.status == 200
    assert gate.origin.requests == []
