"""A phone that is locked while its visitor waits: Chromium freezes the page, and resumes it."""

import pytest
from playwright.async_api import Browser

from gatekeeper.config.types import RoomName
from tests.browser.app_visitors import line_up, poll
from tests.browser.phone import Phone
from tests.browser.test_whole import two_replicas
from tests.gates import Gate
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


async def outlast_the_timeout(gate: Gate, *others: str) -> None:
    """Until the phone counts as absent by the store's clock; the others go on polling."""
    until_s = gate.now_s() + _HEARTBEAT_TIMEOUT_S + 1
    while gate.now_s() < until_s:
        for token in others:
            assert await poll(gate, token) == "waiting"


async def test_locked_phone_returns_to_its_own_place_and_claims(
    store_url: str, room_name: RoomName, browser: Browser
) -> None:
    """Absent for longer than `heartbeat_timeout`, it is passed over, and then is the first again.
    Released while it is locked, it enters as soon as it is unlocked."""

    async with (
        two_replicas(room_name, "0", store_url=store_url, events_url="off", keys=_KEYS) as (
            gate,
            _,
        ),
        Phone.opened(browser, gate.url) as phone,
    ):
        queue = gate.room(room_name).queue
        await eventually(lambda: gate.room(room_name).view.decisive.queue_length == 1)
        [bob] = await line_up(gate, 1)
        await phone.value(_RECORD)

        await phone.lock()
        await outlast_the_timeout(gate, bob)
        await gate.allow(1, room=room_name)

        async def is_bob_admitted() -> bool:
            return await poll(gate, bob) == "admitted"

        await eventually(is_bob_admitted)  # the phone is passed over
        [carol] = await line_up(gate, 1)
        await phone.unlock()
        assert await phone.value("events") == ["freeze", "resume"]
        await eventually(lambda: phone.value(f"{_PLACE} === '1'"))

        async def is_in_line() -> bool:
            return (await queue.read_state()).queue_length == 2

        await eventually(is_in_line)  # the phone before carol
        await phone.lock()
        await gate.allow(1, room=room_name)
        assert await poll(gate, carol) == "waiting"
        await phone.unlock()
        await eventually(lambda: phone.value("!document.documentElement.dataset.state"))
        assert await poll(gate, carol) == "waiting"
