"""The samples of `docs/how-to/invite.md`, in each language with an installed runtime."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gatekeeper.config.invitation_keys import InvitationKey
from gatekeeper.config.types import RoomName
from gatekeeper.policy.invitations import Invitation, Invitations, InvitationScope, visitor_of

ROOM = RoomName("sale")
SECRET = b"a secret of the shop, 40 bytes or so long"
ACCOUNT = 'änn "quoted" <ann@example.com>'
GUIDE = Path(__file__).parents[3] / "docs/how-to/invite.md"
RUN = {
    "python": (["python3", "-"], f"\nprint(invitation({ACCOUNT!r}, 'sale'))\n"),
    "javascript": (["node", "-"], f"\nconsole.log(invitation({ACCOUNT!r}, 'sale'));\n"),
    "php": (["php"], f"\necho invitation({ACCOUNT!r}, 'sale');\n"),
}


def sample(language: str) -> str:
    """The code of the guide in a language."""
    [code] = re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return str(code)


@pytest.mark.parametrize("language", RUN)
def test_sample_signs_what_the_gate_accepts(language: str, tmp_path: Path) -> None:
    command, call = RUN[language]
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    if language == "python":
        program = sys.executable  # it has PyJWT
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    done = subprocess.run(
        [program, *command[1:]],
        input=sample(language) + call,
        env={"SHOP_SECRET_FILE": str(secret)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = Invitations(ROOM, [InvitationKey("HS256", SECRET)], b"k").read(
        done.stdout.strip(), now_s=0.0, scope=InvitationScope()
    )
    assert isinstance(found, Invitation)
    assert found.visitor == visitor_of(ACCOUNT, ROOM, key=b"k")


@pytest.mark.parametrize("language", RUN)
def test_sample_is_ten_lines_or_so(language: str) -> None:
    lines = [line for line in sample(language).splitlines() if line.strip()]
    assert len(lines) <= 12
