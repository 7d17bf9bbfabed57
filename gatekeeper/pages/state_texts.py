"""The table of states in the format of the template and the script.

Rules: pure. A page contains only the rows that its script can reach. Without an event it lacks the
rows of events: the script reloads the page when an event is announced. A page without a place
contains only its own row: it never changes, but reloads itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from gatekeeper.pages.page_state import PageState
from gatekeeper.pages.states import STATE_ROWS


@dataclass(frozen=True, slots=True)
class StateText:
    """One text of a stack, and the states that show it."""

    text: str  # "": the room's title
    names: str  # separated by spaces
    in_line: bool
    tone: str

    @property
    def css_class(self) -> str:
        return " ".join(name for name in ("line" if self.in_line else "", self.tone) if name)


@cache
def reachable_rows(state: str, *, has_event: bool) -> tuple[PageState, ...]:
    """The rows of a page that is rendered in `state`, in the order of the table."""
    if STATE_ROWS[state].poll == "renew":
        return (STATE_ROWS[state],)
    rows = [row for row in STATE_ROWS.values() if row.poll != "renew"]
    for name in {"challenge", "joining"} - {state}:  # a confirmed ticket stays confirmed
        rows.remove(STATE_ROWS[name])
    return tuple(row for row in rows if has_event or not row.is_of_event)


@cache
def stack(
    rows: tuple[PageState, ...], part: Literal["label", "heading", "lead"]
) -> tuple[StateText, ...]:
    """All texts of one part, each once, in the order of the rows. Only labels have a tone."""
    groups: dict[tuple[str, bool, str], list[str]] = {}
    for row in rows:
        key = (getattr(row, part), row.poll == "interval", row.tone if part == "label" else "")
        groups.setdefault(key, []).append(row.name)
    return tuple(
        StateText(text, " ".join(names), in_line=in_line, tone=tone)
        for (text, in_line, tone), names in groups.items()
    )


def names_with(**values: object) -> str:
    """The states whose rows have one of these values, separated by spaces.

    `names_with(action="enter")`; of several values a tuple: `names_with(place=("live", "muted"))`.
    """
    rows = STATE_ROWS.values()
    return " ".join(row.name for row in rows if all(_has(row, *each) for each in values.items()))


def _has(row: PageState, field: str, wanted: object) -> bool:
    value = getattr(row, field)
    return value in wanted if isinstance(wanted, tuple) else value == wanted


def _script_row(row: PageState) -> Iterator[tuple[str, object]]:
    yield from (
        (name, getattr(row, name))
        for name in ("place", "eta", "speed", "poll", "icon", "announced", "politeness")
    )
    if row.reason is not None:
        yield "reason", row.reason
    if row.is_of_event:
        yield "isOfEvent", True
    if row.reload is not None:
        yield (
            "reload",
            {
                "most": row.reload.most,
                "counter": row.reload.counter,
                "otherwise": row.reload.otherwise,
                "minDelayS": row.reload.min_delay_s,
                "maxDelayS": row.reload.max_delay_s,
            },
        )


def script_rows(rows: tuple[PageState, ...]) -> dict[str, dict[str, object]]:
    """The data of the rows for `static/waiting.js`, by state."""
    return {row.name: dict(_script_row(row)) for row in rows}
