"""The rows of static pages, which no script changes: problems, and requests without a place.

Rules: pure. The label of a problem is its status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gatekeeper.errors import N_
from gatekeeper.pages.page_state import PageState

# The page for a request with a body that creates no place. It never reloads itself: that would be a
# GET of an address that may only support POST, and no form is sent twice.
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
# The same for a request without a body, such as a prefetch that is shown after all.
NO_PLACE = PageState(
    "no_place",
    label=N_("Not in line"),
    heading=N_("Please join the line"),
    lead=N_("Many people are here right now. Join the line to enter the site."),
    action="start",
)

# Moving a place to another device: the page on that device, and without script the one on this
# device.
CONTINUE_HERE = PageState(
    "continue_here",
    label=N_("Not in line"),
    heading=N_("Continue on this device?"),
    lead=N_(
        "Your place in line moves to this device and this browser. "
        "The other device is no longer in line then."
    ),
)
CONTINUE_ELSEWHERE = PageState(
    "continue_elsewhere",
    label=N_("Your place in line"),
    heading=N_("Continue on another device"),
    lead=N_(
        "Scan this code with the camera of the other device, or open the link there. "
        "It works once, within five minutes. Your place moves to that device, "
        "and this one is no longer in line."
    ),
)

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
# These visitors are denied and must not wait. The lead is the message of the response, also in
# JSON.
DENIED: Mapping[str, PageState] = {
    row.name: replace(row, label=N_("Not in line"), tone="warn")
    for row in (
        PageState(
            "invitation",
            heading=N_("You need an invitation"),
            lead=N_(
                "Only invited people can enter right now. Please open the link in your invitation."
            ),
        ),
        PageState(
            "invitation_invalid",
            heading=N_("This invitation is not valid"),
            lead=N_(
                "The link may be incomplete. Please open it again from the message or page "
                "where you found it."
            ),
        ),
        PageState(
            "invitation_expired",
            heading=N_("This invitation has expired"),
            lead=N_("Please get a new invitation where you found this one."),
        ),
        PageState(
            "invitation_early",
            heading=N_("This invitation is not valid yet"),
            lead=N_("It begins later. Please open the same link again then."),
        ),
        PageState(
            "invitation_elsewhere",
            heading=N_("This invitation is for something else"),
            lead=N_("It belongs to another sale or another part of this site."),
        ),
        PageState(
            "invitation_used",
            heading=N_("This invitation was already used"),
            lead=N_(
                "An invitation lets one person in once. If you were already inside, please go back "
                "to the device and browser that you used."
            ),
        ),
        PageState(
            "other_device",
            heading=N_("Your place is on another device"),
            lead=N_("You continued on another device or in another browser. Please go on there."),
        ),
        PageState(
            "link_invalid",
            heading=N_("This link does not work any more"),
            lead=N_(
                "It works once, within five minutes, and only while you wait in line. "
                "Please make a new one on the device that has your place."
            ),
        ),
        PageState(
            "earlier_place",
            heading=N_("This browser has an earlier place"),
            lead=N_("You keep it here, and the other device keeps its own."),
        ),
    )
}
_PROBLEM_BY_STATUS = {403: "denied", 404: "missing"}


def problem_state(status: int, *, retries: bool) -> PageState:
    """The row of a problem page. `retries`: the page reloads itself."""
    if retries:
        return _PROBLEMS["unavailable"]
    name = _PROBLEM_BY_STATUS.get(status) or ("failed" if status >= 500 else "rejected")
    return _PROBLEMS[name]
