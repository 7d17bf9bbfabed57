"""The states of the public pages and their contents: one row per state.

Rules: pure. The template renders a state by its row, and the script receives the rows as JSON
(`state_texts`), so server and script cannot differ. A new state is one more row here; neither the
template nor the script tests the name of a state.

Of two rows with the same reason, the second is for visitors without a position, whose turn will be
drawn. Without a second row, a missing position means that the store is unreachable: the page
reconnects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from gatekeeper.errors import N_
from gatekeeper.pages.page_state import PageState, Reload
from gatekeeper.policy.phase import Reason

# The pages of a visitor without a place: before an opening, with a full line, and beyond the limit
# of newcomers per address.
StateWithoutPlace = Literal["before", "queue_full", "address_limit"]
# The states that the server renders; the script reaches the others.
WaitingState = Literal[
    "waiting",
    "held",
    "full",
    "ended",
    "reconnecting",
    "closed",
    "prequeue_place",
    "prequeue",
    "draw",
    "joining",
    "before",
    "challenge",
    "queue_full",
    "address_limit",
]

_TITLE = ""  # the heading is the room's title
_LOST = Reload(most=1, counter="lost", otherwise="cookies", min_delay_s=2, max_delay_s=5)
_LEFT_HEADING = N_("You have left the line")
_LOST_HEADING = N_("Your place was lost")
_TURN_HEADING = N_("It is your turn")
_NOT_OPEN = N_("Not open yet")

_ROWS = (
    # In line: the page polls, and may change from any of these states to any other.
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
        alert="turn",
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
        alert="turn",
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
        alert="turn",
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
        alert="turn",
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
        alert="turn",
        tone="warn",
        icon="position",
    ),
    # In line around the opening of an event.
    PageState(
        "closed",
        label=_NOT_OPEN,
        heading=_TITLE,
        lead=N_(
            "Nobody is let in before the opening. Your place is kept, "
            "and this page continues automatically."
        ),
        reason="before",
        place="muted",
        speed="stopped",
        progress="bar",
        poll="interval",
        alert="turn",
        tone="warn",
        icon="position",
    ),
    PageState(
        "prequeue_place",
        label=_NOT_OPEN,
        heading=_TITLE,
        lead=N_(
            "You are in line, and your place is kept. The line starts to move at the opening. "
            "Keep this page open."
        ),
        reason="prequeue",
        place="live",
        speed="stopped",
        progress="bar",
        poll="interval",
        alert="turn",
        icon="position",
    ),
    PageState(
        "prequeue",
        label=_NOT_OPEN,
        heading=_TITLE,
        lead=N_(
            "You are in line; when you came does not matter. At the opening the order is drawn "
            "at random. Keep this page open."
        ),
        reason="prequeue",
        poll="interval",
        alert="turn",
        icon="clock",
    ),
    PageState(
        "draw",
        label=N_("The order is being drawn"),
        heading=_TITLE,
        lead=N_(
            "The sale has opened, and the order of everyone who came before is being drawn. "
            "Your place appears here in a moment."
        ),
        reason="draw",
        poll="interval",
        alert="turn",
        icon="clock",
    ),
    # Not in line yet: only a ticket that was returned before the opening takes part.
    PageState(
        "joining",
        label=_NOT_OPEN,
        heading=_TITLE,
        lead=N_("One moment: your place is being confirmed. Keep this page open."),
        poll="interval",
        alert="turn",
        icon="clock",
    ),
    # `static/challenge.js` solves the challenge.
    PageState(
        "challenge",
        label=N_("One short check"),
        heading=N_("Not in line yet"),
        lead=N_(
            "This site checks that places go to people. Keep this page open. "
            "When the check is done, you get the place at which you came."
        ),
        reason="challenge",
        poll="interval",
        alert="turn",
        icon="clock",
    ),
    # Without a place.
    PageState(
        "before",
        label=_NOT_OPEN,
        heading=N_("The sale has not started yet"),
        lead=N_("Come back at the opening, or keep this page open: it continues automatically."),
        poll="renew",
        alert="opening",
    ),
    PageState(
        "queue_full",
        label=N_("Not in line"),
        heading=N_("The line is full"),
        lead=N_(
            "So many people are waiting that nobody else can join right now. "
            "Keep this page open: it tries again automatically."
        ),
        poll="renew",
        tone="warn",
    ),
    PageState(
        "address_limit",
        label=N_("Not in line"),
        heading=N_("Many people join from your network"),
        lead=N_(
            "Your internet address is shared by many people, as in a company, a school or a mobile "
            "network, and only a few per minute can join the line from it. Keep this page open: it "
            "tries again automatically. You can also use another network."
        ),
        poll="renew",
        tone="warn",
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
STATE_ROWS: Mapping[str, PageState] = {row.name: row for row in _ROWS}

_BY_REASON: Mapping[str, tuple[PageState, ...]] = {
    reason: tuple(row for row in _ROWS if row.reason == reason) for reason in get_args(Reason)
}


def state_of(reason: Reason, *, has_position: bool, is_new: bool = False) -> WaitingState:
    """The state for `reason`; a state that shows a place needs a position.

    `static/waiting.js` has the same rule. It is not `is_new`: a poll returns the ticket.
    """
    if is_new and reason == "prequeue":
        return "joining"
    for row in _BY_REASON[reason]:
        if has_position or row.place == "none":
            return row.name  # type: ignore[return-value]  # the server renders rows with a reason
    return "reconnecting"
