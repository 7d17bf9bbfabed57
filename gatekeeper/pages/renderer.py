"""All pages: the waiting page, problem pages, the left page, and the operator's dashboard.

Rules: no I/O after the start and no clock. With operator files, `Pages` compiles every template
that they change and renders it with sample data in every language, so that a broken template
prevents the start; the built-in files are tested before a release. If a template fails on real
data, the built-in page is served and one log event names it. All texts are in the templates and in
`states`; this module only adds numbers. A public page embeds its style and script, allowed by their
hashes in `csp`, so that one request is enough. `csp` forbids other inline code and external files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import structlog
from jinja2 import TemplateSyntaxError

from gatekeeper.config.schema import Config
from gatekeeper.errors import ConfigError
from gatekeeper.pages.assets import Asset, Assets
from gatekeeper.pages.client_script import FILE, ClientScript, client_script
from gatekeeper.pages.content import Page, RenderedBody
from gatekeeper.pages.content_policy import content_policy
from gatekeeper.pages.languages import SOURCE, Language, language_by_code, languages
from gatekeeper.pages.mustache import SUFFIX, MustacheTemplate
from gatekeeper.pages.problem_states import (
    CONTINUE_ELSEWHERE,
    CONTINUE_HERE,
    DENIED,
    NO_PLACE,
    NOT_SENT,
    problem_state,
)
from gatekeeper.pages.qr_code import QrCode, qr_code_of
from gatekeeper.pages.samples import SAMPLE_EVENTS, SAMPLE_VIEWS
from gatekeeper.pages.states import STATE_ROWS
from gatekeeper.pages.templates import Templates
from gatekeeper.pages.waiting_page import JinjaTemplate, WaitingPage, WaitingTemplate
from gatekeeper.pages.waiting_view import (
    DEFAULT_TITLE,
    WaitingView,
    WaitRange,
    wait_range,
)

__all__ = ["DEFAULT_TITLE", "Page", "Pages", "WaitRange", "WaitingView", "wait_range"]

WAITING = "waiting.html"
PUBLIC_ASSET_PREFIX = "/.gatekeeper/static/"

# Embedded in the public pages. 'self' lets an operator's template link to more files.
_SCRIPTS = ("waiting.js", "options.js", "countdown.js", "renew.js", "problem.js")
_OF_CHALLENGES = ("challenge.js",)  # in the page that shows one
_STYLES = ("waiting.css",)
_DASHBOARD = "dashboard.html"
_SAMPLE_LINK = "https://shop.example.com/.gatekeeper/continue?code=1"

log = structlog.get_logger()


class Pages:
    """All pages and assets. `templates` and `static` override the built-in files one by one."""

    dashboard_csp = content_policy(frames="'none'")

    def __init__(
        self,
        *,
        templates: Path | None = None,
        static: Path | None = None,
        asset_prefix: str = PUBLIC_ASSET_PREFIX,
        waiting: Iterable[str] = (WAITING,),
    ) -> None:
        """`waiting`: names of waiting page templates in addition to the built-in one."""
        self._assets = Assets(overrides=static, prefix=asset_prefix)
        self._templates = Templates(
            templates, asset_url=self.asset_url, asset_text=self._assets.text
        )
        # A site may embed its own pages in frames, so the waiting page may appear in such a frame.
        self.csp = self._page_policy()
        self._waiting = {
            name: WaitingPage(self._waiting_template(name, templates))
            for name in {WAITING, *waiting}
        }
        source = language_by_code(SOURCE)
        self._scripts = {SOURCE: client_script(self._assets.text(FILE), source)}
        self._failed: set[str] = set()  # templates that failed on real data
        self._built_in: Pages | None = None
        if templates or static or self._waiting.keys() != {WAITING}:
            # Files of `static` are embedded in every page, and are the same in every language.
            self.check(
                source=str(templates) if templates else "templates",
                built_in=(SOURCE,) if static else (),
            )
        if templates is not None:
            self._built_in = _built_in(asset_prefix, frozenset())

    @classmethod
    def of(cls, config: Config, *, asset_prefix: str = PUBLIC_ASSET_PREFIX) -> Pages:
        server, waiting = config.server, frozenset(room.template for room in config.rooms)
        if not server.templates and not server.static:
            return _built_in(asset_prefix, waiting)
        return cls(
            templates=Path(server.templates) if server.templates else None,
            static=Path(server.static) if server.static else None,
            asset_prefix=asset_prefix,
            waiting=waiting,
        )

    def waiting(self, view: WaitingView, template: str = WAITING) -> Page:
        """The waiting page of one visitor, for a response with the room's waiting status."""
        try:
            return self._waiting[template].page(view)
        except Exception as error:  # noqa: BLE001  a template may raise anything
            return self._fallback(template, error).waiting(view)

    def waiting_page(self, template: str = WAITING) -> WaitingPage:
        return self._waiting[template]

    def problem(
        self,
        *,
        status: int,
        title: str,
        message: str,
        retry_after_s: int | None,
        lang: str = SOURCE,
    ) -> Page:
        """A problem page. With `retry_after_s` the page reloads itself after that time; pass None
        if the request was not safe (RFC 9110 section 9.2.1)."""
        language = language_by_code(lang)
        return self._render(
            "problem.html",
            language,
            row=problem_state(status, retries=retry_after_s is not None),
            status=status,
            title=language.translate(title),
            message=language.translate(message),
            retry_after_s=retry_after_s,
        )

    def denied(self, reason: str, *, lang: str = SOURCE) -> Page:
        """The page of a denied visitor."""
        language, row = language_by_code(lang), DENIED[reason]
        return self._render(
            "problem.html",
            language,
            row=replace(row, lead=""),
            status=403,
            title=language.translate(row.heading),
            message=language.translate(row.lead),
            retry_after_s=None,
        )

    def left(self, *, path: str = "/", lang: str = SOURCE) -> Page:
        """The page after leaving without script; its link `path` on this site leads back to the
        line."""
        path = path if is_path(path) else "/"
        return self._render("left.html", language_by_code(lang), row=STATE_ROWS["left"], path=path)

    def not_sent(self, *, path: str = "/", lang: str = SOURCE, is_safe: bool = False) -> Page:
        """The page for a refused form, or for another request (`is_safe`) that creates no place;
        its link `path` on this site leads to the line."""
        row = NO_PLACE if is_safe else NOT_SENT
        path = path if is_path(path) else "/"
        return self._render("not_sent.html", language_by_code(lang), row=row, path=path)

    def move_offer(
        self, *, link: str, code: QrCode, way_back: str = "/", lang: str = SOURCE
    ) -> Page:
        """The link that moves a place to another device, and its QR code, without script;
        `way_back` on this site leads to the waiting page."""
        language, path = language_by_code(lang), way_back if is_path(way_back) else "/"
        row = CONTINUE_ELSEWHERE
        return self._render("move.html", language, row=row, link=link, code=code, path=path)

    def move_question(self, *, error: str = "", lang: str = SOURCE) -> Page:
        """The page that asks whether to continue on this device; its form posts to the same
        address. `error`: why the last attempt failed."""
        language = language_by_code(lang)
        error = language.translate(error) if error else ""
        return self._render("continue.html", language, row=CONTINUE_HERE, error=error)

    def dashboard(self) -> Page:
        """The page of the control room, with `dashboard_csp`."""
        return self._render(_DASHBOARD, language_by_code(SOURCE))

    def client_script(self, lang: str) -> ClientScript:
        """`client.js` in a language, or in English."""
        language = language_by_code(lang)
        script = self._scripts.get(language.code)
        if script is None:
            script = client_script(self._assets.text(FILE), language)
            self._scripts[language.code] = script
        return script

    def asset(self, name: str) -> Asset | None:
        """The file with the served name `name` (with its hash), which may be cached forever."""
        found = self._assets.get(name)
        if found is None and self._built_in is not None:
            return self._built_in.asset(name)  # for a built-in page that is served as fallback
        return found

    def asset_url(self, name: str) -> str:
        """`waiting.css` → `/.gatekeeper/static/waiting.<hash>.css`; raises KeyError if unknown."""
        return self._assets.url(name)

    def _waiting_template(self, name: str, folder: Path | None) -> WaitingTemplate:
        if not name.endswith(SUFFIX):
            return JinjaTemplate(self._templates, name=name, policy=self._page_policy)
        if folder is None:
            raise ConfigError([f"{name} requires server.templates"], source="server.templates")
        return MustacheTemplate(folder / name)

    def _page_policy(self, challenge: str = "") -> str:
        scripts = (*_SCRIPTS, *_OF_CHALLENGES) if challenge else _SCRIPTS
        return content_policy(
            scripts=self._assets.sources(*scripts),
            styles=self._assets.sources(*_STYLES),
            frames="'self'",
            challenge=challenge,
        )

    def _render(self, template: str, language: Language, **values: object) -> Page:
        try:
            body = self._templates.render(template, language, values)
        except Exception as error:  # noqa: BLE001  as above
            built_in = self._fallback(template, error)
            return built_in._render(template, language, **values)  # noqa: SLF001  of the same class
        csp = self.dashboard_csp if template == _DASHBOARD else self.csp
        return Page(RenderedBody(body.encode()), csp, language.code)

    def _fallback(self, template: str, error: Exception) -> Pages:
        """The built-in pages, for an operator's `template` that failed."""
        if self._built_in is None:
            raise error
        if template not in self._failed:
            self._failed.add(template)
            log.error("template_failed", template=template, error=repr(error))
        return self._built_in

    def _sample_move_offer(self, *, lang: str) -> Page:
        return self.move_offer(link=_SAMPLE_LINK, code=_sample_code(), lang=lang)

    def check(self, *, source: str, built_in: Collection[str]) -> None:
        """Render every page with sample data in every language, or in the languages `built_in` if
        its template is a built-in one. Raises ConfigError with all problems; a template that cannot
        be composed correctly is rendered for each visitor from now on."""
        problems: list[str] = []
        for lang in (each.code for each in languages().values()):
            for name, render in self._samples(lang):
                if lang not in built_in and self._templates.is_built_in(name):
                    continue
                try:
                    render()
                except TemplateSyntaxError as error:
                    problems.append(f"{error.name or name}:{error.lineno}: {error.message}")
                except Exception as error:  # noqa: BLE001  as above
                    problems.append(f"{name}: {type(error).__name__}: {error}")
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)), source=source)

    def _samples(self, lang: str) -> Iterator[tuple[str, Callable[[], object]]]:
        """Every page in a language, and in English in every state, by its template's name."""
        views = (*SAMPLE_VIEWS.values(), *SAMPLE_EVENTS.values())
        for name, page in self._waiting.items():
            for view in views if lang == SOURCE else [SAMPLE_VIEWS["waiting"]]:
                yield name, partial(page.rendered, replace(view, lang=lang))
        for retry_after_s in (5, None):
            yield (
                "problem.html",
                partial(
                    self.problem,
                    status=502,
                    title="Bad Gateway",
                    message="The site is not responding.",
                    retry_after_s=retry_after_s,
                    lang=lang,
                ),
            )
        yield "left.html", partial(self.left, lang=lang)
        yield "problem.html", partial(self.denied, "invitation", lang=lang)
        yield "continue.html", partial(self.move_question, error="Not now.", lang=lang)
        yield "move.html", partial(self._sample_move_offer, lang=lang)
        for is_safe in (True, False):
            yield "not_sent.html", partial(self.not_sent, lang=lang, is_safe=is_safe)
        if lang == SOURCE:
            yield _DASHBOARD, self.dashboard
            for name, page in self._waiting.items():
                yield name, page.try_out


@cache
def _sample_code() -> QrCode:
    return qr_code_of(_SAMPLE_LINK)


@cache
def _built_in(asset_prefix: str, waiting: frozenset[str]) -> Pages:
    """One instance per process: built-in files never change."""
    return Pages(asset_prefix=asset_prefix, waiting=waiting)


def is_path(path: str) -> bool:
    """Whether `path` stays on this site: `//host` and `/\\host` would not (WHATWG URL, 4.4)."""
    return path.startswith("/") and path[1:2] not in {"/", "\\"} and path.isprintable()
