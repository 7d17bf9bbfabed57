"""`gatekeeper explain` needs no running gate."""

from pathlib import Path

from tests.gates import quick_command

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
