"""litmus, the test suite of WebDAV servers, has the same results through the gate as without it."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gates import GateStarter
from tests.integration.clients.programs import newcomers, program, run
from tests.servers import eventually

BYPASS = """
[[rule]]
name = "webdav"
action = "bypass"
path = "/dav/**"
"""


@pytest.fixture
def webdav(tmp_path: Path) -> Iterator[str]:
    """The URL of a WebDAV server that keeps locks and properties."""
    root = tmp_path / "files"
    (root / "dav").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = tmp_path / "wsgidav.json"
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "server": "cheroot",
        "provider_mapping": {"/": str(root)},
        "simple_dc": {"user_mapping": {"*": True}},
        "property_manager": True,
        "lock_storage": True,
        "verbose": 0,
    }
    file.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "wsgidav.server.server_cli", "--config", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def listens(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


async def results(url: str, folder: Path) -> dict[str, str]:
    """The result of every test, by its suite and name. litmus writes logs into `folder`."""
    done = await run(program("litmus", "litmus"), "-k", f"{url}/dav/", folder=folder)
    found: dict[str, str] = {}
    suite = ""
    for line in done.stdout.splitlines():
        if started := re.match(r"-> running `(\w+)'", line):
            suite = started[1]
        elif result := re.search(r"(\d+)\. (\w+)\.* (pass|FAIL|SKIPPED|WARNING)", line):
            found[f"{suite} {result[1]} {result[2]}"] = result[3]
    assert len(found) > 60, done.stdout + done.stderr
    return found


async def test_litmus_finds_the_same_through_the_gate(
    webdav: str, tmp_path: Path, start_gate: GateStarter
) -> None:
    """Methods, bodies and fields of WebDAV pass, although the room admits no visitor."""
    await eventually(lambda: listens(webdav))
    gate = await start_gate(BYPASS, origin_url=webdav, rate="0")
    direct = await results(webdav, tmp_path)
    assert await results(gate.url, tmp_path) == direct
    assert list(direct.values()).count("pass") > 60
    assert await newcomers(gate) == 0


async def test_webdav_request_without_the_rule_reaches_no_origin(
    webdav: str, tmp_path: Path, start_gate: GateStarter
) -> None:
    await eventually(lambda: listens(webdav))
    gate = await start_gate(origin_url=webdav, rate="0")
    done = await run(program("litmus", "litmus"), f"{gate.url}/dav/", folder=tmp_path)
    assert done.returncode != 0
    assert "503" in done.stdout
    assert list((tmp_path / "files" / "dav").iterdir()) == []
