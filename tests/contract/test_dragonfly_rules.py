"""The emulation enforces each rule of DragonflyDB; everything else equals the real store."""

import os
from collections.abc import Callable
from typing import cast

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.command_arguments import ScriptError
from tests.contract.dragonfly_rules import DragonflyRules
from tests.profiles import examples

KEY = "gk:{room}:queue"
OTHER = "gk:{room}:state"


@pytest.fixture
def store() -> DragonflyRules:
    return DragonflyRules()


def test_undeclared_key_of_the_same_tag_is_refused(store: DragonflyRules) -> None:
    with pytest.raises(ScriptError, match=r"undeclared key, key: gk:\{room\}:state"):
        store.eval("return redis.call('HGET', 'gk:{room}:state', 'a')", [KEY], [])


def test_command_with_many_keys_has_every_key_checked(store: DragonflyRules) -> None:
    with pytest.raises(ScriptError, match="undeclared key"):
        store.eval("return redis.call('DEL', KEYS[1], 'gk:{room}:state')", [KEY], [])


@pytest.mark.parametrize("keys", [[KEY, "gk:{other}:queue"], ["plain", "other"]])
def test_keys_of_two_tags_are_refused(store: DragonflyRules, keys: list[str]) -> None:
    with pytest.raises(ScriptError, match="CROSSSLOT"):
        store.eval("return 1", keys, [])


@pytest.mark.parametrize(
    "command",
    [
        "redis.call('ZSCORE', KEYS[1], 'a')",
        "redis.call('ZMSCORE', KEYS[1], 'a')[1]",
        "redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')[2]",
        "redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf', 'WITHSCORES')[2]",
        "redis.call('ZPOPMIN', KEYS[1])[2]",
    ],
)
def test_scores_are_floats(store: DragonflyRules, command: str) -> None:
    store.eval("redis.call('ZADD', KEYS[1], 7, 'a')", [KEY], [])
    assert store.eval(f"return math.type({command})", [KEY], []) == "float"


def test_format_keeps_arrival_digits_that_tostring_loses(store: DragonflyRules) -> None:
    store.eval("redis.call('ZADD', KEYS[1], '1700000000123457', 'a')", [KEY], [])
    score = "redis.call('ZSCORE', KEYS[1], 'a')"
    assert store.eval(f"return tostring({score})", [KEY], []) == "1.7000000001235e+15"
    formatted = store.eval(f"return string.format('%.0f', {score})", [KEY], [])
    assert formatted == "1700000000123457"


def test_float_argument_keeps_17_digits(store: DragonflyRules) -> None:
    store.eval("redis.call('HSET', KEYS[1], 'a', 1700000000123457.0, 'b', 0.5)", [KEY], [])
    assert store.eval("return redis.call('HMGET', KEYS[1], 'a', 'b')", [KEY], []) == [
        "1700000000123457",
        "0.5",
    ]


@pytest.mark.parametrize("value", ["true", "nil", "{}"])
def test_arguments_are_strings_and_numbers_only(store: DragonflyRules, value: str) -> None:
    with pytest.raises(ScriptError, match="arguments must be strings or integers"):
        store.eval(f"return redis.call('HSET', KEYS[1], 'a', {value})", [KEY], [])


def test_float_in_a_reply_is_not_truncated(store: DragonflyRules) -> None:
    assert store.eval("return {3.7, 3}", [], []) == [3.7, 3]
    reply = store.eval("return 6/2", [], [])
    assert isinstance(reply, float)


def test_lua_is_5_4(store: DragonflyRules) -> None:
    assert store.eval("return {_VERSION, tostring(6/2), 7//2}", [], []) == ["Lua 5.4", "3.0", 3]
    with pytest.raises(ScriptError, match="no integer representation"):
        store.eval("return string.format('%d', 1.5)", [], [])
    with pytest.raises(ScriptError, match="nonexistent global variable 'unpack'"):
        store.eval("return unpack({1})", [], [])


def test_nil_does_not_end_a_reply(store: DragonflyRules) -> None:
    assert store.eval("return {1, nil, false, 4}", [], []) == [1, None, None, 4]


def test_missing_value_is_false_in_lua(store: DragonflyRules) -> None:
    script = """
        local score = redis.call('ZSCORE', KEYS[1], 'a')
        return {tostring(score), redis.call('HMGET', KEYS[2], 'a', 'b')}
    """
    assert store.eval(script, [KEY, OTHER], []) == ["false", [None, None]]


def test_time_has_milliseconds_and_is_constant_in_a_script(store: DragonflyRules) -> None:
    store.clock_us = 1_700_000_000_123_456
    script = """
        local before = redis.call('TIME')
        for i = 1, 10000 do end
        local after = redis.call('TIME')
        return {before[1], before[2], after[2]}
    """
    assert store.eval(script, [], []) == [1_700_000_000, 123_000, 123_000]
    store.clock_us += 1000
    assert store.eval("return redis.call('TIME')[2]", [], []) == 124_000


