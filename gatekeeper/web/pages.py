"""Renders what people see: the waiting page, notices, and the operator's dashboard.

Rules: no I/O after the start and no clock. Every template is compiled and rendered with sample
data when `Pages` is made, so that a user's broken template stops the start and never a visitor.
Templates hold all the words, catalogues their translations, and this module only the numbers.
A public page carries its style and script, named by their hashes in `csp`: one request is enough.
No page needs any other inline code or anything from elsewhere, and `csp` holds them to that.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from gzip import compress
from pathlib import Path
from typing import Literal

from jinja2 import TemplateSyntaxError
from markupsafe import Markup

from gatekeeper.errors import ConfigError
from gatekeeper.web.assets import Asset, Assets
from gatekeeper.web.languages import SOURCE, Language, language
from gatekeeper.web.templates import Templates

PUBLIC_ASSET_PREFIX = "/.gatekeeper/static/"
DEFAULT_TITLE = "You are in line"  # said in the visitor's language; an operator's own is not

# Why one waits. `full`: nobody enters until somebody inside leaves. `reconnecting`: nobody knows.
Reason = Literal["line", "held", "full", "ended", "reconnecting"]

# Trusted Types make a slip into innerHTML an error in the browser, not a hole.
_POLICY = (
    "default-src 'none'; script-src 'self'{scripts}; style-src 'self'{styles}; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors {frames}"
)
# What the public pages carry, so that one request is enough; by 'self' a template may link to more.
_SCRIPTS = ("waiting.js", "options.js", "problem.js")
_STYLES = ("waiting.css",)
# Without script a reload is the heartbeat: a whole page, and whatever one was reading starts anew.
# It must stay well below `prove_within`, which is 20 s.
_MIN_RELOAD_S = 10


@dataclass(frozen=True, slots=True)
class WaitingView:
    """One visitor's place in line, as the page shows it."""

    title: str
    room: str
    position: int | None  # None: the store is out of reach; the place is kept
    ahead: int | None
    queue_length: int | None
    eta_seconds: int | None  # None: unknown, or the line is held
    rate_per_minute: float  # 0: the operator holds the line
    refresh_seconds: int
    arrived_at: str  # RFC 3339, UTC
    keep_place_minutes: int
    reason: Reason = "line"
    message: str = ""  # the operator's live word to all who wait; "" is none
    lang: str = SOURCE


@dataclass(frozen=True, slots=True)
class Page:
    body: bytes
    language: str = SOURCE
    content_type: str = "text/html; charset=utf-8"

    @property
    def gzip(self) -> bytes:
        """The body compressed, made when asked for: not every client takes it."""
        return compress(self.body, compresslevel=5, mtime=0)


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait as people say it: from `low` to `high` of `unit`, or `soon`, `long`, `unknown`.

    `text` says the range in a language: "2–4 minutes".
    """

    unit: Literal["soon", "minute", "hour", "long", "unknown"]
    low: float = 0
    high: float = 0
    text: str = ""


class Pages:
    """All pages and assets. `templates` and `static` override the built-in files one by one."""

    dashboard_csp = _POLICY.format(scripts="", styles="", frames="'none'")

    def __init__(
        self,
        *,
        templates: Path | None = None,
        static: Path | None = None,
        asset_prefix: str = PUBLIC_ASSET_PREFIX,
    ) -> None:
        self._assets = Assets(overrides=static, prefix=asset_prefix)
        self._templates = Templates(
            templates, asset_url=self.asset_url, asset_text=self._assets.text
        )
        # An origin may frame its own pages, so the waiting page may stand in such a frame too.
        self.csp = _POLICY.format(
            scripts=" " + self._assets.sources(*_SCRIPTS),
            styles=" " + self._assets.sources(*_STYLES),
            frames="'self'",
        )
        self._check(source=str(templates) if templates else "templates")

    def waiting(self, view: WaitingView) -> Page:
        """The page of one who waits; it goes out with the room's waiting status and `no-store`."""
        words = language(view.lang)
        wait = wait_range(view.eta_seconds)
        if wait.high:
            wait = replace(wait, text=words.span(wait.unit, wait.low, wait.high))
        if view.title == DEFAULT_TITLE:
            view = replace(view, title=words.words(DEFAULT_TITLE))
        return self._render(
            "waiting.html",
            words,
            view=view,
            state=(state := _state(view)),
            when=partial(_when, state),
            wait=wait,
            rate_per_hour=view.rate_per_minute * 60,
            reload_seconds=max(view.refresh_seconds, _MIN_RELOAD_S),
            since=words.clock(int(view.arrived_at[11:13]), int(view.arrived_at[14:16])),
        )

    def problem(
        self,
        *,
        status: int,
        title: str,
        message: str,
        retry_after_s: int | None,
        lang: str = SOURCE,
    ) -> Page:
        """What went wrong, in words. With `retry_after_s` the page asks again by itself then, so
        pass None when the request was not a safe one (RFC 9110 section 9.2.1)."""
        words = language(lang)
        return self._render(
            "problem.html",
            words,
            status=status,
            title=words.words(title),
            message=words.words(message),
            retry_after_s=retry_after_s,
        )

    def left(self, *, path: str = "/", lang: str = SOURCE) -> Page:
        """The answer to a leave without script; `path` is where on this site to line up again."""
        return self._render("left.html", language(lang), path=path if _is_path(path) else "/")

    def dashboard(self) -> Page:
        """The operator's page; it goes out with `dashboard_csp`."""
        return self._render("dashboard.html", language(SOURCE))

    def asset(self, name: str) -> Asset | None:
        """The file served as `name` (with its hash), to be cached for good."""
        return self._assets.get(name)

    def asset_url(self, name: str) -> str:
        """`waiting.css` → `/.gatekeeper/static/waiting.<hash>.css`; `KeyError` if there is none."""
        return self._assets.url(name)

    def _render(self, template: str, language: Language, **values: object) -> Page:
        body = self._templates.render(template, language, values)
        return Page(body.encode(), language=language.code)

    def _check(self, *, source: str) -> None:
        samples: tuple[tuple[str, Callable[[], Page]], ...] = (
            ("waiting.html", lambda: self.waiting(_SAMPLE)),
            ("waiting.html", lambda: self.waiting(_SAMPLE_HELD)),
            ("waiting.html", lambda: self.waiting(_SAMPLE_UNKNOWN)),
            ("problem.html", lambda: _sample_problem(self, retry_after_s=5)),
            ("problem.html", lambda: _sample_problem(self, retry_after_s=None)),
            ("left.html", self.left),
            ("dashboard.html", self.dashboard),
        )
        problems: list[str] = []
        for name, render in samples:
            try:
                render()
            except TemplateSyntaxError as error:
                problems.append(f"{error.name or name}:{error.lineno}: {error.message}")
            except Exception as error:  # noqa: BLE001  a template may raise anything
                problems.append(f"{name}: {type(error).__name__}: {error}")
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)), source=source)


