"""Bad arguments, the connection and the text of the scripts: held on every store."""

import asyncio
import re
from importlib.resources import files
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.move_request import MoveRequest
from gatekeeper.room.state import parse_reply
from gatekeeper.room.store import RedisStore, load_script, room_keys
from gatekeeper.room.visitor_calls import ArrivalRequest
from tests.contract.grounds import (
    Contents,
    EmulatedGround,
    Ground,
    Open,
    Replica,
    admitted_names,
    line_up,
    poll,
    poll_request,
)
from tests.patient_store import PatientStore
from tests.servers import StoreServer

ANN = VisitorId("ann")

# A full store, and bad arguments


async def test_full_store_refuses_and_loses_no_visitor(room_name: RoomName) -> None:
    ground = EmulatedGround(room_name)
    replica = Replica(ground, Rules.of(RoomConfig(name=room_name, rate=0.0)), name="only")
    await replica.queue.join(starting=True)
    await replica.allow(1)
    replies = await line_up(replica, ["ann", "bob", "cat"])
    await replica.allow(1)
    until_us = ground.rules.clock_us + 3_600_000_000
    before = await ground.read()
    ground.rules.is_full = True
    for call in (
        replica.queue.arrive(ArrivalRequest(VisitorId("dan"))),
        replica.queue.poll(poll_request("ann", replies["ann"].turn_us)),
        replica.queue.poll(poll_request("bob", replies["bob"].turn_us)),
        replica.queue.poll(poll_request("eve", 1)),
        replica.queue.advance(),
        replica.queue.leave([ANN]),
        replica.queue.move(
            MoveRequest(VisitorId("bob"), made_on=None, to="phone-01", made_us=until_us)
        ),
        replica.queue.leave([VisitorId("bob")]),
        replica.queue.touch(ANN, until_us=until_us, ends_us=until_us),
        replica.queue.allow(1),
        replica.queue.set_mode(Mode.OPEN),
    ):
        with pytest.raises(StoreError):
            await call
    assert await ground.read() == before
    ground.rules.is_full = False
    assert await replica.released() == 1
    assert admitted_names(await poll(replica, replies)) == ["ann", "bob"]