@pytest.mark.parametrize(("members", "kept"), [(128, 5.0), (129, 1.0)])
def test_gt_is_ignored_past_128_members(store: DragonflyRules, members: int, kept: float) -> None:
    script = """
        for i = 1, tonumber(ARGV[1]) do redis.call('ZADD', KEYS[1], 5, 'm' .. i) end
        redis.call('ZADD', KEYS[1], 'GT', 1, 'm1')
        redis.call('ZADD', KEYS[1], 'NX', 9, 'm2')
        return {redis.call('ZSCORE', KEYS[1], 'm1'), redis.call('ZSCORE', KEYS[1], 'm2')}
    """
    assert store.eval(script, [KEY], [str(members)]) == [kept, 5.0]


def test_lt_is_ignored_past_128_members(store: DragonflyRules) -> None:
    script = """
        redis.call('ZADD', KEYS[1], 5, 'm1')
        redis.call('ZADD', KEYS[1], 'LT', 9, 'm1')
        local small = redis.call('ZSCORE', KEYS[1], 'm1')
        for i = 1, 129 do redis.call('ZADD', KEYS[1], 5, 'm' .. i) end
        redis.call('ZADD', KEYS[1], 'LT', 9, 'm1')
        return {small, redis.call('ZSCORE', KEYS[1], 'm1')}
    """
    assert store.eval(script, [KEY], []) == [5.0, 9.0]


@pytest.mark.parametrize("script", ["leak = 1", "function leak() end", "_G.leak = 1"])
def test_script_cannot_set_globals(store: DragonflyRules, script: str) -> None:
    with pytest.raises(ScriptError, match="global variable"):
        store.eval(script, [], [])


@pytest.mark.parametrize("name", ["os", "io", "require", "cjson", "bit", "debug", "missing"])
def test_missing_global_cannot_be_read(store: DragonflyRules, name: str) -> None:
    with pytest.raises(ScriptError, match=f"nonexistent global variable '{name}'"):
        store.eval(f"return {name} == nil", [], [])


def test_shebang_is_a_syntax_error(store: DragonflyRules) -> None:
    with pytest.raises(ScriptError, match="near '#'"):
        store.eval("#!lua name=x\nreturn 1", [], [])


def test_writes_before_an_error_stay(store: DragonflyRules) -> None:
    with pytest.raises(ScriptError, match="halfway"):
        store.eval("redis.call('HSET', KEYS[1], 'a', 1); error('halfway')", [KEY], [])
    assert store.eval("return redis.call('HGET', KEYS[1], 'a')", [KEY], []) == "1"


def test_call_raises_and_pcall_returns_the_error(store: DragonflyRules) -> None:
    with pytest.raises(ScriptError, match="WRONGTYPE"):
        store.eval("redis.call('HSET', KEYS[1], 'a', 1); redis.call('ZCARD', KEYS[1])", [KEY], [])
    script = "local reply = redis.pcall('ZCARD', KEYS[1]); return reply.err"
    assert "WRONGTYPE" in str(store.eval(script, [KEY], []))


def test_error_reply_raises_and_status_reply_returns(store: DragonflyRules) -> None:
    assert store.eval("return redis.status_reply('FINE')", [], []) == "FINE"
    with pytest.raises(ScriptError, match=r"^NOPE for a reason$"):
        store.eval("return redis.error_reply('NOPE for a reason')", [], [])


@pytest.mark.parametrize(
    "command",
    ["'GET', KEYS[1]", "'ZADD', KEYS[1], 'INCR', 1, 'a'", "'ZRANGE', KEYS[1], 0, 1, 'BYLEX'"],
)
def test_command_without_emulation_is_an_error(store: DragonflyRules, command: str) -> None:
    with pytest.raises(ScriptError, match=r"unknown command|syntax error"):
        store.eval(f"return redis.call({command})", [KEY], [])


def test_at_maxmemory_writes_fail_and_removals_work(store: DragonflyRules) -> None:
    store.eval("redis.call('ZADD', KEYS[1], 1, 'a')", [KEY], [])
    store.is_full = True
    with pytest.raises(ScriptError, match="ERR Out of memory"):
        store.eval("redis.call('ZADD', KEYS[1], 1, 'b')", [KEY], [])
    assert store.eval("return redis.call('ZREM', KEYS[1], 'a')", [KEY], []) == 1


def test_key_expires_by_the_clock_of_the_test(store: DragonflyRules) -> None:
    script = "redis.call('HSET', KEYS[1], 'a', 1); return redis.call('PEXPIRE', KEYS[1], 10)"
    assert store.eval(script, [KEY], []) == 1
    store.clock_us += 9_999
    assert store.eval("return redis.call('EXISTS', KEYS[1])", [KEY], []) == 1
    store.clock_us += 1
    assert store.eval("return redis.call('EXISTS', KEYS[1])", [KEY], []) == 0


def test_expiry_can_be_set_and_read_at_maxmemory(store: DragonflyRules) -> None:
    store.eval("redis.call('HSET', KEYS[1], 'a', 1)", [KEY], [])
    assert store.eval("return redis.call('PTTL', KEYS[1])", [KEY], []) == -1
    store.is_full = True
    store.eval("redis.call('PEXPIRE', KEYS[1], 1000)", [KEY], [])
    store.clock_us += 400_000
    assert store.eval("return redis.call('PTTL', KEYS[1])", [KEY], []) == 600
    store.clock_us += 600_000
    assert store.eval("return redis.call('PTTL', KEYS[1])", [KEY], []) == -2


