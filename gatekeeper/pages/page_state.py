"""What one state of a public page says and shows.

Rules: pure data. A row without a text of its own says nothing: the heading of a row without one is
the room's title, the lead of a problem without one is the message of the gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gatekeeper.policy.phase import Reason

_OF_EVENTS: Final[frozenset[Reason]] = frozenset({"before", "prequeue", "draw"})


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
    # `renew`: the page loads itself again when the gate says; there is nothing to poll for.
    # `stop`: nothing changes until the visitor presses a button.
    poll: Literal["interval", "reload", "renew", "stop"] = "stop"
    reload: Reload | None = None
    action: Literal["none", "enter", "rejoin", "open", "start"] = "none"  # the button
    alert: Literal["turn", "opening", "none"] = "none"  # what sound and notification are for
    tone: Literal["calm", "warn"] = "calm"
    icon: Literal["position", "clock", "done", "alert"] = "alert"  # what the tab shows
    # Whether a screen reader announces label and lead. The position it announces wherever one is.
    announced: bool = True
    politeness: Literal["polite", "assertive"] = "polite"  # aria-live

    @property
    def is_of_event(self) -> bool:
        """Whether only an event leads here."""
        return self.reason in _OF_EVENTS