LIMITS = ["1", "0"]
KNOWS_NOTHING = ["0", "0", *LIMITS]
GOOD_JOIN = [*KNOWS_NOTHING, "60", "1", "start", "", "", ""]
LOOK = [*KNOWS_NOTHING, "look", ""]
DIGITS = "0000000000000001"  # an arrival
KNOWN = ["2000000000000000", "9", *LIMITS, "60", "1", "", "", "", "", "hold", "0", "5", "5"]
BAD_CALLS: dict[str, list[str]] = {
    "join": [*KNOWS_NOTHING, "60", "x", "start", "", "", ""],
    "join of what is known": [*KNOWN, "5", "x", "5", "5", "5", "", "0", "", "", ""],
    "join of strange grants": [*KNOWN, "nan", "5", "5", "5", "5", "", "0", "", "", ""],
    "join, how many are expected": [*KNOWN, "5", "5", "5", "5", "5", "", "", "", "", ""],
    "join, knowing a strange epoch": ["nan", *GOOD_JOIN[1:]],
    "control, knowing a strange version": ["1", "x", *LOOK[2:]],
    "control, a burst": ["0", "0", "nan", "0", *LOOK[4:]],
    "control, a limit": ["0", "0", "1", "", *LOOK[4:]],
} | {
    name: [*KNOWS_NOTHING, *arguments] for name, arguments in {
        "arrive": ["20000000", "x", "0", "n", "", "dan"],
        "arrive, how long a slot is held": ["", "1", "0", "n", "", "dan"],
        "arrive, what is remembered": ["1", "nan", "0", "n", "", "dan"],
        "arrive, a limit": ["1", "1", "nan", "n", "", "dan"],
        "arrive, a letter missing": ["1", "0", "0", "n", "", "dan", "eve"],
        "arrive, no visitor": ["1", "0", "0", "n", ""],
        "arrive, a head start missing": ["1", "0", "0", "nn", DIGITS, "dan", "eve"],
        "arrive, a device cut short": ["1", "0", "0", "i", "", "dan", "1", "1", "phone"],
        "arrive, a strange expiry": ["1", "0", "0", "i", "", "dan", "1", "1", "phone", "x", "0"],
        "arrive, a strange move": ["1", "0", "0", "i", "", "dan", "1", "1", "phone", "1", "x"],
        "arrive, a strange head start": ["1", "0", "0", "n", "x" * 16, "dan"],
        "poll": ["90000000", "1", "1", "1", "tt", DIGITS + "x" * 16, "", "ann", "bob"],
        "poll, a life": ["90000000", "inf", "1", "1", "t", DIGITS, "", "ann"],
        "poll, a session": ["90000000", "1", "nan", "1", "t", DIGITS, "", "ann"],
        "poll, cut short": ["90000000", "1", "1", "1", "tt", DIGITS + DIGITS, "", "bob"],
        "poll, an arrival missing": ["90000000", "1", "1", "1", "tt", DIGITS, "", "ann", "bob"],
        "poll, no visitor": ["90000000", "1", "1", "1", "t", DIGITS, ""],
        "poll, a letter missing": ["90000000", "1", "1", "1", "t", 2 * DIGITS, "", "ann", "bob"],
        "poll, a lane missing": ["90000000", "1", "1", "1", "tt", 2 * DIGITS, "a/1/0", "x", "y"],
        "poll, a lane too many": ["90000000", "1", "1", "1", "t", DIGITS, "a/1/0 b/2/0", "ann"],
        "poll, a strange lane": ["90000000", "1", "1", "1", "t", DIGITS, "a/x/0", "ann"],
        "poll, a lane without a number": ["9", "1", "1", "1", "t", DIGITS, "a/1/", "ann"],
        "poll, a device cut short": ["9", "1", "1", "1", "t", DIGITS, "", "ann", "1", "1", "phone"],
        "poll, a ticket's life": ["9", "1", "1", "1", "t", DIGITS, "", "ann", "x", "1", "a", "0"],
        "poll, a strange index": ["9", "1", "1", "1", "t", DIGITS, "", "ann", "1", "", "a", "0"],
        "advance": ["replica", "1", "x", "1", "1000", "1000"],
        "advance, a window": ["replica", "nan", "0", "1", "1000", "1000"],
        "advance, a ticket's life": ["replica", "1", "0", "", "1000", "1000"],
        "advance, cut short": ["replica", "1", "0", "1", "1000"],
        "leave": ["x", "0", "2", "ann", "bob"],
        "move": ["x", "ann", "", "phone-01", "1"],
        "move, to nothing": ["1", "ann", "", "", "1"],
        "move, to the same device": ["1", "ann", "phone-01", "phone-01", "1"],
        "move, without a device": ["1", "ann", "", "1"],
        "move, without a moment": ["1", "ann", "", "phone-01", "nan"],
        "leave, the number of visitors": ["1", "0", "3", "ann", "bob"],
        "leave, a device for one of two": ["1", "1", "2", "ann", "bob", "phone"],
        "leave, a ticket's life": ["1", "nan", "2", "ann", "bob"],
        "touch": ["ann", "9007199254740000", "9007199254740000", "bob", "x", "1"],
        "touch, an end": ["ann", "9007199254740000", "9007199254740000", "bob", "1", "nan"],
        "touch, cut short": ["ann", "9007199254740000", "9007199254740000", "bob", "1"],
        "control, grants": ["allow", "x"],
        "control, endless grants": ["allow", "inf"],
        "control, a rate": ["rate", "fast"],
        "control, a rate that is no number": ["rate", "nan"],
        "control, an endless rate": ["rate", "inf"],
        "control, a mode": ["mode", "ajar"],
        "control, a message cut short": ["message"],
        "control, a word": ["close", ""],
        "control, settings cut short": ["settings", "", "{}", "", "1"],
        "control, events cut short": ["events", "", "[]"],
        "control, settings with events cut short": ["settings", "", "", "", "", "", "", "[]"],
        "admit": ["x", "ann"],
        "admit, no visitor": ["1"],
        "admit, a second visitor": ["1", "ann", "bob"],
        "draw": ["1", DIGITS + "x" * 16, "2", "ann", "bob", "", ""],
        "draw, a turn missing": ["1", DIGITS, "2", "ann", "bob", "", ""],
        "draw, a hash missing": ["1", DIGITS, "1", "ann"],
        "draw, a life": ["nan", DIGITS, "1", "ann", ""],
        "steer": ["x", "", "", "6", "7", "{}"],
        "steer, a rate": ["1", "", "", "6", "fast", "{}"],
        "steer, a rate of 0": ["1", "", "", "6", "0", "{}"],
        "steer, cut short": ["1", "", "", "6", "7"],
        "advance, a period": ["one", "1", "1", "1", "1", "1", "x", ""],
        "advance, what was measured": ["one", "1", "1", "1", "1", "1", "1", "1 2 x"],
        "control, settings with a strange rate": ["settings", "", "{}", "nan", "", ""],
    }.items()
}  # fmt: skip


