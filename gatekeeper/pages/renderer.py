"""What people see: the waiting page, notices, and the operator's dashboard.

Rules: no I/O after the start and no clock. Every template is compiled and rendered with sample
data, in every language, when `Pages` is made, so that a user's broken template stops the start;
should it break on real data all the same, the built-in page serves and the log says so once.
Templates hold all the words, catalogues their translations, and this module only the numbers.
A public page carries its style and script, named by their hashes in `csp`: one request is enough.
No page needs any other inline code or anything from elsewhere, and `csp` holds them to that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import structlog
from jinja2 import TemplateSyntaxError

from gatekeeper.config.schema import Config
from gatekeeper.errors import ConfigError
from gatekeeper.pages.assets import Asset, Assets
from gatekeeper.pages.content import Page, Rendered
from gatekeeper.pages.languages import SOURCE, Language, language, languages
from gatekeeper.pages.mustache import SUFFIX, MustachePage
from gatekeeper.pages.samples import STATES
from gatekeeper.pages.states import STATES as ROWS
from gatekeeper.pages.states import problem_state
from gatekeeper.pages.templates import Templates
from gatekeeper.pages.waiting_page import Form, WaitingPage, WaitingTemplate
from gatekeeper.pages.waiting_view import (
    DEFAULT_TITLE,
    WaitingView,
    WaitRange,
    wait_range,
)

__all__ = ["DEFAULT_TITLE", "Page", "Pages", "WaitRange", "WaitingView", "wait_range"]

WAITING = "waiting.html"
PUBLIC_ASSET_PREFIX = "/.gatekeeper/static/"

# Trusted Types make a slip into innerHTML an error in the browser, not a hole.
_POLICY = (
    "default-src 'none'; script-src 'self'{scripts}; style-src 'self'{styles}; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors {frames}"
)
# What the public pages carry, so that one request is enough; by 'self' a template may link to more.
_SCRIPTS = ("waiting.js", "options.js", "problem.js")
_STYLES = ("waiting.css",)
_DASHBOARD = "dashboard.html"

log = structlog.get_logger()


class Pages:
    """All pages and assets. `templates` and `static` override the built-in files one by one."""

    dashboard_csp = _POLICY.format(scripts="", styles="", frames="'none'")

    def __init__(
        self,
        *,
        templates: Path | None = None,
        static: Path | None = None,
        asset_prefix: str = PUBLIC_ASSET_PREFIX,
        waiting: Iterable[str] = (WAITING,),
    ) -> None:
        """`waiting` are the names of templates for those who wait; the built-in one always is."""
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
        self._waiting = {
            name: WaitingPage(self._form(name, templates)) for name in {WAITING, *waiting}
        }
        self._failed: set[str] = set()  # templates that broke on real data
        self._built_in: Pages | None = None
        self._check(source=str(templates) if templates else "templates")
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
        """The page of one who waits; it goes out with the room's waiting status and `no-store`."""
        try:
            return self._waiting[template].page(view)
        except Exception as error:  # noqa: BLE001  a template may raise anything
            return self._instead_of(template, error).waiting(view)

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
        """What went wrong, in words. With `retry_after_s` the page asks again by itself then, so
        pass None when the request was not a safe one (RFC 9110 section 9.2.1)."""
        words = language(lang)
        return self._render(
            "problem.html",
            words,
            row=problem_state(status, retries=retry_after_s is not None),
            status=status,
            title=words.words(title),
            message=words.words(message),
            retry_after_s=retry_after_s,
        )

    def left(self, *, path: str = "/", lang: str = SOURCE) -> Page:
        """The answer to a leave without script; `path` is where on this site to line up again."""
        path = path if _is_path(path) else "/"
        return self._render("left.html", language(lang), row=ROWS["left"], path=path)

    def dashboard(self) -> Page:
        """The operator's page; it goes out with `dashboard_csp`."""
        return self._render(_DASHBOARD, language(SOURCE))

    def asset(self, name: str) -> Asset | None:
        """The file served as `name` (with its hash), to be cached for good."""
        found = self._assets.get(name)
        if found is None and self._built_in is not None:
            return self._built_in.asset(name)  # of a page that serves instead
        return found

    def asset_url(self, name: str) -> str:
        """`waiting.css` → `/.gatekeeper/static/waiting.<hash>.css`; `KeyError` if there is none."""
        return self._assets.url(name)

    def _form(self, name: str, folder: Path | None) -> Form:
        if not name.endswith(SUFFIX):
            return WaitingTemplate(self._templates, name=name, csp=self.csp)
        if folder is None:
            raise ConfigError([f"{name} stands in no folder"], source="server.templates")
        return MustachePage(folder / name)

    def _render(self, template: str, words: Language, **values: object) -> Page:
        try:
            body = self._templates.render(template, words, values)
        except Exception as error:  # noqa: BLE001  as above
            built_in = self._instead_of(template, error)
            return built_in._render(template, words, **values)  # noqa: SLF001  of the same class
        csp = self.dashboard_csp if template == _DASHBOARD else self.csp
        return Page(Rendered(body.encode()), csp, words.code)

    def _instead_of(self, template: str, error: Exception) -> Pages:
        """The built-in pages, since the operator's `template` failed."""
        if self._built_in is None:
            raise error
        if template not in self._failed:
            self._failed.add(template)
            log.error("template_failed", template=template, error=repr(error))
        return self._built_in

    def _check(self, *, source: str) -> None:
        problems: list[str] = []
        for name, render in self._samples():
            try:
                render()
            except TemplateSyntaxError as error:
                problems.append(f"{error.name or name}:{error.lineno}: {error.message}")
            except Exception as error:  # noqa: BLE001  as above
                problems.append(f"{name}: {type(error).__name__}: {error}")
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)), source=source)

    def _samples(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Every page in every language, by the name of its template, and English in every state."""
        for lang in (each.code for each in languages().values()):
            for name, page in self._waiting.items():
                for view in STATES.values() if lang == SOURCE else [STATES["waiting"]]:
                    yield name, partial(page.rendered, replace(view, lang=lang))
            for retry_after_s in (5, None):
                yield (
                    "problem.html",
                    partial(
                        self.problem,
                        status=502,
                        title="Out of reach",
                        message="Nobody answers.",
                        retry_after_s=retry_after_s,
                        lang=lang,
                    ),
                )
            yield "left.html", partial(self.left, lang=lang)
        yield _DASHBOARD, self.dashboard
        for name, page in self._waiting.items():
            yield name, page.try_out


@cache
def _built_in(asset_prefix: str, waiting: frozenset[str]) -> Pages:
    """The same for all who serve them in this process: no file of theirs ever changes."""
    return Pages(asset_prefix=asset_prefix, waiting=waiting)


def _is_path(path: str) -> bool:
    """Whether `path` stays on this site: `//host` and `/\\host` would not (WHATWG URL, 4.4)."""
    return path.startswith("/") and path[1:2] not in {"/", "\\"} and path.isprintable()
