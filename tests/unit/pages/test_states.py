"""The table of states: it is complete, consistent, and the only source for template and script."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import pytest

from gatekeeper.pages.assets import Assets, built_in
from gatekeeper.pages.page_state import PageState
from gatekeeper.pages.problem_states import problem_state
from gatekeeper.pages.renderer import Pages
from gatekeeper.pages.samples import SAMPLE_VIEWS
from gatekeeper.pages.state_texts import names_with, reachable_rows, script_rows, stack
from gatekeeper.pages.states import (
    STATE_ROWS,
    StateWithoutPlace,
    WaitingState,
    state_of,
)
from gatekeeper.policy.phase import Reason

ROWS = list(STATE_ROWS.values())
PARTS = ("label", "heading", "lead")


@pytest.mark.parametrize("reason", get_args(Reason))
def test_every_reason_leads_to_a_polling_state(reason: Reason) -> None:
    row = STATE_ROWS[state_of(reason, has_position=True)]
    assert row.reason == reason
    assert row.poll == "interval"


@pytest.mark.parametrize(
    ("reason", "with_position", "without"),
    [
        ("line", "waiting", "reconnecting"),
        ("ended", "ended", "reconnecting"),
        ("before", "closed", "reconnecting"),
        ("prequeue", "prequeue_place", "prequeue"),
        ("draw", "draw", "draw"),
    ],
)
def test_state_that_shows_a_place_needs_a_position(
    reason: Reason, with_position: str, without: str
) -> None:
    assert state_of(reason, has_position=True) == with_position
    assert state_of(reason, has_position=False) == without


@pytest.mark.parametrize("reason", get_args(Reason))
@pytest.mark.parametrize("has_position", [True, False])
def test_newcomer_of_a_prequeue_is_only_joining(reason: Reason, *, has_position: bool) -> None:
    """No page states that its visitor takes part before the ticket was returned."""
    known = state_of(reason, has_position=has_position)
    new = state_of(reason, has_position=has_position, is_new=True)
    assert new == ("joining" if reason == "prequeue" else known)
    for state in get_args(WaitingState):
        reachable = {row.name for row in reachable_rows(state, has_event=True)}
        assert ("joining" in reachable) == (state == "joining")


def test_server_states_are_the_rows_that_a_status_leads_to() -> None:
    without_place = {row.name for row in ROWS if row.poll == "renew"}
    assert without_place == set(get_args(StateWithoutPlace))
    led_to = {row.name for row in ROWS if row.reason} | {"joining"}
    assert led_to | without_place == set(get_args(WaitingState))
    assert SAMPLE_VIEWS.keys() == set(get_args(WaitingState))
    assert {name: view.state for name, view in SAMPLE_VIEWS.items()} == {
        name: name for name in SAMPLE_VIEWS
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_is_consistent(row: PageState) -> None:
    assert row.label
    assert row.lead
    assert (row.reload is not None) == (row.poll == "reload")
    assert (row.action != "none") == (row.poll == "stop")
    assert row.place != "none" or not row.eta
    assert not row.is_of_event or row.poll == "interval"
    assert row.poll != "renew" or row.heading
    assert (row.alert == "turn") == (row.poll == "interval")
    if row.reload is not None:
        assert STATE_ROWS[row.reload.otherwise].action != "none"
        assert 0 <= row.reload.min_delay_s <= row.reload.max_delay_s


@pytest.mark.parametrize("part", PARTS)
def test_stack_shows_one_text_per_state(part: str) -> None:
    rows = tuple(ROWS)
    names = [name for each in stack(rows, part) for name in each.names.split()]
    assert sorted(names) == sorted(STATE_ROWS)


def test_names_with_selects_states_by_their_rows() -> None:
    assert names_with(action="enter") == "enter"
    assert names_with(alert="opening") == "before"
    assert names_with(progress="complete") == "admitted enter"


def test_page_has_the_rows_that_its_script_can_reach() -> None:
    of_event = {row.name for row in ROWS if row.is_of_event}
    without_place = {row.name for row in ROWS if row.poll == "renew"}
    names = {row.name for row in reachable_rows("held", has_event=False)}
    assert names == STATE_ROWS.keys() - of_event - without_place - {"challenge", "joining"}
    names = {row.name for row in reachable_rows("prequeue", has_event=True)}
    assert names == STATE_ROWS.keys() - without_place - {"challenge", "joining"}
    names = {row.name for row in reachable_rows("challenge", has_event=True)}
    assert names == STATE_ROWS.keys() - without_place - {"joining"}
    assert [row.name for row in reachable_rows("before", has_event=True)] == ["before"]


@pytest.mark.parametrize("state", SAMPLE_VIEWS)
def test_script_receives_the_rows_of_the_table(state: WaitingState, pages: Pages) -> None:
    view = SAMPLE_VIEWS[state]
    if view.without_place:
        assert b"data-states" not in pages.waiting(view).body
        return
    found = re.search(r"data-states='([^']*)'", pages.waiting(view).body.decode())
    assert found is not None
    rows = reachable_rows(state, has_event=view.event is not None)
    assert json.loads(found[1]) == script_rows(rows)
    known = {field.name for field in fields(PageState)} | {"isOfEvent"}
    assert all(row.keys() <= known for row in script_rows(rows).values())


def test_template_and_script_decide_by_rows_not_by_names() -> None:
    """Neither compares the current state with a name."""
    template = Path(built_in("templates"), "waiting.html").read_text("utf-8")
    script = Assets(overrides=None, prefix="/").text("waiting.js")
    names = "|".join(STATE_ROWS)
    assert re.findall(rf"\bstate\b\s*(?:==|!=|in)\s*\S*(?:{names})\b", template) == []
    assert re.findall(rf"\bstate\s*[!=]==\s*\"(?:{names})\"", script) == []


@pytest.mark.parametrize("name", SAMPLE_VIEWS)
def test_page_shows_the_wait_only_where_the_row_says_so(name: WaitingState, pages: Pages) -> None:
    view = replace(SAMPLE_VIEWS[name], eta_seconds=154)
    page = pages.waiting(view).body.decode()
    assert ("2–4 minutes" in page) == STATE_ROWS[name].eta
    assert f'data-place="{STATE_ROWS[name].place}"' in page


@pytest.mark.parametrize(
    ("status", "retries", "name"),
    [
        (502, True, "unavailable"),
        (504, True, "unavailable"),
        (502, False, "failed"),
        (500, False, "failed"),
        (404, False, "missing"),
        (403, False, "denied"),
        (400, False, "rejected"),
        (405, False, "rejected"),
    ],
)
def test_problem_state_follows_status_and_retry(status: int, retries: bool, name: str) -> None:
    assert problem_state(status, retries=retries).name == name
