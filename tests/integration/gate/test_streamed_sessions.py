"""A streamed response or upload counts as use of the session, and ends with the session.

Rules: a request with a pass in a cookie takes the fast path, with `X-Queue-Token` the other path.
Exchanges are checked ten times as often as by default.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest

from gatekeeper.policy.tokens import Pass
from gatekeeper.room.replica import RoomReplica
from gatekeeper.web import lasting_exchanges
from tests.builders import sign_token
from tests.gates import HTML, Gate, GateStarter
from tests.servers import eventually

SENT_BY = pytest.mark.parametrize("by_header", [True, False], ids=["header", "cookie"])
ENDS_IN_S = 30.0  # at the latest
SWEEPS_S = 0.2  # time for several
IDLE = "10s"  # a slot is extended each second


@pytest.fixture(autouse=True)
def frequent_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting_exchanges, "SWEEP_INTERVAL_S", SWEEPS_S / 4)


def sent(gate: Gate, pass_: Pass, *, by_header: bool) -> dict[str, str]:
    raw = sign_token(pass_)
    return {"X-Queue-Token": raw} if by_header else {"Cookie": f"{gate.cookie_name}={raw}"}


UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}


@asynccontextmanager
async def stream(
    gate: Gate, pass_: Pass, *, by_header: bool, fields: Mapping[str, str] | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """A response that has begun but not ended."""
    visitor = gate.visitor()
    headers = {**sent(gate, pass_, by_header=by_header), **(fields or {})}
    async with visitor.session.get(f"{gate.url}/stream", headers=headers) as response:
        assert await response.content.readexactly(5) == b"begin"
        yield response
    gate.origin.go.set()  # else the gate waits for its end at shutdown


async def assert_cut(response: aiohttp.ClientResponse) -> None:
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(response.content.read(), ENDS_IN_S)


async def slots(gate: Gate) -> dict[str, float]:
    """The visitors who hold a slot, with its expiry."""
    return await gate.queue._store.scores(gate.queue._keys[2], since=0, limit=10)


async def known_slots(gate: Gate, *visitors: str) -> dict[str, float]:
    """The same, as soon as the store knows these visitors."""

    async def known() -> dict[str, float] | None:
        found = await slots(gate)
        return found if found.keys() >= set(visitors) else None

    found: dict[str, float] = await eventually(known)
    return found


async def until_extended(gate: Gate, *visitors: str) -> dict[str, float]:
    """Wait until the slots of these visitors are extended. Returns all slots as they were
    before."""
    before = await known_slots(gate, *visitors)

    async def extended() -> bool:
        after = await slots(gate)
        return all(after[visitor] > before[visitor] for visitor in visitors)

    await eventually(extended)
    return before


async def test_stream_and_upload_extend_the_slot(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0", session_idle_timeout=IDLE)
    ended = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"begin"
        await ended.wait()

    async def upload(headers: dict[str, str]) -> int:
        url = f"{gate.url}/upload"
        async with gate.visitor().session.post(url, data=body(), headers=headers) as response:
            return response.status

    idle = gate.issue_pass(ago_s=5)  # due for renewal, so that the store learns of its use
    assert (
        await gate.visitor().request("GET", headers=sent(gate, idle, by_header=False))
    ).status == 200
    await known_slots(gate, idle.visitor)
    held = [gate.issue_pass() for _ in range(3)]
    async with (
        stream(gate, held[0], by_header=True),
        stream(gate, held[1], by_header=False),
        asyncio.TaskGroup() as group,
    ):
        uploaded = group.create_task(upload(sent(gate, held[2], by_header=False)))
        before = await until_extended(gate, *(each.visitor for each in held))
        assert (await slots(gate))[idle.visitor] == before[idle.visitor]
        ended.set()
    assert uploaded.result() == 200


@SENT_BY
@pytest.mark.parametrize("after_s", [0, SWEEPS_S], ids=["at once", "when it is kept"])
async def test_revoked_visitor_loses_the_stream(
    by_header: bool, after_s: float, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    held = gate.issue_pass()
    async with stream(gate, held, by_header=by_header) as response:
        await asyncio.sleep(after_s)
        await gate.room().leave([held.visitor])
        await assert_cut(response)


@SENT_BY
async def test_stream_ends_at_the_absolute_timeout(
    by_header: bool, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    held = gate.issue_pass(ends_in_s=4)
    async with stream(gate, held, by_header=by_header) as response:
        gate.pass_time(4.1)
        await assert_cut(response)
        assert gate.now_s() >= held.ends_at_s


@pytest.mark.parametrize("ends_in_s", [4, 600], ids=["absolute timeout", "revoked"])
async def test_stream_in_place_of_a_websocket_ends_with_the_session(
    ends_in_s: float, start_gate: GateStarter
) -> None:
    """The origin may ignore the upgrade (RFC 9110 section 7.8), and respond with a stream."""
    gate = await start_gate(rate="0")
    held = gate.issue_pass(ends_in_s=ends_in_s)
    async with stream(gate, held, by_header=False, fields=UPGRADE) as response:
        if ends_in_s == 4:
            gate.pass_time(4.1)
        else:
            await gate.room().leave([held.visitor])
        await assert_cut(response)


async def test_upload_of_a_revoked_visitor_is_cut(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    held = gate.issue_pass()

    async def body() -> AsyncIterator[bytes]:
        yield b"begin"
        await eventually(lambda: len(gate.origin.requests) == 1)
        await gate.room().leave([held.visitor])
        await asyncio.sleep(ENDS_IN_S)

    with pytest.raises(aiohttp.ClientError):
        await gate.visitor().session.post(
            f"{gate.url}/upload", data=body(), headers=sent(gate, held, by_header=False)
        )


@SENT_BY
async def test_response_that_is_awaited_is_not_cut(
    by_header: bool, start_gate: GateStarter
) -> None:
    """It may be a payment, and the buyer has to see the result."""
    gate = await start_gate(rate="0")
    held = gate.issue_pass()
    headers = sent(gate, held, by_header=by_header)
    waiting = asyncio.create_task(gate.visitor().request("GET", "/slow", headers=headers))
    await eventually(lambda: len(gate.origin.requests) == 1)
    await gate.room().leave([held.visitor])
    await asyncio.sleep(SWEEPS_S)
    gate.origin.go.set()
    assert (await waiting).status == 200


@SENT_BY
async def test_response_that_ends_the_session_is_not_cut(
    by_header: bool, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0")
    gate.origin.headers = {"Gatekeeper-Command": "revoke"}
    held = gate.issue_pass()
    async with stream(gate, held, by_header=by_header) as response:
        await eventually(lambda: held.visitor in gate.room().view.revoked())
        await asyncio.sleep(SWEEPS_S)
        gate.origin.go.set()
        assert await response.content.read() == b"end"


async def test_only_a_confirmed_visitor_keeps_a_slot_by_a_stream(
    start_gate: GateStarter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise clients without cookies could hold every slot with open connections."""
    gate = await start_gate()
    touched: list[str] = []
    monkeypatch.setattr(RoomReplica, "touch_soon", lambda _, pass_: touched.append(pass_.visitor))
    held = gate.issue_pass()
    async with gate.visitor().session.get(f"{gate.url}/stream") as unconfirmed:
        assert unconfirmed.status == 200
        async with stream(gate, held, by_header=False):
            await eventually(lambda: touched)
    assert set(touched) == {held.visitor}