@pytest.mark.parametrize("bad_call", BAD_CALLS)
async def test_bad_argument_is_an_error_without_a_write(
    ground: Ground, open_room: Open, bad_call: str
) -> None:
    replica = await open_room()
    await line_up(replica, ["ann", "bob"])
    before: Contents = await ground.read()
    script = load_script(re.split(r"\W", bad_call)[0])
    with pytest.raises(StoreError):
        await replica.store.run(script, room_keys(ground.room), BAD_CALLS[bad_call])
    assert await ground.read() == before


# The connection


async def test_late_reply_is_not_taken_for_the_next_one(
    private_store: StoreServer, room_name: RoomName
) -> None:
    store = PatientStore(private_store.url)  # 0.3 s while it is paused
    keys, script = room_keys(room_name), load_script("leave")
    try:
        await store.run(load_script("join"), keys, GOOD_JOIN)
        await store.run(script, keys, [*KNOWS_NOTHING, "1", "0", "1", "early"])  # loads the script
        private_store.pause()
        results = await asyncio.gather(
            *[store.run(script, keys, [*KNOWS_NOTHING, "1", "0", "1", "late"]) for _ in range(12)],
            return_exceptions=True,
        )
        assert all(isinstance(each, StoreError) for each in results)
        private_store.resume()
        for _ in range(12):
            reply = await store.run(script, keys, [*KNOWS_NOTHING, "1", "0", "2", "a", "b"])
            assert parse_reply(reply)[1] == [b"2", b"2"]
            assert parse_reply(await store.run(load_script("control"), keys, LOOK))[1] == []
    finally:
        await store.close()


async def test_missing_script_is_sent_again(
    private_store: StoreServer, room_name: RoomName
) -> None:
    store = RedisStore(private_store.url, timeout_s=5)
    keys = room_keys(room_name)
    try:
        for _ in range(2):
            reply = await store.run(load_script("control"), keys, LOOK)
            assert reply == [b"behind"]
            # The event loop runs meanwhile, so it notices the end of the idle connections.
            await asyncio.to_thread(private_store.restart, empty=True)
    finally:
        await store.close()


# Time


async def test_time_of_a_room_stands_until_the_test_moves_it(
    ground: Ground, open_room: Open
) -> None:
    """On a server too: a pause of the machine passes no time."""
    replica = await open_room()
    before = await replica.read_state()
    assert (await replica.read_state()).now_us == before.now_us
    await ground.pass_time(5)
    after = await replica.read_state()
    assert after.now_us == before.now_us + 5_000_000
    assert not after.is_recovering


