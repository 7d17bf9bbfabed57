"""The derived spans agree with each other whatever the operator configures."""

from dataclasses import fields, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.rules import Rules

SPAN_S = st.floats(0.001, 1_000_000)


@st.composite
def any_rules(draw: st.DrawFn) -> Rules:
    session_idle_timeout_s, session_absolute_timeout_s = draw(SPAN_S), draw(SPAN_S)
    assume(session_idle_timeout_s <= session_absolute_timeout_s)
    return Rules.of(
        RoomConfig.model_construct(
            **RoomConfig().model_dump()
            | {
                "session": session_idle_timeout_s,
                "session_absolute_timeout": session_absolute_timeout_s,
                "claim_timeout": draw(SPAN_S),
                "confirm_timeout": draw(SPAN_S),
                "heartbeat_timeout": draw(SPAN_S),
                "place_ttl": draw(SPAN_S),
            }
        )
    )


def test_rules_are_what_the_room_is_configured_to() -> None:
    room = RoomConfig()
    rules = Rules.of(room)
    assert (rules.room, rules.rate_per_minute) == (room.name, room.rate)
    for field in fields(Rules):
        if field.init and field.name not in {"room", "rate_per_minute"}:
            assert getattr(rules, field.name) == getattr(room, field.name.removesuffix("_s"))


@pytest.mark.parametrize(
    ("name", "value_s"),
    [
        ("pass_renewal_s", 60),
        ("ticket_renewal_s", 120),
        ("pass_life_s", 1860),
        ("ticket_life_s", 7320),
        ("unconfirmed_slot_s", 25),
        ("revoked_for_s", 14400),
        ("spent_for_s", 7320),  # the ticket outlives an idle session
        ("longest_poll_interval_s", 36),
    ],
)
def test_the_spans_derived_from_the_defaults(name: str, value_s: float) -> None:
    assert getattr(Rules.of(RoomConfig()), name) == value_s


@given(any_rules())
def test_a_pass_lives_for_session_after_any_use(rules: Rules) -> None:
    assert 0 < rules.pass_renewal_s < rules.session_idle_timeout_s
    assert rules.pass_life_s - rules.pass_renewal_s >= rules.session_idle_timeout_s * (1 - 1e-9)


@given(any_rules())
def test_a_ticket_lives_for_keep_place_after_any_poll(rules: Rules) -> None:
    assert 0 < rules.ticket_renewal_s < rules.place_ttl_s
    assert rules.ticket_life_s - rules.ticket_renewal_s >= rules.place_ttl_s * (1 - 1e-9)


@given(any_rules())
def test_no_token_outlives_the_memory_of_its_revocation(rules: Rules) -> None:
    assert rules.revoked_for_s >= rules.session_absolute_timeout_s
    assert rules.revoked_for_s >= rules.ticket_life_s


@given(any_rules())
def test_a_ticket_that_could_outlive_its_session_is_remembered_as_spent(rules: Rules) -> None:
    # The ticket was issued when it was spent at the latest, and the slot lasts for the session.
    assert rules.session_idle_timeout_s + rules.spent_for_s >= rules.ticket_life_s


@given(any_rules())
def test_an_unproven_slot_lasts_longer_than_the_gate_relies_on_it(rules: Rules) -> None:
    assert rules.unconfirmed_slot_s <= rules.pass_life_s
    assert rules.unconfirmed_slot_s > rules.confirm_timeout_s or (
        rules.unconfirmed_slot_s == rules.pass_life_s
    )


@given(any_rules(), st.floats(1, 3600))
def test_three_polls_fit_in_abandon_after_and_in_claim_within(
    rules: Rules, longest_s: float
) -> None:
    rules = replace(rules, poll_interval_max_s=longest_s)
    assert 1 <= rules.longest_poll_interval_s <= longest_s
    for within_s in (rules.heartbeat_timeout_s, rules.claim_timeout_s):
        assert (
            rules.longest_poll_interval_s == 1
            or 2.5 * rules.longest_poll_interval_s <= within_s * (1 + 1e-9)
        )
