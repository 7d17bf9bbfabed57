"""The states of the public pages, and what each of them shows: one row per state.

Rules: pure. The template renders a state by its row, and the script receives the rows as JSON
(`SCRIPT_ROWS`), so server and script cannot differ. A new state is one more row here; neither the
template nor the script names a state to decide what is shown.

A row without a text of its own says nothing: the heading of a row without one is the room's title,
the lead of a problem without one is the message of the gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from gatekeeper.pages.languages import N_
from gatekeeper.policy.phase import Reason

# The states that the server renders; the script reaches the others.
WaitingState = Literal["waiting", "held", "full", "ended", "reconnecting"]


@dataclass(frozen=True, slots=True)
class Reload:
    """When a page loads itself again, and which state follows when that does not help."""

    most: int  # reloads within a minute, counted per tab under `counter`
    counter: Literal["admitted", "lost"]
    otherwise: str
    min_delay_s: float = 0.0
    max_delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PageState:
    """One row: the words of a state, and what stands beside them."""

    name: str
    label: str = ""  # the short line above the heading
    heading: str = ""  # "": the room's title
    lead: str = ""  # "": the message of the gate
    reason: Reason | None = None  # of the status that leads here
    # The visitor's place. `muted`: the last known one. `none`: the page shows no place at all.
    place: Literal["live", "muted", "none"] = "none"
    eta: bool = False  # whether an estimated wait is shown; otherwise "not known yet"
    speed: Literal["rate", "stopped", "unknown"] = "unknown"  # how fast the line moves
    progress: Literal["bar", "complete", "none"] = "none"
    # `interval`: the script polls for the place. `reload`: it loads the page again, by `reload`.
    # `stop`: nothing changes until the visitor presses a button.
    poll: Literal["interval", "reload", "stop"] = "stop"
    reload: Reload | None = None
    action: Literal["none", "enter", "rejoin", "open", "start"] = "none"  # the button
    tone: Literal["calm", "warn"] = "calm"
    icon: Literal["position", "done", "alert"] = "alert"  # what the tab shows
    # Whether a screen reader announces label and lead. The position it announces wherever one is.
    announced: bool = True
    politeness: Literal["polite", "assertive"] = "polite"  # aria-live


_TITLE = ""  # the heading is the room's title
_LOST = Reload(most=1, counter="lost", otherwise="cookies", min_delay_s=2, max_delay_s=5)
_LEFT_HEADING = N_("You have left the line")
_LOST_HEADING = N_("Your place was lost")
_TURN_HEADING = N_("It is your turn")

_ROWS = (
    # In line: the page polls, and any of these may follow any other.
    PageState(
        "waiting",
        label=N_("The line is moving"),
        heading=_TITLE,
        lead=N_(
            "Many people are here right now. Keep this page open. "
            "You will be let in automatically when it is your turn."
        ),
        reason="line",
        place="live",
        eta=True,
        speed="rate",
        progress="bar",
        poll="interval",
        icon="position",
        announced=False,
    ),
    PageState(
        "held",
        label=N_("The line is paused"),
        heading=_TITLE,
        lead=N_(
            "Entry is paused right now. Your place is kept, "
            "and this page continues automatically when the line moves again."
        ),
        reason="held",
        place="live",
        speed="stopped",
        progress="bar",
        poll="interval",
        tone="warn",
        icon="position",
    ),
    PageState(
        "full",
        label=N_("Full right now"),
        heading=_TITLE,
        lead=N_(
            "The site is full right now. When someone leaves, the next person in line is let in. "
            "Your place is kept."
        ),
        reason="full",
        place="live",
        progress="bar",
        poll="interval",
        tone="warn",
        icon="position",
    ),
    PageState(
        "ended",
        label=N_("Entry has closed"),
        heading=N_("The sale has ended"),
        lead=N_(
            "We are sorry. If the sale opens again while this page is open, you keep your place."
        ),
        reason="ended",
        place="muted",
        speed="stopped",
        progress="bar",
        poll="interval",
        tone="warn",
        icon="position",
    ),
    PageState(
        "reconnecting",
        label=N_("Reconnecting, your place is kept"),
        heading=_TITLE,
        lead=N_(
            "We cannot reach the line right now. You do not need to do anything: "
            "this page keeps trying, and your place is kept."
        ),
        reason="reconnecting",
        place="muted",
        eta=True,  # the last known one
        speed="rate",
        progress="bar",
        poll="interval",
        tone="warn",
        icon="position",
    ),
    # Admitted.
    PageState(
        "admitted",
        label=N_("Your turn"),
        heading=_TURN_HEADING,
        lead=N_("Thank you for waiting. We are letting you in …"),
        progress="complete",
        poll="reload",
        reload=Reload(most=3, counter="admitted", otherwise="enter"),
        icon="done",
        politeness="assertive",
    ),
    PageState(
        "enter",
        label=N_("Your turn"),
        heading=_TURN_HEADING,
        lead=N_("Thank you for waiting. Please press the button to enter."),
        progress="complete",
        action="enter",
        politeness="assertive",
    ),
    # The place is lost.
    PageState(
        "away",
        label=N_("Place lost"),
        heading=_LOST_HEADING,
        lead=N_(
            "You were away for too long, so your place went to the next person. "
            "We are getting you a new place …"
        ),
        poll="reload",
        reload=_LOST,
        tone="warn",
    ),
    PageState(
        "cleared",
        label=N_("Place lost"),
        heading=_LOST_HEADING,
        lead=N_("The line was reset, or your visit was ended. We are getting you a new place …"),
        poll="reload",
        reload=_LOST,
        tone="warn",
    ),
    PageState(
        "cookies",
        label=N_("Place lost"),
        heading=N_("We cannot keep your place"),
        lead=N_(
            "Your browser does not seem to save the cookie that keeps your place. "
            "Please allow cookies for this site, then join the line again."
        ),
        action="rejoin",
        tone="warn",
        politeness="assertive",
    ),
    PageState(
        "no_cookies",
        label=N_("Place lost"),
        heading=N_("We cannot keep your place here"),
        lead=N_(
            "This page is part of another site, and your browser does not save the cookie "
            "that keeps your place. Please open it in a tab of its own."
        ),
        action="open",
        tone="warn",
        politeness="assertive",
    ),
    # The visitor left.
    PageState(
        "left",
        label=N_("Not in line"),
        heading=_LEFT_HEADING,
        lead=N_("Your place went to the next person. Thank you for letting us know."),
        action="rejoin",
    ),
    PageState(
        "elsewhere",
        label=N_("Not in line"),
        heading=_LEFT_HEADING,
        lead=N_("You left in another tab or window, and your place went to the next person."),
        action="rejoin",
    ),
)
# A page of its own for a request that sent something and creates no place. It never loads itself
# again: that would be a GET of an address that may know only POST, and no form is sent twice.
NOT_SENT = PageState(
    "not_sent",
    label=N_("Not sent"),
    heading=N_("Your form was not sent"),
    lead=N_(
        "Many people are here right now, so the site did not receive what you entered. "
        "Please wait in line first. When it is your turn, send the form again."
    ),
    action="start",
    tone="warn",
)
# The same for a request that sent nothing, such as a prefetch that is shown after all.
NO_PLACE = PageState(
    "no_place",
    label=N_("Not in line"),
    heading=N_("Please join the line"),
    lead=N_("Many people are here right now. Join the line to enter the site."),
    action="start",
)
STATE_ROWS: Mapping[str, PageState] = {row.name: row for row in _ROWS}

_BY_REASON: Mapping[str, WaitingState] = {
    row.reason: row.name  # type: ignore[misc]  # a row with a reason is one that the server renders
    for row in _ROWS
    if row.reason is not None
}


def state_of(reason: Reason, *, has_position: bool) -> WaitingState:
    """The state for `reason`; a state that shows a place needs a position."""
    state = _BY_REASON.get(reason, "held")  # a phase of an event without a row of its own
    if has_position or STATE_ROWS[state].place == "none":
        return state
    return _BY_REASON["reconnecting"]


# --- problems: pages of their own, whose label is the status ---

_PROBLEMS: Mapping[str, PageState] = {
    row.name: row
    for row in (
        PageState("unavailable", heading=N_("One moment, please"), poll="reload", tone="warn"),
        PageState("missing", heading=N_("Page not found"), tone="warn"),
        PageState(
            "denied",
            heading=N_("You cannot enter right now"),
            lead=N_("We could not accept this request. Please try again in a moment."),
            tone="warn",
        ),
        PageState(
            "rejected",
            heading=N_("That did not work"),
            lead=N_("We could not process this request. Please go back and try again."),
            tone="warn",
        ),
        PageState("failed", heading=N_("Something went wrong"), tone="warn"),
    )
}
_PROBLEM_BY_STATUS = {403: "denied", 404: "missing"}


def problem_state(status: int, *, retries: bool) -> PageState:
    """The row of a problem page. `retries`: the page loads itself again."""
    if retries:
        return _PROBLEMS["unavailable"]
    name = _PROBLEM_BY_STATUS.get(status) or ("failed" if status >= 500 else "rejected")
    return _PROBLEMS[name]


# --- for the template and the script ---


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


def stack(part: Literal["label", "heading", "lead"]) -> list[StateText]:
    """All texts of one part, each once, in the order of the rows. Only labels have a tone."""
    groups: dict[tuple[str, bool, str], list[str]] = {}
    for row in _ROWS:
        key = (getattr(row, part), row.poll == "interval", row.tone if part == "label" else "")
        groups.setdefault(key, []).append(row.name)
    return [
        StateText(text, " ".join(names), in_line=in_line, tone=tone)
        for (text, in_line, tone), names in groups.items()
    ]


def names_with(**values: object) -> str:
    """The states whose rows have one of these values, separated by spaces.

    `names_with(action="enter")`; of several values a tuple: `names_with(place=("live", "muted"))`.
    """
    return " ".join(row.name for row in _ROWS if all(_has(row, *each) for each in values.items()))


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


# What `static/waiting.js` needs of the rows, by state; it stands in the page once, as an attribute.
SCRIPT_ROWS: Mapping[str, Mapping[str, object]] = {
    row.name: dict(_script_row(row)) for row in _ROWS
}
