"""Git over HTTP: pushes and clones through the gate give the same repository as without it."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builders import sign_token
from tests.gates import GateStarter
from tests.integration.clients.git_origin import running_git_server
from tests.integration.clients.programs import files, newcomers, program, run

_LARGE = 3_000_000  # bytes that do not compress: more than git's buffer, so that it sends chunks
BYPASS = """
[[rule]]
name = "git"
action = "bypass"
path = "/*.git/**"
user_agent = "git/*"
"""


@dataclass
class Repository:
    """A bare repository on a server, and a working copy with a commit that is not pushed."""

    git: str
    server_url: str
    folder: Path

    async def run(self, *words: str, at: Path | None = None) -> str:
        """The output of git, which has to succeed."""
        done = await self.attempt(*words, at=at)
        assert done[0] == 0, done[1]
        return done[1].strip()

    async def attempt(self, *words: str, at: Path | None = None) -> tuple[int, str]:
        done = await run(
            self.git,
            *("-c", "user.name=Visitor", "-c", "user.email=visitor@shop.example"),
            *words,
            folder=at or self.folder,
            GIT_CONFIG_NOSYSTEM="1",
            GIT_TERMINAL_PROMPT="0",
        )
        return done.returncode, done.stdout + done.stderr

    async def push_and_clone(self, url: str, *options: str) -> dict[str, bytes]:
        """Push through `url`, clone the result through it, and return the clone's files."""
        await self.run(*options, "push", f"{url}/shop.git", "main", at=self.folder / "work")
        pushed = await self.run("rev-parse", "main", at=self.folder / "served" / "shop.git")
        assert pushed == await self.run("rev-parse", "HEAD", at=self.folder / "work")
        await self.run(*options, "clone", "-q", f"{url}/shop.git", "cloned")
        await self.run("fsck", "--strict", at=self.folder / "cloned")
        return {
            name: data
            for name, data in files(self.folder / "cloned").items()
            if not name.startswith(".git/")
        }


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    git = program("git", "git")
    served, work = tmp_path / "served", tmp_path / "work"
    served.mkdir()
    work.mkdir()
    async with running_git_server(served, git=git) as url:
        made = Repository(git, url, tmp_path)
        await made.run("init", "-q", "--bare", "-b", "main", "shop.git", at=served)
        await made.run("init", "-q", "-b", "main", at=work)
        (work / "large").write_bytes(random.Random(7).randbytes(_LARGE))
        (work / "small").write_text("small\n")
        await made.run("add", ".", at=work)
        await made.run("commit", "-q", "-m", "first", at=work)
        yield made


async def test_git_through_a_bypassing_rule_is_as_without_the_gate(
    repository: Repository, start_gate: GateStarter
) -> None:
    gate = await start_gate(BYPASS, origin_url=repository.server_url, rate="0")
    cloned = await repository.push_and_clone(gate.url)
    assert cloned == {
        name: data
        for name, data in files(repository.folder / "work").items()
        if not name.startswith(".git/")
    }
    await repository.run("clone", "-q", f"{repository.server_url}/shop.git", "direct")
    assert await repository.run("ls-remote", f"{gate.url}/shop.git") == await repository.run(
        "ls-remote", f"{repository.server_url}/shop.git"
    )
    assert await newcomers(gate) == 0


async def test_git_with_a_pass_in_a_header_is_as_without_the_gate(
    repository: Repository, start_gate: GateStarter
) -> None:
    gate = await start_gate(origin_url=repository.server_url, rate="0")
    token = sign_token(gate.issue_pass(ago_s=100))  # git does not store a renewed pass
    cloned = await repository.push_and_clone(
        gate.url, "-c", f"http.extraHeader=X-Queue-Token: {token}"
    )
    assert set(cloned) == {"large", "small"}
    assert len(cloned["large"]) == _LARGE


async def test_git_without_rule_or_pass_is_turned_away(
    repository: Repository, start_gate: GateStarter
) -> None:
    gate = await start_gate(origin_url=repository.server_url, rate="0")
    code, text = await repository.attempt(
        "push", f"{gate.url}/shop.git", "main", at=repository.folder / "work"
    )
    assert code != 0
    assert "503" in text
    served = repository.folder / "served" / "shop.git"
    assert (await repository.attempt("rev-parse", "--verify", "main", at=served))[0] != 0
