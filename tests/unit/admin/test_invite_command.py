"""`gatekeeper invite`: an invitation that the room accepts, or the reason why not."""

import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.admin.invite_command import invite
from gatekeeper.config.invitation_keys import invitation_keys
from gatekeeper.config.load import load_config
from gatekeeper.config.types import RoomName
from gatekeeper.policy.invitations import Invitation, Invitations, InvitationScope

FILE = """
[[room]]
name = "sale"
access = "invited"
invitation_secret_file = "{folder}/shop"

[[room]]
name = "other"
path = "/other/"

[[event]]
name = "autumn"
room = "sale"
start = 2029-12-01T10:00:00+01:00
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "shop").write_bytes(b"n" * 40 + b"\n" + b"o" * 40 + b"\n")
    file = tmp_path / "gatekeeper.toml"
    file.write_text(FILE.format(folder=tmp_path))
    return file


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(invite, ["--config", str(config), *arguments])


@pytest.mark.parametrize(
    "arguments",
    [("--room", "sale"), ("--event", "autumn"), ("--room", "sale", "--event", "autumn")],
)
def test_invitation_is_one_that_the_room_accepts(config: Path, arguments: tuple[str, ...]) -> None:
    done = run(config, "--sub", "ann", "--valid", "30m", *arguments)
    assert done.exit_code == 0, done.output
    [room] = [each for each in load_config(config, environ={}).rooms if each.name == "sale"]
    invitations = Invitations(RoomName("sale"), invitation_keys(room), b"k")
    scope = InvitationScope(events=("autumn",))
    raw, now_s = done.output.strip(), time.time()
    found = invitations.read(raw, now_s=now_s + 1700, scope=scope)
    assert isinstance(found, Invitation)
    assert invitations.read(raw, now_s=now_s + 1900, scope=scope) == "invitation_expired"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--room", "sale"), "--sub"),
        (("--sub", "ann"), 'no room "default"; expected one of other, sale'),
        (("--sub", "ann", "--room", "none"), 'no room "none"'),
        (("--sub", "ann", "--room", "other"), "has no invitation_secret_file"),
        (("--sub", "ann", "--room", "sale", "--lane", "vip"), 'no lane "vip"'),
        (("--sub", "ann", "--room", "sale", "--valid", "soon"), "soon"),
        (("--sub", "", "--room", "sale"), "expected 1 to 255"),
        (("--sub", "x" * 256, "--room", "sale"), "expected 1 to 255"),
    ],
)
def test_invitation_that_no_room_accepts_is_refused(
    config: Path, arguments: tuple[str, ...], problem: str
) -> None:
    done = run(config, *arguments)
    assert done.exit_code == 2
    assert problem in done.output
