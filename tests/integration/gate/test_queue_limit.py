"""A full line over HTTP: newcomers are refused, visitors with a ticket are not."""

from tests.gates import HTML, GateStarter
from tests.servers import StoreServer, eventually


async def test_full_line_turns_newcomers_away_and_keeps_places(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0", queue_limit=2)
    ann, bob, new = gate.visitor(), gate.visitor(), gate.visitor()
    await ann.join()
    early = gate.visitor()
    await early.get()  # a ticket, not returned yet
    await bob.join()

    page = await new.request("GET", "/checkout", headers=HTML)
    assert page.status == 503
    assert 'data-state="queue_full"' in page.text
    assert "Set-Cookie" not in page.headers
    assert int(page.headers["Retry-After"]) > 0
    app = await new.request("POST", "/.gatekeeper/enqueue")
    assert (app.status, app.json["reason"]) == (503, "queue_full")
    assert "token" not in app.json
    assert (await new.status())["state"] == "none"
    assert new.cookies() == {}

    assert (await early.status())["position"] == 2, "given while there was room"
    assert (await ann.status())["position"] == 1
    assert (await bob.status())["position"] == 3
    assert gate.origin.requests == []

    await gate.allow(2)
    await ann.wait_until_admitted()
    await eventually(lambda: gate.room().view.decisive.queue_length == 1)
    assert (await new.join())["position"] == 2


async def test_full_line_stays_full_without_the_store(
    private_store: StoreServer, start_gate: GateStarter
) -> None:
    """Newcomers who were stamped meanwhile count after they have returned the ticket."""
    gate = await start_gate('[store]\ntimeout = "300ms"\n', rate="0", queue_limit=2)
    ann, bob, new = gate.visitor(), gate.visitor(), gate.visitor()
    await ann.join()
    await eventually(lambda: gate.room().view.decisive.queue_length == 1)
    private_store.pause()
    await eventually(lambda: not gate.room().view.store_up)
    await bob.get()
    assert (await bob.status())["state"] == "waiting"
    assert (await bob.status())["state"] == "waiting", "counted once"
    page = await new.request("GET", "/", headers=HTML)
    assert 'data-state="queue_full"' in page.text
    assert (await ann.status())["state"] == "waiting"
    private_store.resume()
    await eventually(lambda: gate.room().view.store_up)
    assert (await bob.status())["position"] == 2
    assert gate.room().view.decisive.queue_length == 2