async def test_script_reads_the_clock_of_the_store(store_url: str, room_name: RoomName) -> None:
    """As it is, without a clock of the test's."""
    store, keys = RedisStore(store_url, timeout_s=10), room_keys(room_name)
    async with Redis.from_url(store_url, socket_timeout=10) as client:
        try:
            moments = [await client.time()]
            state, _ = parse_reply(await store.run(load_script("join"), keys, GOOD_JOIN))
            moments.append(await client.time())
        finally:
            await client.delete(*keys)
            await store.close()
    before_us, after_us = (s * 1_000_000 + us for s, us in moments)
    assert before_us <= state.now_us <= after_us


# The scripts as text. The tests above run them under rules that refuse what these tests name.

SCRIPTS = (
    "join",
    "arrive",
    "poll",
    "advance",
    "control",
    "leave",
    "touch",
    "draw",
    "find",
    "admit",
    "move",
    "steer",
)


def test_contract_covers_every_script() -> None:
    folder = files("gatekeeper.room") / "scripts"
    names = {
        each.name.removesuffix(".lua") for each in folder.iterdir() if each.name[-4:] == ".lua"
    }
    assert names == {"_room", "_admission", "_devices", *SCRIPTS}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_uses_declared_keys_and_portable_commands(name: str) -> None:
    text = load_script(name).text
    code = re.sub(r"--[^\n]*", "", text)
    assert "#!" not in text
    assert not re.search(r"\b(tostring|cjson|cmsgpack|struct|bit)\b", code)
    assert not re.search(r"'(GT|LT)'", code)
    calls = r"(?:\bcall|redis\.pcall|for_all)\("
    commands = re.findall(calls + r"'(\w+)'(?:,\s*([^,)]+))?", code)
    assert {key for command, key in commands if command != "TIME"} <= {
        "QUEUE", "DEADLINES", "ACTIVE", "REVOKED", "SPENT", "REPLICAS", "STATE", "UNCONFIRMED",
        "MISSED", "SESSIONS", "LANES", "HOLDERS", "HELD_UNTIL", "LANE_POLLS",
        "PARTICIPANTS", "key",
    }  # fmt: skip
    # In addition to these, `for_all` and the one command in it.
    assert len(commands) == len(re.findall(calls, code)) - 2


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_leaves_mode_and_phase_to_the_gate(name: str) -> None:
    """`phase_gate` and `admission_gate` of `_admission.lua` decide whether a room admits."""
    text = ((files("gatekeeper.room") / "scripts") / f"{name}.lua").read_text()
    assert not re.search(r"\.mode\s*[=~]=|\bphase\s*[=~]=", re.sub(r"--[^\n]*", "", text))


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_head_names_keys_arguments_reply_and_guarantee(name: str) -> None:
    text = ((files("gatekeeper.room") / "scripts") / f"{name}.lua").read_text()
    head = text[: text.index("\nlocal ")] if "\nlocal " in text else text
    assert text.startswith(f"-- {name}: ")
    for word in ("KEYS", "ARGV", "Reply", "Guarantee."):
        assert f"-- {word}" in head


def test_keys_are_described_where_scripts_and_readers_look() -> None:
    """At the top of `_room.lua`, by number, and in ARCHITECTURE.md, together with the scripts."""
    names = [key.rpartition(":")[2] for key in room_keys(RoomName("default"))]
    head = ((files("gatekeeper.room") / "scripts") / "_room.lua").read_text()
    described = re.findall(r"^--  ? ?(?:KEYS)? +(\d+) (\w+) +(?:ZSET|HASH)", head, re.MULTILINE)
    assert described == [(str(number), name) for number, name in enumerate(names, 1)]
    page = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text()
    keys, _, scripts = page.partition("\n| key |")[2].partition("\n| script |")
    assert set(re.findall(r"^\| `(\w+)`", keys, re.MULTILINE)) == set(names)
    assert set(re.findall(r"^\| `(\w+)`", scripts, re.MULTILINE)) == set(SCRIPTS)


def test_keys_of_a_room_share_one_hash_tag() -> None:
    keys = room_keys(RoomName("checkout"))
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("gk:{checkout}:") for key in keys)
