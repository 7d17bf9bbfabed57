"""The page of those who wait: rendered once for all it is the same for, filled in for each.

Rules: what is the visitor's own are `values`; everything else that changes the page is in the key.
A template that does more with the values than print, compare and count them is rendered for each
visitor. Whatever a template raises comes out of `page`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Protocol

import structlog
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from gatekeeper.pages.composer import Composer
from gatekeeper.pages.content import Content, Filled, Page, Rendered
from gatekeeper.pages.languages import Language, language
from gatekeeper.pages.samples import PLACES, STATES
from gatekeeper.pages.slots import Slot, Value, Values, has_mark
from gatekeeper.pages.states import SCRIPT_ROWS, names_with, stack
from gatekeeper.pages.states import STATES as ROWS
from gatekeeper.pages.templates import Templates
from gatekeeper.pages.waiting_view import DEFAULT_TITLE, WaitingView, wait_range

_OF_VIEW = ("position", "ahead", "queue_length", "eta_seconds", "refresh_seconds", "arrived_at")
_OF_WAIT = ("low", "high", "text")

# In single quotes: JSON has many double ones.
_SCRIPT_ROWS = htmlsafe_json_dumps(SCRIPT_ROWS, separators=(",", ":"))

log = structlog.get_logger()

Shown = Mapping[str, Slot | Value | None]


class Form(Protocol):
    """A template of whatever kind."""

    name: str
    csp: str
    reloads: bool  # by a field of the answer, whatever the page does itself

    def values(self, view: WaitingView, words: Language) -> Values:
        """What is the visitor's own."""
        ...

    def key(self, view: WaitingView) -> Hashable:
        """All that is not in `values`, and which of those nobody knows."""
        ...

    def render(self, view: WaitingView, words: Language, values: Shown) -> str: ...


class WaitingPage:
    """The page by one template."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._composer = Composer()
        self._speaks = True
        self.composes = True

    @property
    def kept(self) -> int:
        """How many composed pages are kept."""
        return len(self._composer)

    def page(self, view: WaitingView) -> Page:
        if not self.composes:
            return self.rendered(view)
        words = language(view.lang)
        values = self._form.values(view, words)
        key = self._form.key(view)
        composed = self._composer.find(key, values)
        if composed is None:
            if has_mark(view.title, view.message):
                return self.rendered(view)
            render = partial(self._form.render, view, words)
            try:
                composed = self._composer.compose(key, values, render)
            except Exception as error:  # noqa: BLE001  a template may raise anything
                self._render_for_each(str(error))
                return self.rendered(view)
        return self._page(Filled(composed, values, words), words)

    def rendered(self, view: WaitingView) -> Page:
        """The same, without composing."""
        words = language(view.lang)
        text = self._form.render(view, words, self._form.values(view, words))
        return self._page(Rendered(text.encode()), words)

    def _page(self, content: Content, words: Language) -> Page:
        form = self._form
        return Page(content, form.csp, words.code if self._speaks else "", reloads=form.reloads)

    def try_out(self) -> None:
        """See that composed pages are what the template renders, in all states and places, and
        whether it says anything in the language of whoever reads it."""
        view = STATES["waiting"]
        in_others = {self.rendered(replace(view, lang=code)).body for code in ("en", "de", "ja")}
        self._speaks = len(in_others) > 1
        for view in (*STATES.values(), *PLACES):
            if self.composes and self.page(view).body != self.rendered(view).body:
                self._render_for_each("it prints other than it is given")

    def _render_for_each(self, why: str) -> None:
        self.composes = False
        log.info("template_rendered_for_each_visitor", template=self._form.name, why=why)


class WaitingTemplate:
    """A form of our own: a Jinja template."""

    reloads = False

    def __init__(self, templates: Templates, *, name: str, csp: str) -> None:
        self._templates = templates
        self.name = name
        self.csp = csp

    def values(self, view: WaitingView, words: Language) -> Values:
        wait = wait_range(view.eta_seconds)
        return {
            "position": view.position,
            "ahead": view.ahead,
            "queue_length": view.queue_length,
            "eta_seconds": view.eta_seconds,
            "refresh_seconds": view.refresh_seconds,
            "arrived_at": view.arrived_at,
            "low": wait.low,
            "high": wait.high,
            "text": words.span(wait.unit, wait.low, wait.high) if wait.high else "",
            "reload_seconds": view.reload_seconds,
            "since": words.clock(int(view.arrived_at[11:13]), int(view.arrived_at[14:16])),
        }

    def key(self, view: WaitingView) -> Hashable:
        return (
            view.lang,
            view.state,
            view.title,
            view.room,
            view.message,
            view.rate_per_minute,
            view.place_ttl_minutes,
            view.updates,
            wait_range(view.eta_seconds).unit,
            view.position is None,
            view.ahead is None,
            view.queue_length is None,
        )

    def render(self, view: WaitingView, words: Language, values: Shown) -> str:
        of_view: dict[str, object] = {name: values[name] for name in _OF_VIEW}
        if view.title == DEFAULT_TITLE:
            of_view["title"] = words.words(DEFAULT_TITLE)
        of_wait: dict[str, object] = {name: values[name] for name in _OF_WAIT}
        wait = wait_range(view.eta_seconds)
        shown: dict[str, object] = {
            "view": replace(view, **of_view),  # type: ignore[arg-type]  # a slot is as good
            "state": view.state,
            "row": ROWS[view.state],
            "texts": stack,
            "script_rows": _SCRIPT_ROWS,
            "when": partial(_when, view.state),
            "wait": replace(wait, **of_wait),  # type: ignore[arg-type]
            "rate_per_hour": view.rate_per_minute * 60,
            "reload_seconds": values["reload_seconds"],
            "since": values["since"],
        }
        return self._templates.render(self.name, words, shown)


@lru_cache(maxsize=256)
def _when(state: str, states: str = "", **values: object) -> Markup:
    """Attributes of an element shown in `states`, or in the states whose rows have these `values`.

    A macro for it took two thirds of a rendering.
    """
    states = states or names_with(**values)
    hidden = "" if state in states.split() else " hidden"
    return Markup('data-when="{}"{}').format(states, hidden)
