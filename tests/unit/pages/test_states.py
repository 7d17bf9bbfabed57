"""The table of states: it is complete, consistent, and the only source for template and script."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import pytest

from gatekeeper.pages.assets import built_in
from gatekeeper.pages.renderer import Pages
from gatekeeper.pages.samples import SAMPLE_VIEWS
from gatekeeper.pages.states import (
    SCRIPT_ROWS,
    STATE_ROWS,
    PageState,
    WaitingState,
    names_with,
    problem_state,
    stack,
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


@pytest.mark.parametrize("reason", get_args(Reason))
def test_unknown_position_leads_to_reconnecting(reason: Reason) -> None:
    assert state_of(reason, has_position=False) == "reconnecting"


def test_server_states_are_the_rows_with_a_reason() -> None:
    assert {row.name for row in ROWS if row.reason} == set(get_args(WaitingState))
    assert SAMPLE_VIEWS.keys() == set(get_args(WaitingState))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_is_consistent(row: PageState) -> None:
    assert row.label
    assert row.lead
    assert (row.reload is not None) == (row.poll == "reload")
    assert (row.action != "none") == (row.poll == "stop")
    assert row.place != "none" or not row.eta
    if row.reload is not None:
        assert STATE_ROWS[row.reload.otherwise].action != "none"
        assert 0 <= row.reload.min_delay_s <= row.reload.max_delay_s


@pytest.mark.parametrize("part", PARTS)
def test_stack_shows_one_text_per_state(part: str) -> None:
    names = [name for each in stack(part) for name in each.names.split()]  # type: ignore[arg-type]
    assert sorted(names) == sorted(STATE_ROWS)


def test_names_with_selects_states_by_their_rows() -> None:
    assert names_with(action="enter") == "enter"
    assert names_with(place=("live", "muted")) == "waiting held full ended reconnecting"
    assert names_with(progress="complete") == "admitted enter"


def test_script_receives_the_rows_of_the_table() -> None:
    page = Pages().waiting(SAMPLE_VIEWS["held"]).body.decode()
    found = re.search(r"data-states='([^']*)'", page)
    assert found is not None
    assert json.loads(found[1]) == SCRIPT_ROWS
    known = {field.name for field in fields(PageState)}
    assert all(row.keys() <= known for row in SCRIPT_ROWS.values())


def test_template_and_script_decide_by_rows_not_by_names() -> None:
    """Neither compares the current state with a name."""
    template = Path(built_in("templates"), "waiting.html").read_text("utf-8")
    script = Path(built_in("static"), "waiting.js").read_text("utf-8")
    names = "|".join(STATE_ROWS)
    assert re.findall(rf"\bstate\b\s*(?:==|!=|in)\s*\S*(?:{names})\b", template) == []
    assert re.findall(rf"\bstate\s*[!=]==\s*\"(?:{names})\"", script) == []


@pytest.mark.parametrize("name", SAMPLE_VIEWS)
def test_page_shows_the_wait_only_where_the_row_says_so(name: WaitingState) -> None:
    view = replace(SAMPLE_VIEWS[name], eta_seconds=154)
    page = Pages().waiting(view).body.decode()
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
