"""Waiting pages in Mustache, with the variables of Cloudflare Waiting Room.

Rules: the operator defines language, scripts and external files of such a page. So its policy only
restricts frames, and a `Refresh` field of the response keeps the place, as at Cloudflare. The
syntax is checked when the file is read; an unknown name is empty, as Mustache defines.
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
    "timeUntilEventStart",
    "timeUntilEventStartFormatted",
    "timeUntilEventEnd",
    "timeUntilEventEndFormatted",
    "position",
    "peopleAhead",
)


class _Flag(int):
    """A boolean that prints as in JavaScript: a page may contain `var known = {{…}};`."""

    def __str__(self) -> str:
        return "true" if self else "false"


class MustacheTemplate:
    """A `WaitingTemplate` in Mustache. Raises ConfigError for a file that cannot be used."""

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

    def policy(self, _view: WaitingView) -> str:
        return "frame-ancestors 'self'; base-uri 'self'"

    def values(self, view: WaitingView, _language: Language) -> Values:
        known = variables(view)
        return {name: known[name] for name in _OF_THE_VISITOR}  # type: ignore[misc]

    def key(self, view: WaitingView) -> Hashable:
        unknown = (view.position is None, view.ahead is None, view.eta_seconds is None)
        flags = tuple(each for each in variables(view).values() if isinstance(each, bool))
        return view.state, view.title, view.message, view.room, unknown, flags

    def render(self, view: WaitingView, _language: Language, values: Shown) -> str:
        shown = {
            name: _Flag(value) if isinstance(value, bool) else value
            for name, value in {**variables(view), **values}.items()
        }
        return chevron.render(self._tokens, shown, partials_path=None)
