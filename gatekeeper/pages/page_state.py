"""The texts and contents of one state of a public page.

Rules: pure data. An empty text has a default: for the heading the room's title, for the lead of a
problem the message of the gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gatekeeper.policy.phase import Reason

_OF_EVENTS: Final[frozenset[Reason]] = frozenset({"before", "prequeue", "draw"})


@dataclass(frozen=True, slots=True)
class Reload:
    """When a page reloads itself, and the state after too many reloads."""

    most: int  # reloads within a minute, counted per tab under `counter`
    counter: Literal["admitted", "lost"]
    otherwise: str
    min_delay_s: float = 0.0
    max_delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PageState:
    """One row: the texts of a state, and its other contents."""

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
    # `interval`: the script polls for the place. `reload`: it reloads the page, by `reload`.
    # `renew`: the page reloads itself at a time that the gate sets, without polls. `stop`: nothing
    # changes until the visitor presses a button.
    poll: Literal["interval", "reload", "renew", "stop"] = "stop"
    reload: Reload | None = None
    action: Literal["none", "enter", "rejoin", "open", "start"] = "none"  # the button
    alert: Literal["turn", "opening", "none"] = "none"  # the occasion of sound and notification
    tone: Literal["calm", "warn"] = "calm"
    icon: Literal["position", "clock", "done", "alert"] = "alert"  # of the browser tab
    # Whether a screen reader announces label and lead. A position is always announced.
    announced: bool = True
    politeness: Literal["polite", "assertive"] = "polite"  # aria-live

    @property
    def is_of_event(self) -> bool:
        """Whether only an event leads here."""
        return self.reason in _OF_EVENTS
