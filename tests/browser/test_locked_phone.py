"""A phone that is locked while its visitor waits: Chromium freezes the page, and resumes it."""

import pytest
from playwright.async_api import Browser

from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import Standing
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.visitor_calls import PollRequest
from tests.browser.app_visitors import line_up, poll
from tests.browser.phone import Phone
from tests.browser.test_whole import two_replicas
from tests.servers import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(90)]

_HEARTBEAT_TIMEOUT_S = 4
_KEYS = f'heartbeat_timeout = "{_HEARTBEAT_TIMEOUT_S}s"\n'
_PLACE = "document.getElementById('position').textContent"
_RECORD = """
window.events = [];
for (const name of ['freeze', 'resume']) {
    document.addEventListener(name, () => events.push(name));
}
"""


@pytest.fixture
def heartbeats_s(monkeypatch: pytest.MonkeyPatch) -> dict[VisitorId, float]:
    """The time of each visitor's last poll by the store; a poll may arrive after the lock."""
    found: dict[VisitorId, float] = {}
    poll = RoomReplica.poll

    async def noted(room: RoomReplica, request: PollRequest) -> Standing | None:
        standing = await poll(room, request)
        found[request.visitor] = room.view.now_s()
        return standing

    monkeypatch.setattr(RoomReplica, "poll", noted)
    return found


async def test_locked_phone_returns_to_its_own_place_and_claims(
    store_url: str,
    room_name: RoomName,
    browser: Browser,
    heartbeats_s: dict[VisitorId, float],
) -> None:
    """After an absence longer than `heartbeat_timeout` others are admitted first, and then the
    phone is first in line again. Released while it is locked, it enters as soon as it is
    unlocked."""

    async with (
        two_replicas(room_name, "0", store_url=store_url, events_url="off", keys=_KEYS) as (
            gate,
            _,
        ),
        Phone.opened(browser, gate.url) as phone,
    ):
        queue = gate.room(room_name).queue
        [own] = await eventually(lambda: heartbeats_s)  # it is in line
        [bob] = await line_up(gate, 1)
        await phone.value(_RECORD)

        await phone.lock()
        while gate.now_s() < heartbeats_s[own] + _HEARTBEAT_TIMEOUT_S + 1:
            assert await poll(gate, bob) == "waiting"
        await gate.allow(1, room=room_name)

        async def is_bob_admitted() -> bool:
            return await poll(gate, bob) == "admitted"

        await eventually(is_bob_admitted)  # before the phone
        [carol] = await line_up(gate, 1)
        await phone.unlock()
        assert await phone.value("events") == ["freeze", "resume"]
        await eventually(lambda: phone.value(f"{_PLACE} === '1'"))

        async def is_in_line() -> bool:
            assert await poll(gate, carol) == "waiting"  # she polls all the time
            return (await queue.read_state()).queue_length == 2

        await eventually(is_in_line)  # the phone before carol
        await phone.lock()
        await gate.allow(1, room=room_name)
        assert await poll(gate, carol) == "waiting"
        await phone.unlock()
        await eventually(lambda: phone.value("!document.documentElement.dataset.state"))
        assert await poll(gate, carol) == "waiting"
