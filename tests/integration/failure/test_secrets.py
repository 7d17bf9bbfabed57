"""The secret is rotated: tokens signed with the old one are valid until it is removed."""

from tests.gates import GateStarter
from tests.integration.failure.outage import admitted_and_waiting

OLD = b"the old secret of the tests, longer than 32 bytes"
NEW = b"the new secret of the tests, longer than 32 bytes"


async def test_old_secret_verifies_until_removed_and_new_one_signs(
    start_gate: GateStarter,
) -> None:
    before = await start_gate(rate="0", secrets=(OLD,))
    admitted, waiting = await admitted_and_waiting(before)
    arrived_at = (await waiting.status())["arrived_at"]
    old_pass, old_ticket = admitted.cookies(), waiting.cookies()
    await before.worker.close()

    during = await start_gate(rate="0", secrets=(NEW, OLD))
    new = during.visitor()
    admitted.urls = waiting.urls = [during.url]
    assert (await admitted.get())[0] == 200
    assert (await waiting.status())["position"] == 1
    assert (await waiting.status())["arrived_at"] == arrived_at
    await new.get()
    assert (await new.status())["position"] == 2
    assert (admitted.cookies(), waiting.cookies()) == (old_pass, old_ticket)

    after = await start_gate(rate="0", secrets=(NEW,))
    admitted.urls = waiting.urls = new.urls = [after.url]
    assert (await waiting.status())["state"] == "none"
    assert (await new.status())["position"] == 2
    assert (await admitted.get())[0] == 503
    assert len(after.origin.requests) == 1


async def test_replicas_halfway_through_a_rotation_accept_each_other(
    start_gate: GateStarter,
) -> None:
    """The safe order: first every replica verifies with the new secret, then each signs with it."""
    first = await start_gate(rate="0", secrets=(OLD, NEW))
    second = await start_gate(rate="0", secrets=(NEW, OLD))
    one, other = first.visitor(second), second.visitor(first)
    await one.get()
    await other.get()
    for at in (0, 1):
        assert (await one.status(at=at))["position"] == 1
        assert (await other.status(at=at))["position"] == 2
    await first.allow(2)
    for visitor in (one, other):
        await visitor.wait_until_admitted()
        for at in (0, 1):
            assert (await visitor.get(at=at))[0] == 200
