"""Settings that operators change live: parsing, overrides and their end with the file's value."""

import json

import pytest

from gatekeeper.config.schema import LIVE_KEYS, RoomConfig
from gatekeeper.config.settings import (
    change_event_settings,
    change_settings,
    effective_config,
    parse_changes,
    settings_of,
    spelled_value,
    value_of_text,
)
from gatekeeper.errors import ConfigError


def room(**keys: object) -> RoomConfig:
    return RoomConfig.model_validate(keys)


def overrides(file: RoomConfig, before: str = "", **changes: object) -> str:
    return change_settings(file, before, parse_changes(changes)).overrides


def problems_of(changes: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse_changes(changes)
    return refused.value.problems


def test_live_keys_are_those_of_the_reference() -> None:
    assert set(LIVE_KEYS) == {
        "rate",
        "burst",
        "max_active",
        "session_idle_timeout",
        "session_absolute_timeout",
        "claim_timeout",
        "confirm_timeout",
        "heartbeat_timeout",
        "place_ttl",
        "queue_limit",
        "autotune",
        "autotune_min",
        "autotune_max",
        "autotune_latency",
        "autotune_errors",
        "concurrent",
        "poll_interval_max",
        "newcomers_per_address",
        "challenge",
        "challenge_difficulty",
        "title",
        "message",
    }


def test_overrides_change_the_configuration_in_force() -> None:
    file = room(max_active=10)
    text = overrides(file, max_active=300, place_ttl="90m", title="Sale")
    in_force = effective_config(file, text)
    assert (in_force.max_active, in_force.place_ttl, in_force.title) == (300, 5400.0, "Sale")
    assert in_force.model_copy(update={"max_active": 10, "place_ttl": 7200.0}) == file.model_copy(
        update={"title": "Sale"}
    )


def test_overrides_have_one_spelling() -> None:
    """Two operators that set the same values in any spelling and order write the same text."""
    file = room()
    one = overrides(file, overrides(file, place_ttl="90m"), burst=3)
    other = overrides(file, burst=3, place_ttl="1h30m")
    assert one == other == '{"burst":[3,10],"place_ttl":["1h30m","2h"]}'


def test_override_ends_when_the_value_in_the_file_changes() -> None:
    text = overrides(room(max_active=10, burst=2), max_active=300, burst=4)
    changed = room(max_active=20, burst=2)
    assert effective_config(changed, text).max_active == 20
    assert effective_config(changed, text).burst == 4, "the other key was not changed in the file"
    # The next change deletes it, so that it does not return with the old value of the file.
    assert (
        overrides(changed, text, title="Sale")
        == '{"burst":[4,2],"title":["Sale","You are in line"]}'
    )


@pytest.mark.parametrize("reset", [None, ""])
def test_empty_value_returns_to_the_file(reset: object) -> None:
    file = room(max_active=10)
    text = overrides(file, max_active=300, burst=4)
    assert overrides(file, text, max_active=reset) == '{"burst":[4,10]}'
    assert overrides(file, text, max_active=reset, burst=reset) == ""


def test_value_of_the_file_is_no_override() -> None:
    assert overrides(room(place_ttl="2h"), place_ttl="120m") == ""


def test_rate_and_message_are_reported_apart_from_the_overrides() -> None:
    changes = parse_changes({"rate": "8/s", "message": " Soon ", "burst": 5})
    change = change_settings(room(), "", changes)
    assert (change.rate_per_minute, change.message) == (480.0, "Soon")
    assert change.overrides == '{"burst":[5,10]}'
    assert change.after == {"rate": "480/min", "message": "Soon", "burst": 5}


def test_empty_message_is_a_message_and_none_is_that_of_the_file() -> None:
    file = room(message="Welcome", rate="60/min")
    assert change_settings(file, "", parse_changes({"message": ""})).message == ""
    change = change_settings(file, "", parse_changes({"message": None, "rate": None}))
    assert (change.message, change.rate_per_minute) == ("Welcome", 60.0)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("rate", "fast", 'rate: "fast" is not a rate; expected e.g. "500/min" or "8/s"'),
        ("rate", 500, 'rate: 500 is not a rate; expected e.g. "500/min" or "8/s"'),
        ("max_active", "300", 'max_active: "300" is not a whole number; expected e.g. 10'),
        ("max_active", -1, "max_active: -1 is too small; expected at least 0"),
        ("max_active", True, "max_active: true is not a whole number; expected e.g. 10"),
        ("max_active", 1e3, "max_active: 1000.0 is not a whole number; expected e.g. 10"),
        ("burst", 0, "burst: 0 is too small; expected at least 1"),
        ("place_ttl", "0", 'place_ttl: "0" is too short; expected at least "2s": a ticket is'),
        ("claim_timeout", "1ms", 'claim_timeout: "1ms" is too short; expected at least "2s"'),
        ("heartbeat_timeout", "1s", 'heartbeat_timeout: "1s" is too short; expected at least "2s"'),
        ("confirm_timeout", "2h", 'confirm_timeout: "2h" is too long; expected at most "1h"'),
        ("message", "a\nb", "message: has a line break or a control character"),
        ("status", 200, "status: cannot be changed here; expected a change of the file"),
        ("name", "x", "name: cannot be changed here; expected a change of the file"),
        ("max_actve", 3, "max_actve: unknown setting; expected max_active"),
        ("keep_place", "1h", "keep_place: renamed; use place_ttl"),
        ("prove_within", None, "prove_within: renamed; use confirm_timeout"),
        ("__class__", 3, "__class__: unknown setting; expected one of rate, burst"),
        ("autotune", "yes", 'autotune: "yes" is not a boolean; expected true or false'),
        ("autotune", 1, "autotune: 1 is not a boolean; expected true or false"),
        ("autotune_min", "0", "autotune_min: 0 admits nobody and cannot rise; expected e.g."),
        ("autotune_latency", "0", 'autotune_latency: 0s is too short; expected at least "1ms"'),
        ("autotune_errors", 1.01, "autotune_errors: 1.01 is not a share; expected 0 to 1"),
        ("autotune_errors", "-1", 'autotune_errors: "-1" is not a share; expected 0 to 1'),
        ("autotune_errors", "200%", 'autotune_errors: "200%" is not a share; expected 0 to 1'),
        ("autotune_errors", True, "autotune_errors: true is not a share; expected 0 to 1"),
        ("title", "x\x00y", "title: has a line break or a control character"),
    ],
)
def test_bad_value_names_field_problem_and_expectation(
    key: str, value: object, problem: str
) -> None:
    [found] = problems_of({key: value})
    assert found.startswith(problem)


