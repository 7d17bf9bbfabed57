"""The waiting page of one template: rendered once as a skeleton, and filled in for each visitor.

Rules: visitor data is in `values`; everything else that affects the page is in the key. A template
that does more with the values than print, compare and count is rendered for each visitor. `page`
raises what the template raises.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import cache, lru_cache, partial
from typing import Protocol

import structlog
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from gatekeeper.pages.composer import Composer
from gatekeeper.pages.content import Content, FilledSkeleton, Page, RenderedBody
from gatekeeper.pages.event_view import EventView
from gatekeeper.pages.languages import Language, language_by_code
from gatekeeper.pages.page_state import PageState
from gatekeeper.pages.samples import SAMPLE_EVENTS, SAMPLE_POSITIONS, SAMPLE_VIEWS
from gatekeeper.pages.slots import Slot, Value, Values, has_mark
from gatekeeper.pages.state_texts import names_with, reachable_rows, script_rows, stack
from gatekeeper.pages.states import STATE_ROWS
from gatekeeper.pages.templates import Templates
from gatekeeper.pages.waiting_view import DEFAULT_TITLE, WaitingView, wait_range

_VIEW_VALUES = (
    "position",
    "ahead",
    "queue_length",
    "eta_seconds",
    "refresh_seconds",
    "arrived_at",
    "ticket",
    "reference",
    "now_s",
)
_WAIT_VALUES = ("low", "high", "text")
_EVENT_VALUES = ("starts_in_ms", "days_left", "clock_left")
_DRAW_VALUES = ("number", "id_hash", "turn")

log = structlog.get_logger()

Shown = Mapping[str, Slot | Value | None]


class WaitingTemplate(Protocol):
    """A template of the waiting page, in Jinja or Mustache."""

    name: str
    reloads: bool  # by a `Refresh` field of the response

    def policy(self, view: WaitingView) -> str:
        """The Content-Security-Policy of the page."""
        ...

    def values(self, view: WaitingView, language: Language) -> Values:
        """The data of this visitor, by name."""
        ...

    def key(self, view: WaitingView) -> Hashable:
        """Everything else that affects the page, and which of the `values` are unknown."""
        ...

    def render(self, view: WaitingView, language: Language, values: Shown) -> str: ...


class WaitingPage:
    """Creates the pages of one template."""

    def __init__(self, template: WaitingTemplate) -> None:
        self._template = template
        self._composer = Composer()
        self._is_translated = True
        self.composes = True

    @property
    def skeleton_count(self) -> int:
        """How many skeletons are cached."""
        return len(self._composer)

    def page(self, view: WaitingView) -> Page:
        if not self.composes:
            return self.rendered(view)
        language = language_by_code(view.lang)
        values = self._template.values(view, language)
        key = self._template.key(view)
        skeleton = self._composer.find(key, values)
        if skeleton is None:
            if has_mark(view.title, view.message):
                return self.rendered(view)
            render = partial(self._template.render, view, language)
            try:
                skeleton = self._composer.compose(key, values, render)
            except Exception as error:  # noqa: BLE001  a template may raise anything
                self._render_for_each(str(error))
                return self.rendered(view)
        return self._page(FilledSkeleton(skeleton, values, language), view, language)

    def rendered(self, view: WaitingView) -> Page:
        """The page, rendered for this visitor without a skeleton."""
        language = language_by_code(view.lang)
        text = self._template.render(view, language, self._template.values(view, language))
        return self._page(RenderedBody(text.encode()), view, language)

    def _page(self, content: Content, view: WaitingView, language: Language) -> Page:
        template = self._template
        code = language.code if self._is_translated else ""
        return Page(content, template.policy(view), code, reloads=template.reloads)

    def try_out(self) -> None:
        """Compare composed pages with rendered ones, in all states and at several positions, and
        detect whether the template depends on the language."""
        view = SAMPLE_VIEWS["waiting"]
        translations = {self.rendered(replace(view, lang=code)).body for code in ("en", "de", "ja")}
        self._is_translated = len(translations) > 1
        for view in (*SAMPLE_VIEWS.values(), *SAMPLE_EVENTS.values(), *SAMPLE_POSITIONS):
            if self.composes and self.page(view).body != self.rendered(view).body:
                self._render_for_each("a composed page differs from the rendered one")

    def _render_for_each(self, why: str) -> None:
        self.composes = False
        log.info("template_rendered_for_each_visitor", template=self._template.name, why=why)


class JinjaTemplate:
    """A `WaitingTemplate` in Jinja: the built-in one, or the operator's."""

    reloads = False

    def __init__(self, templates: Templates, *, name: str, policy: Callable[[str], str]) -> None:
        """`policy`: the Content-Security-Policy by the type of the challenge, if there is one."""
        self._templates = templates
        self.name = name
        self._policy = cache(policy)

    def policy(self, view: WaitingView) -> str:
        return self._policy("" if view.challenge is None else view.challenge.type)

    def values(self, view: WaitingView, language: Language) -> Values:
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
            "text": language.span(wait.unit, wait.low, wait.high) if wait.high else "",
            "reload_seconds": view.reload_seconds,
            "next_try": _next_try(view, language),
            "ticket": view.ticket,
            "reference": view.reference,
            "now_s": view.now_s,
            "since": _time_of_day(view.arrived_at, language),
            **_event_values(view.event, language),
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
            view.challenge,
            wait_range(view.eta_seconds).unit,
            view.position is None,
            view.ahead is None,
            view.queue_length is None,
            view.lane,
            _event_key(view.event),
        )

    def render(self, view: WaitingView, language: Language, values: Shown) -> str:
        of_view: dict[str, object] = {name: values[name] for name in _VIEW_VALUES}
        of_view["event"] = None  # `event` has its values as slots
        if view.title == DEFAULT_TITLE:
            of_view["title"] = language.translate(DEFAULT_TITLE)
        of_wait: dict[str, object] = {name: values[name] for name in _WAIT_VALUES}
        wait = wait_range(view.eta_seconds)
        rows = reachable_rows(view.state, has_event=view.event is not None)
        shown: dict[str, object] = {
            "view": replace(view, **of_view),  # type: ignore[arg-type]  # a slot is as good
            "state": view.state,
            "row": STATE_ROWS[view.state],
            "texts": partial(stack, rows),
            "script_rows": _as_attribute(rows),
            "when": partial(_when, view.state),
            "wait": replace(wait, **of_wait),  # type: ignore[arg-type]
            "rate_per_hour": view.rate_per_minute * 60,
            "reload_seconds": values["reload_seconds"],
            "next_try": values["next_try"],
            "ticket": values["ticket"],
            "reference": values["reference"],
            "since": values["since"],
            "event": _shown_event(view.event, language, values),
        }
        return self._templates.render(self.name, language, shown)