@pytest.mark.parametrize("count", [1, 2], ids=["same replica", "another replica"])
async def test_stream_of_the_first_page_keeps_the_slot_once_confirmed(
    count: int, start_gate: GateStarter
) -> None:
    """The page confirms its visitor by another request, perhaps at another worker."""
    gates = [await start_gate(session_idle_timeout=IDLE) for _ in range(count)]
    visitor = gates[0].visitor(*gates)
    async with visitor.session.get(f"{gates[0].url}/stream", headers=HTML) as response:
        assert response.status == 200
        assert (await visitor.status(at=count - 1))["state"] == "admitted"
        first = gates[0].token(visitor.cookies()[gates[0].cookie_name])
        assert first is not None
        await until_extended(gates[0], first.visitor)
    gates[0].origin.go.set()
    assert (await visitor.status(at=count - 1))["state"] == "admitted"


@SENT_BY
async def test_visitor_of_a_long_stream_is_still_in(
    by_header: bool, start_gate: GateStarter
) -> None:
    """The pass expired meanwhile; only the slot in the store is still valid."""
    gate = await start_gate(rate="0", session_idle_timeout=IDLE)
    held = gate.issue_pass(expires_in_s=4)
    headers = sent(gate, held, by_header=by_header)
    async with stream(gate, held, by_header=by_header):
        await known_slots(gate, held.visitor)
    gate.pass_time(4.1)
    visitor = gate.visitor()
    response = await visitor.request("GET", headers=headers)
    assert response.status == 200
    assert response.json["visitor"] == held.visitor
    again = await visitor.request("GET", headers=headers)  # the client stores no renewed token
    assert again.json["visitor"] == held.visitor


async def test_frozen_tab_overwrites_no_pass_of_a_visitor_inside(start_gate: GateStarter) -> None:
    """A tab that was frozen before its first poll sends the ticket of its own page."""
    gate = await start_gate(rate="0", session_idle_timeout=IDLE)
    held = gate.issue_pass(expires_in_s=4)
    headers = sent(gate, held, by_header=False)
    tab = headers | {"X-Queue-Ticket": sign_token(gate.issue_ticket())}
    status = f"/.gatekeeper/status?room={gate.room_name}"
    async with stream(gate, held, by_header=False):
        await known_slots(gate, held.visitor)
        gate.pass_time(4.1)
        response = await gate.visitor().request("GET", status, headers=tab)
    assert response.json["state"] == "admitted"
    assert "X-Queue-Ticket" not in response.headers  # no page receives a pass
    renewed = gate.token(response.headers["Set-Cookie"].partition("=")[2].partition(";")[0])
    assert isinstance(renewed, Pass)
    assert renewed.visitor == held.visitor


@SENT_BY
async def test_visitor_without_a_stream_is_out_after_the_idle_timeout(
    by_header: bool, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0", session_idle_timeout="40s")  # a renewal is due after 4 s
    held = gate.issue_pass(expires_in_s=4)
    headers = sent(gate, held, by_header=by_header)
    assert (await gate.visitor().request("GET", headers=headers)).status == 200
    gate.pass_time(4.1)
    assert (await gate.visitor().request("GET", headers=headers)).status == 503


@pytest.mark.parametrize(("status", "rate"), [(503, "0"), (200, "0"), (503, "60000/min")])
async def test_event_source_without_a_token_gets_no_place(
    status: int, rate: str, start_gate: GateStarter
) -> None:
    """It would reconnect every few seconds. It stops at another status or type."""
    gate = await start_gate(rate=rate, status=status)
    for accept in ("text/event-stream", "text/event-stream, */*"):
        response = await gate.visitor().request("GET", "/events", headers={"Accept": accept})
        assert response.status == status
        assert not response.headers["Content-Type"].startswith("text/event-stream")
        assert "Set-Cookie" not in response.headers
    await gate.queue.advance()
    state = gate.room().view.state
    assert state is not None
    assert (state.arrived_total, state.queue_length) == (0, 0)
    assert gate.origin.requests == []
