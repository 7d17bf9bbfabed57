"""The secret is rotated: what the old one signed counts until it is removed."""

from contextlib import AbstractAsyncContextManager

from gatekeeper.config.types import RoomName
from tests.builders import room_toml
from tests.gates import Gate, GateStarter, Origin, Visitor, running_gate

OLD = b"the old secret of the tests, longer than 32 bytes"
NEW = b"the new secret of the tests, longer than 32 bytes"


async def test_the_old_key_verifies_until_it_is_removed_and_the_new_one_signs(
    store_url: str, room_name: RoomName
) -> None:
    async with Origin.running() as origin, Visitor() as admitted, Visitor() as waiting:

        def gate(*secrets: bytes) -> AbstractAsyncContextManager[Gate]:
            return running_gate(
                room_toml(room_name, rate="0"),
                store_url=store_url,
                origin_url=origin.url,
                secrets=secrets,
            )

        async with gate(OLD) as before:
            admitted.urls = waiting.urls = [before.url]
            await admitted.get()
            await before.allow(1, room=room_name)
            await admitted.wait_until_admitted()
            await waiting.get()
            arrived_at = (await waiting.status())["arrived_at"]
        old_pass, old_ticket = admitted.cookies(), waiting.cookies()

        async with gate(NEW, OLD) as during, Visitor(during) as new:
            admitted.urls = waiting.urls = [during.url]
            status, _ = await admitted.get()
            assert status == 200
            assert (await waiting.status())["position"] == 1
            assert (await waiting.status())["arrived_at"] == arrived_at
            await new.get()
            assert (await new.status())["position"] == 2
            assert (admitted.cookies(), waiting.cookies()) == (old_pass, old_ticket)

            async with gate(NEW) as after:
                admitted.urls = waiting.urls = new.urls = [after.url]
                assert (await waiting.status())["state"] == "none"
                assert (await new.status())["position"] == 2
                status, _ = await admitted.get()
                assert status == 503
        assert len(origin.requests) == 1


async def test_replicas_that_have_not_all_heard_of_the_new_secret_agree_on_everyone(
    start_gate: GateStarter,
) -> None:
    """The safe order: first every replica verifies with the new secret, then the first signs."""
    first = await start_gate(rate="0", secrets=(OLD, NEW))
    second = await start_gate(rate="0", secrets=(NEW, OLD))
    one = first.visitor(second)
    other = second.visitor(first)
    await one.get()
    await other.get()
    for at in (0, 1):
        assert (await one.status(at=at))["position"] == 1
        assert (await other.status(at=at))["position"] == 2
    await first.allow(2)
    for visitor in (one, other):
        await visitor.wait_until_admitted()
        for at in (0, 1):
            status, _ = await visitor.get(at=at)
            assert status == 200