def test_every_problem_is_reported_at_once() -> None:
    assert len(problems_of({"rate": "fast", "burst": 0, "x": 1, "title": "fine"})) == 3
    assert problems_of({}) == ["no setting; expected at least one, e.g. rate=800/min"]


def test_keys_that_conflict_are_refused_together() -> None:
    """The combination of new values, earlier overrides and the file counts."""
    file = room(session_idle_timeout="30m", session_absolute_timeout="4h")
    text = overrides(file, session_idle_timeout="5h", session_absolute_timeout="6h")
    for before, changes in (
        ("", {"session_idle_timeout": "5h"}),
        (text, {"session_absolute_timeout": "4h30m"}),
        (text, {"session_absolute_timeout": None}),
    ):
        with pytest.raises(ConfigError, match=r"session_absolute_timeout: .*is shorter than"):
            overrides(file, before, **changes)


def test_override_that_conflicts_with_a_changed_file_is_left_out() -> None:
    text = overrides(room(), session_absolute_timeout="40m", burst=3)
    in_force = effective_config(room(session_idle_timeout="1h"), text)
    assert in_force == room(session_idle_timeout="1h", burst=3)


def test_override_is_left_out_until_nothing_conflicts() -> None:
    """Without its heartbeat_timeout, the place_ttl of an override conflicts with the file."""
    text = json.dumps(
        {
            "heartbeat_timeout": ["3h", "1m30s"],
            "claim_timeout": ["4m", "2m"],
            "place_ttl": ["3m", "2h"],
            "burst": [3, 10],
        }
    )
    assert effective_config(room(), text) == room(burst=3)


@pytest.mark.parametrize("stale", ['{"claim_timeout":["1s","2m"]}', '{"place_ttl":["1m","2h"]}'])
def test_override_that_is_not_in_force_does_not_hinder_a_change(stale: str) -> None:
    """A release with other bounds has set it, so it is dropped."""
    assert overrides(room(), stale, burst=3) == '{"burst":[3,10]}'


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "3",
        '"burst"',
        '{"burst":3}',
        '{"burst":[3]}',
        '{"burst":["many",10]}',
        '{"burst":[0,10]}',
        '{"name":["other","default"]}',
        '{"path":[["/x"],"/"]}',
        '{"status":[200,503]}',
        '{"rate":["1/min","500/min"]}',
        '{"burst":[[],10]}',
        "[" * 100_000,
        json.dumps({"title": ["x" * 9000, "You are in line"]}),
    ],
)
def test_overrides_that_are_not_valid_are_left_out(text: str) -> None:
    assert effective_config(room(), text) == room()
    assert overrides(room(), text, burst=7) == '{"burst":[7,10]}'


def test_every_setting_shows_its_value_and_that_of_the_file() -> None:
    file = room(rate="90/min", session_idle_timeout="90s", max_active=5)
    in_force = file.model_copy(update={"max_active": 7, "rate": 0.0})
    shown = {each.key: each for each in settings_of(file, in_force)}
    assert list(shown) == list(LIVE_KEYS)
    assert (shown["max_active"].value, shown["max_active"].file) == (7, 5)
    assert (shown["rate"].value, shown["rate"].file) == ("0", "90/min")
    assert shown["session_idle_timeout"].value == "1m30s"
    assert [each.key for each in shown.values() if each.is_live] == ["rate", "max_active"]


