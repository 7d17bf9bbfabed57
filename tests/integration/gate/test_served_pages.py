"""Pages that waiting visitors receive: language, compression, reason, message, Cloudflare."""

import asyncio
from pathlib import Path

from gatekeeper.policy.phase import Mode
from tests.gates import HTML, GateStarter


async def test_page_language_follows_accept_language(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="0")
    visitor = gate.visitor()
    for accepted, language, text in (
        ("de-AT, en;q=0.5", "de", "Warteschlange"),
        ("xx, he;q=0.9", "he", 'dir="rtl"'),
        ("xx", "en", "Leave the line"),
    ):
        for coding in ("gzip", "identity"):
            headers = HTML | {"Accept-Language": accepted, "Accept-Encoding": coding}
            page = await visitor.request("GET", headers=headers)
            assert page.status == 503
            assert page.headers["Content-Language"] == language
            assert "Accept-Language" in page.headers["Vary"]
            assert page.headers.get("Content-Encoding", "identity") == coding
            assert text in page.text


async def test_status_and_page_show_reason_and_message(
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="600/min", burst=1, max_active=1)
    admitted = gate.visitor()
    visitor = gate.visitor()
    assert (await admitted.get())[0] == 200
    assert (await admitted.get())[0] == 200
    await visitor.get()
    queue = gate.queue

    async def wait_until_status(reason: str, message: str | None) -> None:
        async with asyncio.timeout(40):
            status = await visitor.status()
            while (status["reason"], status["message"]) != (reason, message):
                await asyncio.sleep(0.02)
                status = await visitor.status()

    await wait_until_status("full", None)
    await queue.set_message("Doors at 18:00")
    await wait_until_status("full", "Doors at 18:00")
    await queue.set_mode(Mode.HOLD)
    await wait_until_status("held", "Doors at 18:00")
    await queue.set_mode(Mode.ENDED)
    await wait_until_status("ended", "Doors at 18:00")
    _, page = await visitor.get()
    assert 'data-state="ended"' in page
    assert "Doors at 18:00" in page


async def test_cloudflare_template_and_json_are_served(
    tmp_path: Path, start_gate: GateStarter
) -> None:
    (tmp_path / "queue.mustache").write_text(
        "<script>let known = {{waitTimeKnown}}, minutes = {{waitTime}};</script>"
        "{{#queueAll}}closed{{/queueAll}}{{^queueAll}}open{{/queueAll}}"
    )
    gate = await start_gate(
        f'[server]\ntemplates = "{tmp_path}"\n',
        rate="1/min",
        burst=1,
        status=202,
        template="queue.mustache",
        json_format="cloudflare",
    )
    first = gate.visitor()
    visitor = gate.visitor()
    await first.get()
    page = await visitor.request("GET", headers=HTML)
    assert page.status == 202
    assert page.text == "<script>let known = true, minutes = 1;</script>open"
    assert page.headers["Refresh"] == "3"  # it confirms the place
    assert (await visitor.request("GET", headers=HTML)).headers["Refresh"] == "10"
    app = await visitor.request("GET", "/api", headers={"Accept": "application/json"})
    assert app.status == 202
    waiting_room = app.json["cfWaitingRoom"]
    assert (waiting_room["inWaitingRoom"], waiting_room["waitTime"], waiting_room["queueAll"]) == (
        True,
        1,
        False,
    )
    assert waiting_room["refreshIntervalSeconds"] == int(app.headers["Retry-After"])
