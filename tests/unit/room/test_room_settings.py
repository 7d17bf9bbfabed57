"""The settings in force: those of the file, with the overrides of the room's state."""

from dataclasses import replace

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.settings import change_settings, parse_changes
from gatekeeper.room.room_settings import RoomSettings
from gatekeeper.room.view import ReplicaView
from tests.builders import room_state


def overrides(file: RoomConfig, **changes: object) -> str:
    return change_settings(file, "", parse_changes(changes)).overrides


@pytest.fixture
def settings() -> RoomSettings:
    return RoomSettings(RoomConfig(max_active=10))


def test_overrides_replace_config_and_rules_together(settings: RoomSettings) -> None:
    before = settings.config, settings.rules
    settings.receive(overrides(settings.file, max_active=300, title="Sale"))
    assert (settings.config.title, settings.rules.max_active) == ("Sale", 300)
    settings.receive("")
    assert settings.config == before[0]
    assert settings.rules.max_active == before[1].max_active


def test_change_is_reported_once_and_only_if_it_has_an_effect(settings: RoomSettings) -> None:
    seen: list[int] = []
    settings.on_change = lambda: seen.append(settings.rules.max_active)
    text = overrides(settings.file, max_active=300)
    for state in (text, text, "not valid", "", '{"max_active":[9,8]}'):
        settings.receive(state)
    assert seen == [300, 10]


def test_file_read_again_ends_the_overrides_of_changed_keys(settings: RoomSettings) -> None:
    settings.receive(overrides(settings.file, max_active=300, burst=3))
    settings.configure(RoomConfig(max_active=20))
    assert (settings.rules.max_active, settings.rules.burst) == (20, 3)
    settings.configure(RoomConfig(max_active=10))
    assert settings.rules.max_active == 300, "until an operator's gate has dropped it"


def test_shorter_lives_do_not_forget_tokens_issued_before(settings: RoomSettings) -> None:
    life_s = settings.rules.ticket_life_s
    settings.receive(overrides(settings.file, place_ttl="3m"))
    assert settings.rules.ticket_life_s < life_s
    assert settings.rules.spent_for_s >= life_s


def test_view_reports_the_overrides_of_every_newer_state() -> None:
    view, seen = ReplicaView(), list[str]()
    view.on_settings = lambda overrides, _event: seen.append(overrides)
    state = room_state()
    view.update_from_store(replace(state, overrides="a"))
    view.update_from_replica(replace(state, version=2, overrides="b"), sent_at_s=0)
    view.update_from_replica(replace(state, version=1, overrides="c"), sent_at_s=0)
    assert seen == ["a", "b"]