@pytest.mark.parametrize(
    "value", ["2500ms", "1500ms", "90s", "1h30m", "366d", "1d2h3m4s5ms", "1.5s", "36s"]
)
def test_spelled_duration_is_read_back_exactly(value: str) -> None:
    config = room(poll_interval_max=value)
    assert room(poll_interval_max=spelled_value(config, "poll_interval_max")) == config


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("1/h", "1/h"),
        ("100/h", "100/h"),
        ("30/h", "0.5/min"),
        ("60/h", "1/min"),
        ("0.5/min", "0.5/min"),
        ("33.3/min", "33.3/min"),
        ("8/s", "480/min"),
        ("0.001/h", "0.001/h"),
    ],
)
def test_rate_is_spelled_by_the_unit_that_suits_it(given: str, spelled: str) -> None:
    assert spelled_value(room(rate=given), "rate") == spelled


@pytest.mark.parametrize("value", ["0", "1/h", "0.001/h", "8/s", "1000000/s", "33.3/min"])
def test_spelled_rate_is_read_back_closely(value: str) -> None:
    config = room(rate=value)
    again = room(rate=spelled_value(config, "rate"))
    assert again.rate == pytest.approx(config.rate, rel=1e-9)
    assert spelled_value(again, "rate") == spelled_value(config, "rate")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("rate", "800/min", "800/min"),
        ("max_active", "300", 300),
        ("max_active", "many", "many"),
        ("title", "300", "300"),
        ("message", 'We "open"', 'We "open"'),
        ("message", "", None),
        ("max_active", "", None),
        ("autotune", "true", True),
        ("autotune", "false", False),
        ("autotune_errors", "0.05", "0.05"),
        ("autotune_latency", "250ms", "250ms"),
    ],
)
def test_text_of_the_command_line_becomes_a_value(key: str, text: str, value: object) -> None:
    assert value_of_text(key, text) == value


@pytest.mark.parametrize(("given", "share"), [(0, 0.0), (1, 1.0), ("5%", 0.05), ("0.05", 0.05)])
def test_share_is_a_number_or_a_percentage(given: object, share: float) -> None:
    assert parse_changes({"autotune_errors": given}) == {"autotune_errors": share}


@pytest.mark.parametrize(
    ("rate", "is_refused"),
    [("30/min", False), ("300/min", False), ("29/min", True), ("301/min", True), ("0", False)],
)
def test_rate_that_autotune_would_change_at_once_is_refused(rate: str, is_refused: bool) -> None:
    """Within the bounds, autotune continues from the rate; 0 pauses the room."""
    file = room(autotune=True, autotune_max="300/min")
    changes = parse_changes({"rate": rate})
    if not is_refused:
        assert change_settings(file, "", changes).rate_per_minute is not None
        return
    with pytest.raises(ConfigError) as refused:
        change_settings(file, "", changes)
    bounds = 'expected "30/min" to "300/min", or autotune=false'
    assert bounds in refused.value.problems[0]
    with pytest.raises(ConfigError):
        change_event_settings(file, {}, changes)
    off = changes | {"autotune": False}
    assert change_settings(file, "", off).rate_per_minute is not None


def test_bounds_that_cross_are_refused() -> None:
    file = room()
    assert problems_of_change(file, {"autotune_max": "20/min"}) == [
        'autotune_max: "20/min" is below autotune_min; expected at least "30/min"'
    ]
    assert change_settings(
        file, "", parse_changes({"autotune_max": "20/min", "autotune_min": "10/min"})
    ).overrides


def test_autotune_of_a_gate_that_forwards_nothing_is_refused() -> None:
    file = room().without_origin()
    [problem] = problems_of_change(file, {"autotune": True})
    assert problem.startswith('autotune: true while origin.url is "none"')
    assert change_settings(file, "", parse_changes({"autotune_max": "900/min"})).overrides


def problems_of_change(file: RoomConfig, changes: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        change_settings(file, "", parse_changes(changes))
    return refused.value.problems


@pytest.mark.parametrize(
    ("event", "is_refused"),
    [
        ({}, True),
        ({"autotune_max": "3000/min"}, False),
        ({"autotune": False}, False),
        ({"autotune_max": "1900/min"}, True),
    ],
)
def test_rate_is_within_the_bounds_of_the_event_that_runs(
    event: dict[str, str | float], is_refused: bool
) -> None:
    """As for `gatekeeper rate`."""
    file = room(autotune=True, autotune_max="300/min")
    changes = parse_changes({"rate": "2000/min"})
    if is_refused:
        with pytest.raises(ConfigError, match="outside of autotune_min and autotune_max"):
            change_settings(file, "", changes, event=event)
    else:
        assert change_settings(file, "", changes, event=event).rate_per_minute == 2000