def test_persisted_key_does_not_expire(store: DragonflyRules) -> None:
    store.eval("redis.call('HSET', KEYS[1], 'a', 1); redis.call('PEXPIRE', KEYS[1], 10)", [KEY], [])
    assert store.eval("return redis.call('PERSIST', KEYS[1])", [KEY], []) == 1
    store.clock_us += 1_000_000
    assert store.eval("return redis.call('EXISTS', KEYS[1])", [KEY], []) == 1


members = st.sampled_from(["a", "b", "c", "d"])
scores = st.sampled_from(["-1", "0", "1", "1.5", "2", "3e0", "inf", "1700000000123457"])
bounds = st.one_of(scores, scores.map(lambda s: f"({s}"), st.sampled_from(["-inf", "+inf"]))
ranks = st.integers(-7, 5).map(str)
limit = st.one_of(st.just(()), st.tuples(st.just("LIMIT"), ranks, ranks), st.just(("WITHSCORES",)))
zset_commands = st.one_of(
    st.tuples(
        st.just("ZADD"),
        st.sampled_from([(), ("NX",), ("XX",), ("GT",), ("LT",), ("CH",), ("XX", "GT", "CH")]),
        scores,
        members,
        scores,
        members,
    ),
    st.tuples(st.just("ZREM"), members, members),
    st.tuples(st.just("ZSCORE"), members),
    st.tuples(st.just("ZMSCORE"), members, members),
    st.tuples(st.just("ZRANK"), members),
    st.tuples(st.just("ZCARD")),
    st.tuples(st.just("ZCOUNT"), bounds, bounds),
    st.tuples(st.just("ZRANGE"), ranks, ranks, st.sampled_from([(), ("REV",), ("WITHSCORES",)])),
    st.tuples(st.just("ZRANGE"), bounds, bounds, st.just("BYSCORE"), limit),
    st.tuples(st.just("ZRANGE"), bounds, bounds, st.just(("BYSCORE", "REV")), limit),
    st.tuples(st.just("ZRANGEBYSCORE"), bounds, bounds, limit),
    st.tuples(st.just("ZPOPMIN"), st.sampled_from(["0", "1", "2"])),
    st.tuples(st.just("ZREMRANGEBYSCORE"), bounds, bounds),
    st.tuples(st.just("ZREMRANGEBYRANK"), ranks, ranks),
    st.tuples(st.sampled_from(["DEL", "EXISTS", "PERSIST"])),
)
values = st.sampled_from(["0", "7", "-3", "x"])
hash_commands = st.one_of(
    st.tuples(st.just("HSET"), members, values, members, values),
    st.tuples(st.just("HSETNX"), members, values),
    st.tuples(st.just("HGET"), members),
    st.tuples(st.just("HMGET"), members, members),
    st.tuples(st.just("HDEL"), members, members),
    st.tuples(st.just("HEXISTS"), members),
    st.tuples(st.just("HLEN")),
    st.tuples(st.just("HINCRBY"), members, st.sampled_from(["1", "-2"])),
    st.tuples(st.just("DEL")),
)


def flat(parts: tuple[str | tuple[str, ...], ...]) -> list[str]:
    return [word for part in parts for word in ([part] if isinstance(part, str) else part)]


def plain(reply: object) -> object:
    """A reply of either store with numbers as numbers, and any error as the word `error`."""
    if isinstance(reply, list):
        return [plain(each) for each in reply]
    text = reply.decode() if isinstance(reply, bytes) else reply
    try:
        return float(cast(str, text))
    except (TypeError, ValueError):
        return text


def reply_of(call: Callable[..., object], *args: object) -> object:
    try:
        return plain(call(*args))
    except (ScriptError, redis.ResponseError):
        return "error"


filled = st.permutations(["1", "1", "1.5", "2"]).map(
    lambda order: ["ZADD", *flat(tuple(zip(order, "abcd", strict=True)))]
)
of_one_kind = st.one_of(
    st.tuples(filled, st.lists(zset_commands.map(flat), min_size=1, max_size=10)),
    st.tuples(st.just(["HSET", "a", "7"]), st.lists(hash_commands.map(flat), max_size=10)),
    st.tuples(filled, st.lists(hash_commands.map(flat), max_size=2)),
)


@settings(max_examples=examples(500))
@given(commands=of_one_kind.map(lambda both: [both[0], *both[1]]))
def test_commands_reply_like_the_real_store(store_url: str, commands: list[list[str]]) -> None:
    script = "return redis.call(ARGV[1], KEYS[1], (table.unpack or unpack)(ARGV, 2))"
    key = f"gk:{{rules-{os.getpid()}}}:any"
    emulated = DragonflyRules()
    with redis.Redis.from_url(store_url) as real:
        real.delete(key)
        for command in commands:
            expected = reply_of(real.eval, script, 1, key, *command)
            assert reply_of(emulated.eval, script, [key], command) == expected, command
        real.delete(key)
