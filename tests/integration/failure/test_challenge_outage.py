"""The store is unreachable while newcomers have a challenge: a solution stays valid."""

from gatekeeper.config.types import RoomName
from tests.altcha_solver import payload_of, solve
from tests.gates import GateStarter
from tests.integration.failure.outage import Outage, recover
from tests.servers import StoreServer, eventually

CHALLENGE = "/.gatekeeper/challenge"


async def test_solution_in_an_outage_is_a_place_afterwards(
    private_store: StoreServer, room_name: RoomName, break_store: Outage, start_gate: GateStarter
) -> None:
    gate = await start_gate(
        '[store]\ntimeout = "300ms"\n', rate="0", challenge="work", challenge_difficulty=20
    )
    early, late, idle = (gate.visitor() for _ in range(3))
    await early.get()
    before = await early.status()
    break_store(private_store)
    for visitor in (late, idle):
        assert (await visitor.get())[0] == 503
    assert (await late.status())["reason"] == "challenge"
    for visitor in (late, early):
        challenge = (await visitor.status())["challenge"]
        payload = payload_of(solve(challenge))
        solved = await visitor.request("POST", CHALLENGE, json={"payload": payload})
        assert (solved.status, solved.json["reason"]) == (200, "reconnecting")
    recover(private_store)
    await eventually(lambda: gate.room(room_name).view.store_up)
    assert (await early.status())["arrived_at"] == before["arrived_at"]
    assert [(await each.status())["position"] for each in (early, late)] == [1, 2]
    assert (await idle.status())["reason"] == "challenge"
    assert (await gate.queue.read_state()).queue_length == 2
