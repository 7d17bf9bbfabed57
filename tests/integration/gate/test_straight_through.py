"""Below the rate and with an empty queue, the gate forwards every request at once."""

import pytest
from aiohttp import CookieJar

from tests.gates import GateStarter
from tests.servers import StoreServer, eventually


async def test_newcomer_is_forwarded_with_a_pass(start_gate: GateStarter) -> None:
    gate = await start_gate()
    visitor = gate.visitor()
    status, text = await visitor.get("/a?b=c")
    assert status == 200
    assert '"/a?b=c"' in text
    response = await visitor.status()
    assert response["state"] == "admitted"
    assert len(gate.origin.requests) == 1
    jar = visitor.session.cookie_jar
    assert isinstance(jar, CookieJar)
    assert [cookie.key for cookie in jar] == [gate.cookie_name]


async def test_admitted_requests_cost_no_store_trip(
    private_store: StoreServer, start_gate: GateStarter
) -> None:
    gate = await start_gate()
    visitor = gate.visitor()
    await visitor.get()
    await visitor.get()  # confirms the visitor, with a write to the store
    live = gate.room()
    await eventually(lambda: not live._background)
    await live._stop_pacing()
    before = private_store.commands()
    for _ in range(50):
        status, _text = await visitor.get()
        assert status == 200
    after = private_store.commands()
    assert {k: v for k, v in after.items() if "eval" in k} == {
        k: v for k, v in before.items() if "eval" in k
    }
    assert len(gate.origin.requests) == 52


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_unsafe_request_of_newcomer_is_forwarded_whole(
    method: str, start_gate: GateStarter
) -> None:
    gate = await start_gate()
    visitor = gate.visitor()
    async with visitor.session.request(method, gate.url + "/x", data=b"body" * 1000) as response:
        body = await response.json()
        assert response.status == 200
        assert body["method"] == method
        assert body["length"] == 4000
