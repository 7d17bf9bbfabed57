"""The command line with a running gate, and the effects that its listener shows."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from structlog.testing import capture_logs

from gatekeeper.admin.auth import Credential
from tests.admin import running_admin
from tests.gates import quick_command
from tests.servers import StoreServer

Command = Callable[..., Awaitable[CompletedProcess[str]]]

OPEN = "open sesame, and thirty-two bytes of it"


@pytest.fixture
async def command(private_store: StoreServer, tmp_path: Path) -> AsyncIterator[Command]:
    """Runs `gatekeeper …` against an admin listener that requires the token OPEN."""
    credential = Credential.of("operator", "full", secret=OPEN.encode())
    with capture_logs():  # the audit log, which shares this process and its standard output
        async with running_admin(
            private_store.url, "default", "side", credentials=[credential]
        ) as admin:
            listen = admin.urls[0].removeprefix("http://")

            async def run(*words: str, token: str = OPEN) -> CompletedProcess[str]:
                environment = {
                    "GATEKEEPER_ADMIN__LISTEN": listen,
                    "GATEKEEPER_ADMIN__TOKEN": token,
                }
                return await quick_command(*words, folder=tmp_path, environment=environment)

            yield run


async def test_commands_change_and_show_the_rooms(command: Command) -> None:
    allowed = await command("allow", "10")
    assert (allowed.returncode, allowed.stderr) == (0, "")
    assert allowed.stdout == "default: 10 granted, 10 pending\n"
    allowed = await command("allow", "10")
    assert allowed.stdout == "default: 10 granted, 20 pending\n"

    rate = await command("rate", "8/s", "--room", "side")
    assert rate.stdout.startswith("side: auto, 480/min, 0 waiting")
    mode = await command("mode", "hold", "--room", "side")
    assert mode.stdout.startswith("side: hold, 480/min, 0 waiting")

    message = await command("message", "Doors at noon.", "--room", "side")
    assert message.stdout.endswith("; message: Doors at noon.\n")
    ended = await command("mode", "ended", "--room", "default")
    assert ended.stdout.startswith("default: ended, 0/min")
    assert (await command("mode", "auto")).returncode == 0

    shown = await command("status")
    assert [line.partition(":")[0] for line in shown.stdout.splitlines()] == ["default", "side"]
    assert "Doors at noon." in shown.stdout
    cleared = await command("message", "", "--room", "side")
    assert "Doors at noon." not in cleared.stdout
    rooms = json.loads((await command("status", "--json")).stdout)["rooms"]
    assert [(each["room"], each["mode"]) for each in rooms] == [
        ("default", "auto"),
        ("side", "hold"),
    ]


@pytest.mark.parametrize(
    "words",
    [("rate", "fast"), ("allow", "3", "--room", "nowhere"), ("rate", "-1/s"), ("message", "a\nb")],
)
async def test_refused_command_is_one_line(command: Command, words: tuple[str, ...]) -> None:
    wrong = await command(*words)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert len(wrong.stderr.splitlines()) == 1


async def test_event_commands_run_an_event(command: Command) -> None:
    """An event from its creation to its end, in a room that only the gate knows."""
    times = ("--prequeue", "2090-12-01T09:30:00+01:00", "--start", "2090-12-01T10:00:00+01:00")
    made = await command("event", "add", "sale", *times, "rate=9/min", "--room", "side")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith(
        "side: sale: planned, prequeue 2090-12-01T08:30:00Z, start 2090-12-01T09:00:00Z; "
        'order="draw" before="normal" after="ended" rate="9/min"; made live; commitment '
    )
    delayed = await command("event", "delay", "sale", "10m", "--room", "side")
    assert "start 2090-12-01T09:10:00Z" in delayed.stdout
    delayed = await command("event", "delay", "sale", "2090-12-01T10:20:00+01:00", "--room", "side")
    assert "start 2090-12-01T09:20:00Z" in delayed.stdout
    listed = await command("event", "list")
    assert listed.stdout == delayed.stdout
    [event] = json.loads((await command("event", "list", "--json")).stdout)["events"]
    assert made.stdout.endswith(f"commitment {event['commitment']}\n")
    opened = await command("event", "open", "sale", "--room", "side")
    assert opened.stdout.startswith("side: sale: running, start ")
    assert "; sale: running" in (await command("status")).stdout
    cancelled = await command("event", "cancel", "sale", "--room", "side")
    assert cancelled.stdout.startswith("side: sale: ended, start ")


async def test_support_commands_name_an_unknown_visitor(command: Command) -> None:
    for name in ("4q7k92zd", "A" * 22):
        found = await command("find", name)
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.endswith(": unknown\n")
        assert found.stdout.startswith("4Q7K-92ZD" if len(name) == 8 else "")
    for words, code in (
        (("find", "4Q7K"), 2),
        (("find",), 2),
        (("admit", "Z" * 21), 2),
        (("revoke", ""), 2),
        (("admit", "4Q7K-92ZD"), 1),
        (("admit", "A" * 22), 1),
        (("revoke", "4Q7K-92ZD"), 1),
        (("find", "4Q7K-92ZD", "--room", "nowhere"), 2),
    ):
        wrong = await command(*words)
        assert (wrong.returncode, wrong.stdout, len(wrong.stderr.splitlines())) == (code, "", 1)


START = ("--start", "2090-12-01T10:00:00+01:00")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, ("event", "add", "sale")),
        (2, ("event", "add", "Sale", *START)),
        (2, ("event", "add", "sale", "--start", "10:00")),
        (2, ("event", "add", "sale", "--start", "2090-12-01T10:00:00")),
        (2, ("event", "add", "sale", *START, "rate=fast")),
        (2, ("event", "add", "sale", *START, "rates=9/min")),
        (2, ("event", "add", "sale", *START, "9/min")),
        (2, ("event", "add", "sale", *START, "--order", "lottery")),
        (2, ("event", "add", "sale", *START, "--room", "nowhere")),
        (2, ("event", "add", "sale", "--start", "2020-12-01T10:00:00+01:00")),
        (2, ("event", "delay", "sale", "soon")),
        (2, ("event", "delay", "sale", "0")),
        (2, ("event", "delay", "sale")),
        (2, ("event", "delete", "sale")),
        (1, ("event", "delay", "sale", "10m")),
        (1, ("event", "open", "sale")),
        (1, ("event", "cancel", "sale")),
    ],
    ids=lambda value: " ".join(value[1:])[:50] if isinstance(value, tuple) else str(value),
)
async def test_refused_event_command_is_one_line(
    command: Command, code: int, words: tuple[str, ...]
) -> None:
    wrong = await command(*words)
    assert (wrong.returncode, wrong.stdout) == (code, ""), wrong
    assert len(wrong.stderr.splitlines()) == 1


async def test_commands_send_the_token(command: Command) -> None:
    assert (await command("status")).returncode == 0
    refused = await command("allow", "3", token=OPEN.replace("open", "close"))
    assert refused.returncode == 1
    assert refused.stderr == "gatekeeper: the gate refused: a bearer token is required\n"
