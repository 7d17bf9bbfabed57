"""`gatekeeper rules` against a running gate, and `explain` without one."""

import asyncio
import json
from pathlib import Path

import aiohttp

from tests.gates import GateProcess, Origin, quick_command

TOML = """
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[admission]
rate = 0
[[rule]]
name = "hooks"
action = "bypass"
path = "/hooks/**"
"""


async def test_rules_lists_what_each_rule_has_matched() -> None:
    async with Origin.running() as origin:
        with GateProcess(f'[origin]\nurl = "{origin.url}"\n' + TOML) as process:
            await process.wait_until_serving()
            async with aiohttp.ClientSession() as session:
                for path in ("/hooks/a", "/hooks/b", "/x"):
                    await session.get(process.url + path)
                await _matches_reach_admin_api(session, process.admin_url)
            listed = await process.command("rules", "--json")
            assert listed.returncode == 0, listed.stderr
            rules = {rule["name"]: rule for rule in json.loads(listed.stdout)["rules"]}
            assert rules["hooks"]["matches"] == 2
            assert list(rules) == ["hooks", "cors-preflight", "well-known", "robots", "favicon"]
            text = await process.command("rules")
            assert text.stdout.splitlines()[0] == "hooks: bypass path /hooks/**, 2 matches"
            assert text.stdout.splitlines()[-1].endswith("(default rule)")


async def _matches_reach_admin_api(session: aiohttp.ClientSession, admin_url: str) -> None:
    """Wait until the worker has written its counters: every second, see `process.metrics_files`."""
    async with asyncio.timeout(40):
        while True:
            async with session.get(f"{admin_url}/admin/rules") as response:
                listed = (await response.json())["rules"]
            if any(rule["matches"] for rule in listed):
                return
            await asyncio.sleep(0.05)


async def test_explain_needs_no_running_gate(tmp_path: Path) -> None:
    (tmp_path / "gatekeeper.toml").write_text(TOML)
    done = await quick_command("explain", "POST", "http://shop/hooks/a", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith('forwarded by rule "hooks"')
    wrong = await quick_command("explain", "POST", "/hooks/a", folder=tmp_path)
    assert wrong.returncode == 2
    assert "is not a URL; expected" in wrong.stderr
    field = await quick_command("explain", "GET", "http://shop/", "-H", "X-Evil", folder=tmp_path)
    assert field.returncode == 2
    [line] = field.stderr.splitlines()
    assert '"X-Evil" is not a header field; expected' in line
