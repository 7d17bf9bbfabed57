"""The derived durations are consistent for every configuration."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.rules import Rules

SPAN_S = st.floats(0.001, 1_000_000)


@st.composite
def any_rules(draw: st.DrawFn) -> Rules:
    session_idle_timeout_s, session_absolute_timeout_s = sorted((draw(SPAN_S), draw(SPAN_S)))
    return Rules.of(
        RoomConfig.model_construct(
            **RoomConfig().model_dump()
            | {
                "session_idle_timeout": session_idle_timeout_s,
                "session_absolute_timeout": session_absolute_timeout_s,
                "claim_timeout": draw(SPAN_S),
                "confirm_timeout": draw(SPAN_S),
                "heartbeat_timeout": draw(SPAN_S),
                "place_ttl": draw(SPAN_S),
            }
        )
    )


def test_rules_follow_the_configuration() -> None:
    room = RoomConfig()
    rules = Rules.of(room)
    assert (rules.room, rules.rate_per_minute) == (room.name, room.rate)
    assert (rules.autotune is not None) is room.autotune
    for field in fields(Rules):
        is_key = not field.name.startswith("earlier_")
        if field.init and is_key and field.name not in {"room", "rate_per_minute", "autotune"}:
            assert getattr(rules, field.name) == getattr(room, field.name.removesuffix("_s"))


@pytest.mark.parametrize(
    ("name", "value_s"),
    [
        ("pass_renewal_s", 60),
        ("pass_renewal_deadline_s", 900),
        ("ticket_renewal_s", 120),
        ("pass_life_s", 1860),
        ("ticket_life_s", 7320),
        ("unconfirmed_slot_s", 25),
        ("revoked_for_s", 14400),
        ("spent_for_s", 7320),  # the ticket outlives an idle session
        ("longest_poll_interval_s", 36),
    ],
)
def test_spans_derived_from_the_defaults(name: str, value_s: float) -> None:
    assert getattr(Rules.of(RoomConfig()), name) == value_s


@given(any_rules())
def test_pass_lives_for_the_idle_timeout_after_any_use(rules: Rules) -> None:
    assert 0 < rules.pass_renewal_s < rules.session_idle_timeout_s
    assert rules.pass_life_s - rules.pass_renewal_s >= rules.session_idle_timeout_s * (1 - 1e-9)


@given(any_rules())
def test_ticket_lives_for_place_ttl_after_any_poll(rules: Rules) -> None:
    assert 0 < rules.ticket_renewal_s < rules.place_ttl_s
    assert rules.ticket_life_s - rules.ticket_renewal_s >= rules.place_ttl_s * (1 - 1e-9)


@given(any_rules())
def test_revocation_outlives_every_token(rules: Rules) -> None:
    assert rules.revoked_for_s >= rules.session_absolute_timeout_s
    assert rules.revoked_for_s >= rules.ticket_life_s


@given(any_rules())
def test_ticket_outliving_its_session_is_remembered(rules: Rules) -> None:
    # The ticket was issued not later than it was spent, and the slot lasts for the session.
    assert rules.session_idle_timeout_s + rules.spent_for_s >= rules.ticket_life_s


@given(any_rules(), any_rules(), any_rules())
def test_tokens_of_earlier_rules_are_remembered_after_a_change(
    first: Rules, second: Rules, third: Rules
) -> None:
    """A shorter `place_ttl` or session must not shorten the record of earlier tickets and
    passes."""
    rules = Rules.of(room_of(third), after=Rules.of(room_of(second), after=first))
    for each in (first, second, third):
        assert rules.revoked_for_s >= each.revoked_for_s
        assert rules.session_idle_timeout_s + rules.spent_for_s >= each.ticket_life_s


def room_of(rules: Rules) -> RoomConfig:
    spans = (
        "session_idle_timeout",
        "session_absolute_timeout",
        "claim_timeout",
        "confirm_timeout",
        "heartbeat_timeout",
        "place_ttl",
    )
    return RoomConfig().model_copy(update={name: getattr(rules, f"{name}_s") for name in spans})


@given(any_rules())
def test_unconfirmed_slot_outlasts_its_pass(rules: Rules) -> None:
    assert rules.unconfirmed_pass_s == min(rules.confirm_timeout_s, rules.pass_life_s)
    assert rules.unconfirmed_slot_s == rules.unconfirmed_pass_s + 5


@given(any_rules(), st.floats(1, 3600))
def test_two_polls_fit_in_heartbeat_and_claim_timeout(rules: Rules, longest_s: float) -> None:
    rules = replace(rules, poll_interval_max_s=longest_s)
    assert 1 <= rules.longest_poll_interval_s <= longest_s
    for within_s in (rules.heartbeat_timeout_s, rules.claim_timeout_s):
        assert (
            rules.longest_poll_interval_s == 1
            or 2.5 * rules.longest_poll_interval_s <= within_s * (1 + 1e-9)
        )