def wait_range(eta_seconds: int | None) -> Wait:
    """An estimate as an honest range: 20 % less to 25 % more, in steps that grow with it.

    `static/waiting.js` counts the same way; a test in a browser holds the two together.
    """
    if eta_seconds is None:
        return Wait("unknown")
    low_minutes, high_minutes = eta_seconds * 0.8 / 60, eta_seconds * 1.25 / 60
    if high_minutes <= 1:
        return Wait("soon")
    if high_minutes <= 90:
        return _stepped("minute", low_minutes, high_minutes, step=1 if high_minutes <= 15 else 5)
    if high_minutes <= 24 * 60:
        step = 0.5 if high_minutes <= 6 * 60 else 1
        return _stepped("hour", low_minutes / 60, high_minutes / 60, step=step)
    return Wait("long")


def _stepped(unit: Literal["minute", "hour"], low: float, high: float, *, step: float) -> Wait:
    first = max(math.floor(low / step) * step, step)
    last = max(math.ceil(high / step) * step, first + step)
    return Wait(unit, first, last)


def _state(view: WaitingView) -> Literal["waiting", "held", "full", "ended", "reconnecting"]:
    if view.position is None:
        return "reconnecting"
    if view.reason != "line":
        return view.reason
    return "held" if view.rate_per_minute == 0 else "waiting"


@lru_cache(maxsize=256)
def _when(state: str, states: str) -> Markup:
    """Attributes of an element shown in `states`. A macro for it took two thirds of a rendering."""
    hidden = "" if state in states.split() else " hidden"
    return Markup('data-when="{}"{}').format(states, hidden)


def _is_path(path: str) -> bool:
    """Whether `path` stays on this site: `//host` and `/\\host` would not (WHATWG URL, 4.4)."""
    return path.startswith("/") and path[1:2] not in {"/", "\\"} and path.isprintable()


_SAMPLE = WaitingView(
    title=DEFAULT_TITLE,
    room="default",
    position=1284,
    ahead=1283,
    queue_length=4000,
    eta_seconds=154,
    rate_per_minute=500.0,
    refresh_seconds=5,
    arrived_at="2000-01-01T12:00:00Z",
    keep_place_minutes=10,
)
_SAMPLE_HELD = replace(_SAMPLE, rate_per_minute=0.0, eta_seconds=None)
_SAMPLE_UNKNOWN = replace(
    _SAMPLE, position=None, ahead=None, queue_length=None, eta_seconds=None, rate_per_minute=0.5
)


def _sample_problem(pages: Pages, *, retry_after_s: int | None) -> Page:
    return pages.problem(
        status=502, title="Out of reach", message="Nobody answers.", retry_after_s=retry_after_s
    )