@cache
def _as_attribute(rows: tuple[PageState, ...]) -> str:
    """JSON for an attribute in single quotes, so that its double quotes need no escapes."""
    return htmlsafe_json_dumps(script_rows(rows), separators=(",", ":"))


def _time_of_day(at: str, language: Language) -> str:
    return language.clock(int(at[11:13]), int(at[14:16])) if at else ""


def _next_try(view: WaitingView, language: Language) -> str:
    """The time until a page without polls reloads itself; "": it polls, or counts down to an
    opening."""
    row = STATE_ROWS[view.state]
    is_shown = row.poll == "renew" and row.alert == "none"
    return language.remaining(view.reload_seconds) if is_shown else ""


def _event_values(event: EventView | None, language: Language) -> Values:
    """The values of an event that vary by visitor or over time."""
    if event is None:
        return dict.fromkeys((*_EVENT_VALUES, *_DRAW_VALUES))
    draw = event.draw
    return {
        "starts_in_ms": event.starts_in_ms,
        "days_left": language.days(event.days_left) if event.days_left else "",
        "clock_left": event.clock_left,
        "number": None if draw is None else draw.short,
        "id_hash": None if draw is None else draw.id_hash,
        "turn": None if draw is None else draw.turn,
    }


def _event_key(event: EventView | None) -> Hashable:
    """Everything else of an event, and which of its values are unknown."""
    if event is None:
        return None
    lasting = replace(event, starts_in_s=None, prequeue_in_s=None, ends_in_s=None, draw=None)
    return lasting, event.starts_in_s is None, not event.draw


def _shown_event(
    event: EventView | None, language: Language, values: Shown
) -> dict[str, object] | None:
    """The event in the format of templates."""
    if event is None:
        return None
    return {
        "name": event.name,
        "order": event.order,
        "commitment": event.commitment,
        "starts_at": event.starts_at,
        "starts": language.moment(event.starts_at),
        "prequeue_at": event.prequeue_at,
        "prequeue": language.moment(event.prequeue_at) if event.prequeue_at else "",
    } | {name: values[name] for name in (*_EVENT_VALUES, *_DRAW_VALUES)}


@lru_cache(maxsize=256)
def _when(state: str, states: str = "", **values: object) -> Markup:
    """The attributes of an element that is shown in `states`, or in the states with these row
    `values`.

    Not a macro, which took two thirds of the rendering time.
    """
    states = states or names_with(**values)
    hidden = "" if state in states.split() else " hidden"
    return Markup('data-when="{}"{}').format(states, hidden)
