"""A waiting page of the operator's in Mustache, with the variables of Cloudflare Waiting Room.

Rules: the page is theirs: its language, its scripts, what it loads from elsewhere. So there is no
policy but about frames, and `Refresh` in the answer keeps the place, as it does at Cloudflare. The
syntax is checked when it is read; a name that nobody knows is nothing, as Mustache has it.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

import chevron
from chevron.tokenizer import ChevronError, tokenize

from gatekeeper.errors import ConfigError
from gatekeeper.pages.cloudflare import variables
from gatekeeper.pages.languages import Language
from gatekeeper.pages.slots import Values
from gatekeeper.pages.waiting_page import Shown
from gatekeeper.pages.waiting_view import WaitingView

SUFFIX = ".mustache"

_OF_THE_VISITOR = (
    "waitTime",
    "waitTimeHours",
    "waitTimeHourMinutes",
    "waitTimeFormatted",
    "lastUpdated",
    "refreshIntervalSeconds",
    "position",
    "peopleAhead",
)


class _Flag(int):
    """True or false, printed as a script writes it: a page may say `var known = {{…}};`."""

    def __str__(self) -> str:
        return "true" if self else "false"


class MustachePage:
    """A form for the waiting page. Raises ConfigError."""

    csp = "frame-ancestors 'self'; base-uri 'self'"
    reloads = True

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._tokens = list(tokenize(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigError([error.strerror or "cannot be read"], source=str(path)) from error
        except (UnicodeDecodeError, ChevronError) as error:
            problem = " ".join(str(error).split())
            raise ConfigError([problem], source=str(path)) from error

    def values(self, view: WaitingView, _words: Language) -> Values:
        told = variables(view)
        return {name: told[name] for name in _OF_THE_VISITOR}  # type: ignore[misc]

    def key(self, view: WaitingView) -> Hashable:
        unknown = (view.position is None, view.ahead is None, view.eta_seconds is None)
        return view.state, view.title, view.message, view.room, unknown

    def render(self, view: WaitingView, _words: Language, values: Shown) -> str:
        told = {
            name: _Flag(value) if isinstance(value, bool) else value
            for name, value in {**variables(view), **values}.items()
        }
        return chevron.render(self._tokens, told, partials_path=None)
