"""A reload of the configuration while the gate serves: by SIGHUP, the command line and the API."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from gatekeeper.config.schema import LIVE_KEYS
from tests.gates import GateProcess, Origin
from tests.integration.ops.process_settings import settings
from tests.servers import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

RELOADS = 5
HTML = {"Accept": "text/html"}


def revision(number: int, *, origin_url: str, server: str = "", more: str = "") -> str:
    """A configuration with its number in every response: in title, status and message."""
    return settings(
        origin_url,
        server=f"workers = 2\n{server}",
        more=f"""
[waiting]
title = "Revision {number}"
status = {503 if number % 2 else 429}

[[rule]]
name = "open-{number}"
action = "bypass"
path = ["/open/**", "/only-{number}/**"]

[[room]]
name = "default"
rate = 0
{more}
""",
    )


@dataclass
class ReloadedGate:
    """One gate for all tests of this file. Each test puts its own configuration in force."""

    process: GateProcess
    origin: Origin
    session: aiohttp.ClientSession

    def write(self, number: int, *, server: str = "", more: str = "") -> None:
        text = revision(number, origin_url=self.origin.url, server=server, more=more)
        self.process.file.write_text(text)

    async def reload(self) -> tuple[int, Any]:
        async with self.session.post(self.process.admin_url + "/admin/reload") as response:
            return response.status, await response.json()

    async def get(self, path: str) -> str:
        async with self.session.get(self.process.url + path, headers=HTML) as page:
            return await page.text()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[ReloadedGate]:
    async with Origin.running() as origin, aiohttp.ClientSession() as session:
        with GateProcess(revision(0, origin_url=origin.url)) as process:
            await process.wait_until_serving()
            yield ReloadedGate(process, origin, session)


@dataclass
class LoadRecord:
    """What the clients of a load received."""

    revisions: list[tuple[int, int]] = field(default_factory=list)  # number, and status
    forwarded: int = 0
    wrong: list[str] = field(default_factory=list)


@asynccontextmanager
async def clients(url: str, seen: LoadRecord) -> AsyncIterator[None]:
    """Clients that request pages and bypassed paths without a pause, each on its connection."""
    stop = asyncio.Event()

    async def visit(path: str) -> None:
        async with aiohttp.ClientSession(headers=HTML) as session:
            while not stop.is_set():
                async with session.get(url + path) as response:
                    body = await response.text()
                    if path == "/open/a":
                        seen.forwarded += response.status == 200
                    title = re.search(r"Revision (\d+)", body)
                    if path == "/open/a" and response.status == 200:
                        continue
                    if title is None:
                        seen.wrong.append(f"{path}: {response.status} {body[:200]}")
                    else:
                        seen.revisions.append((int(title[1]), response.status))

    async with asyncio.TaskGroup() as group:
        for path in ("/page", "/page", "/open/a", "/open/a"):
            group.create_task(visit(path))
        try:
            yield
        finally:
            stop.set()


async def test_reloads_under_load_drop_no_request(served: ReloadedGate) -> None:
    """Each response is of exactly one configuration, and none fails."""
    gate = served.process
    workers, seen = gate.workers(), LoadRecord()
    async with clients(gate.url, seen):
        await eventually(lambda: len(seen.revisions) > 20)
        for number in range(1, RELOADS + 1):
            served.write(number)
            gate.process.send_signal(signal.SIGHUP)
            await eventually(lambda: gate.errors().count('"reloaded"') == number)  # noqa: B023
            before = len(seen.revisions)
            await eventually(lambda: len(seen.revisions) > before + 20)  # noqa: B023
            # Each client may have had one request in transit.
            assert {each for each, _ in seen.revisions[before + 4 :]} == {number}
    assert seen.wrong == []
    assert seen.forwarded > 0
    assert {each for each, _ in seen.revisions} == set(range(RELOADS + 1))
    assert all(status == (503 if number % 2 else 429) for number, status in seen.revisions)
    assert gate.workers() == workers, "no worker was restarted"


async def test_open_exchanges_survive_a_reload(served: ReloadedGate) -> None:
    """A slow response, an upload and a WebSocket continue although the rule that admitted them was
    removed. The origin has one connection for each until the end."""
    rule = '[[rule]]\nname = "old"\naction = "bypass"\npath = ["/slow", "/up", "/ws"]\n'
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 10
        await go_on.wait()
        yield b"x" * 10

    session, url = served.session, served.process.url
    served.write(11, more=rule)
    assert (await served.reload())[0] == 200
    seen = len(served.origin.requests)
    async with session.ws_connect(url + "/ws") as socket:
        slow = asyncio.create_task(session.get(url + "/slow"))
        upload = asyncio.create_task(session.put(url + "/up", data=body()))
        await eventually(lambda: len(served.origin.requests) == seen + 3)
        served.write(12)
        assert (await served.reload())[0] == 200
        served.origin.go.set()
        go_on.set()
        async with await slow as response:
            assert (response.status, (await response.json())["path"]) == (200, "/slow")
        async with await upload as response:
            assert (response.status, (await response.json())["length"]) == (200, 20)
        await socket.send_str("still here")
        assert (await socket.receive(timeout=5)).data == "echo still here"
    assert "Revision 12" in await served.get("/slow"), "the rule is gone for later requests"


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("[[room]]", "[[room", "not valid TOML"),
        ("rate = 0", 'rate = "fast"', 'room[0].rate: "fast" is not a rate'),
        (
            'listen = "127.0.0.1:0"\nshutdown',
            'listen = "127.0.0.1:9"\nshutdown',
            'server.listen: "127.0.0.1:9" requires a restart; expected "127.0.0.1:0" until then',
        ),
        ("workers = 2", "workers = 3", "server.workers: 3 requires a restart; expected 2"),
        ('url = "http', 'url = "https', "origin.url: "),
        (
            "[waiting]",
            '[events]\nurl = "nats://u:secret@h"\n[waiting]',
            "events.url: another value",
        ),
        ('path = ["/open', 'client = "file:missing"\npath = ["/open', "rule[0].client"),
        ("shutdown", 'templates = "missing"\nshutdown', "server.templates: "),
    ],
)
async def test_file_with_a_problem_changes_nothing_and_says_why(
    served: ReloadedGate, before: str, after: str, problem: str
) -> None:
    served.write(21)
    assert (await served.reload())[0] == 200
    text = revision(22, origin_url=served.origin.url)
    assert before in text
    served.process.file.write_text(text.replace(before, after, 1))
    status, result = await served.reload()
    assert (status, result["error"]) == (400, "; ".join(result["problems"]))
    assert problem in result["error"]
    assert "secret" not in result["error"]
    for _ in range(2):
        assert "Revision 21" in await served.get("/page")


async def test_refused_reload_is_reported_by_command_log_and_audit(served: ReloadedGate) -> None:
    served.write(23)
    broken = served.process.file.read_text().replace("workers = 2", "workers = 3")
    served.process.file.write_text(broken)
    problem = "server.workers: 3 requires a restart; expected 2 until then"
    done = await served.process.command("reload")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"gatekeeper: /admin/reload: {problem}\n"
    refused = served.process.errors().count('"reload_refused"')
    served.process.process.send_signal(signal.SIGHUP)
    await eventually(lambda: served.process.errors().count('"reload_refused"') == refused + 1)
    async with served.session.get(served.process.admin_url + "/admin/audit?limit=2") as response:
        entries = (await response.json())["entries"]
    assert [entry["who"] for entry in entries] == ["SIGHUP", "this machine"]
    assert {(entry["what"], entry["outcome"], entry["note"]) for entry in entries} == {
        ("reload", "failed", problem)
    }


async def test_files_that_the_configuration_names_are_read_again(served: ReloadedGate) -> None:
    """Lists of networks, templates and static files, although the configuration is the same."""
    folder = served.process.folder
    (folder / "pages").mkdir()
    (folder / "networks").write_text("192.0.2.0/24\n")
    template = folder / "pages" / "waiting.html"
    template.write_text("<title>First {{ view.title }}</title>")
    rule = '[[rule]]\nname = "list"\naction = "block"\nclient = "file:networks"\n'
    served.write(25, server='templates = "pages"', more=rule)
    status, result = await served.reload()
    assert status == 200, result
    assert "First Revision 25" in await served.get("/page")
    template.write_text("<title>Second {{ view.title }}</title>")
    status, result = await served.reload()
    assert status == 200, result
    assert "Second Revision 25" in await served.get("/page")
    (folder / "networks").write_text("127.0.0.0/8\n")
    status, result = await served.reload()
    assert status == 200, result
    async with served.session.get(served.process.url + "/page") as response:
        assert response.status == 403
    (folder / "networks").write_text("nowhere\n")
    status, result = await served.reload()
    assert status == 400
    assert 'rule[1].client: "networks", line 1: "nowhere" is not a network' in result["error"]


async def test_rooms_are_added_and_removed_live(served: ReloadedGate) -> None:
    side = '\n[[room]]\nname = "side"\npath = "/side/"\nrate = 0\ntitle = "The side room"\n'
    message = served.process.admin_url + "/admin/message?text=hi&room=side"
    for _ in range(2):  # a room that is added again has its queue and settings
        served.write(31, more=side)
        assert await served.reload() == (
            200,
            {"reloaded": True, "rooms": ["default", "side"], "rules": ["open-31"]},
        )
        assert "The side room" in await served.get("/side/a")
        async with served.session.post(message) as response:
            assert response.status == 200
        served.write(32)
        assert (await served.reload())[0] == 200
        assert "Revision 32" in await served.get("/side/a")
        async with served.session.post(message) as response:
            assert response.status == 400
            assert "expected one of default" in (await response.json())["error"]


async def test_file_ends_a_live_setting_when_it_changes_the_key(served: ReloadedGate) -> None:
    settings_url = served.process.admin_url + "/admin/settings"

    async def shown() -> dict[str, Any]:
        async with served.session.get(settings_url) as response:
            settings_: dict[str, Any] = (await response.json())["rooms"][0]["settings"]
            return {key: (each["value"], each["live"]) for key, each in settings_.items()}

    served.write(41, more='max_active = 10\nmessage = "From the file"')
    assert (await served.reload())[0] == 200
    changes = {"max_active": 300, "burst": 3, "message": "Live", "title": "Live title"}
    async with served.session.post(settings_url, json=changes) as response:
        assert response.status == 200
    served.write(41, more='max_active = 20\nmessage = "Another"')
    assert (await served.reload())[0] == 200

    async def is_of_the_file() -> bool:
        return bool((await shown())["message"] == ("Another", False))

    await eventually(is_of_the_file)
    assert (await shown())["max_active"] == (20, False)
    assert (await shown())["burst"] == (3, True)
    assert "Live title" in await served.get("/page")
    # A setting that the file replaced is not restored by the file's earlier value.
    served.write(41, more='max_active = 10\nmessage = "From the file"')
    assert (await served.reload())[0] == 200
    assert (await shown())["max_active"] == (10, False)
    async with served.session.post(settings_url, json={"burst": None, "title": None}) as response:
        assert response.status == 200


async def test_settings_are_set_and_shown_by_the_command_line(served: ReloadedGate) -> None:
    served.write(45)
    assert (await served.reload())[0] == 200
    done = await served.process.command("set", "max_active=300", "title=Live title", "rate=6/h")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "default: max_active = 300 (set live; the file has 0)",
        'default: title = "Live title" (set live; the file has "Revision 45")',
        'default: rate = "0.1/min" (set live; the file has "0")',
    ]
    await eventually_served(served, "Live title")
    done = await served.process.command("set", "max_active=", "rate=fast", "burst=0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        'gatekeeper: settings: rate: "fast" is not a rate; expected e.g. "500/min" or "8/s"',
        "gatekeeper: settings: burst: 0 is too small; expected at least 1",
    ]
    done = await served.process.command("set", "session_idle_timeout=5h")
    conflict = (
        'session_absolute_timeout: "4h" is shorter than session_idle_timeout; '
        'expected at least "5h"'
    )
    assert done.returncode == 2
    assert done.stderr == f"gatekeeper: /admin/settings: {conflict}\n"
    done = await served.process.command("settings")
    assert len(done.stdout.splitlines()) == len(LIVE_KEYS)
    assert "default: burst = 10\n" in done.stdout
    assert (await served.process.command("set", "max_active=", "title=", "rate=")).returncode == 0
    await eventually_served(served, "Revision 45")
    done = await served.process.command("audit", "--limit", "7")
    assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == [
        "set max_active default from 0 to 300",
        "set title default from 'Revision 45' to 'Live title'",
        "set rate default from '0' to '0.1/min'",
        "set session_idle_timeout default from '30m' to '5h': failed (" + conflict + ")",
        "set max_active default from 300 to 0",
        "set title default from 'Live title' to 'Revision 45'",
        "set rate default from '0.1/min' to '0'",
    ]


async def eventually_served(served: ReloadedGate, words: str) -> None:
    """Wait until every worker serves it: each of several connections may reach another worker."""

    async def is_served() -> bool:
        return all([words in await served.get("/page") for _ in range(4)])

    await eventually(is_served, what=words)


async def test_restarted_worker_serves_the_newest_configuration(served: ReloadedGate) -> None:
    gate = served.process
    served.write(51)
    assert (await served.reload())[0] == 200
    gate.file.write_text("broken")  # only the configuration in force counts
    before = gate.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: len(gate.workers()) == 2 and not set(gate.workers()) & set(before))

    async def is_ready() -> bool:
        async with served.session.get(gate.admin_url + "/readyz") as ready:
            return ready.status == 200

    await eventually(is_ready)
    for _ in range(4):
        assert "Revision 51" in await served.get("/page")


def _holds_back_sighup(pid: int) -> bool:
    [mask] = re.findall(r"^SigBlk:\t(.*)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> (signal.SIGHUP - 1) & 1)


async def test_sighup_during_the_start_reloads_once_the_gate_serves() -> None:
    """A service manager regards the process as running from its first moment."""
    async with Origin.running() as origin, aiohttp.ClientSession() as session:
        with GateProcess(revision(1, origin_url=origin.url)) as process:
            await eventually(lambda: _holds_back_sighup(process.process.pid))
            process.process.send_signal(signal.SIGHUP)
            await process.wait_until_serving()
            await eventually(lambda: '"reloaded"' in process.errors())
            async with session.get(process.url + "/page", headers=HTML) as page:
                assert "Revision 1" in await page.text()
            assert not _holds_back_sighup(process.process.pid)
