"""The Jinja templates, built in or the operator's own, with one environment per language.

Rules: no I/O after the start: built-in templates are read at the start and compiled at their first
use; operators' templates are test rendered at the start. Each is compiled once for all languages. A
template finds its language in `lang`, `dir` and `intl`, and translations by `_`, `ngettext` and `{%
trans %}`; an untranslated message appears in English.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from types import CodeType

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    DictLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    meta,
)
from jinja2.bccache import Bucket, BytecodeCache
from markupsafe import Markup

from gatekeeper.pages.assets import built_in
from gatekeeper.pages.languages import Language
from gatekeeper.pages.slots import Slot


class Templates:
    """Renders a template by its name; files in `overrides` replace built-in ones of the same name.

    A replacement may extend the template it replaces: `{% extends "builtin/waiting.html" %}`.
    """

    def __init__(
        self,
        overrides: Path | None,
        *,
        asset_url: Callable[[str], str],
        asset_text: Callable[[str], str],
    ) -> None:
        files = sorted(built_in("templates").glob("*.html"))
        self._sources = {path.name: path.read_text("utf-8") for path in files}
        self._overrides = overrides
        shipped = DictLoader(self._sources)
        loaders: list[BaseLoader] = [shipped, PrefixLoader({"builtin": shipped})]
        if overrides is not None:
            loaders.insert(0, FileSystemLoader(overrides))
        self._loader = ChoiceLoader(loaders)
        self._compiled = _BytecodeStore()
        self._environments: dict[str, Environment] = {}  # by language, at its first use
        self._globals = {
            "asset_url": asset_url,
            "asset_text": lambda name: Markup(asset_text(name)),  # noqa: S704  our own file
        }

    def is_built_in(self, name: str) -> bool:
        """Whether the template `name` and all that it extends are the built-in ones."""
        source = self._sources.get(name)
        if source is None or (self._overrides is not None and (self._overrides / name).exists()):
            return False
        return all(each is not None and self.is_built_in(each) for each in _references(source))

    def render(self, name: str, language: Language, values: Mapping[str, object]) -> str:
        environment = self._environments.get(language.code)
        if environment is None:
            environment = _environment(language, self._loader, self._compiled)
            environment.globals |= self._globals
            self._environments[language.code] = environment
        return environment.get_template(name).render(values)


@cache
def _references(source: str) -> frozenset[str | None]:
    """The templates that a built-in one extends or includes; None: the name is computed."""
    environment = Environment(autoescape=True, extensions=["jinja2.ext.i18n"])
    return frozenset(meta.find_referenced_templates(environment.parse(source)))


def _environment(language: Language, loader: BaseLoader, compiled: BytecodeCache) -> Environment:
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        bytecode_cache=compiled,
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # constant folding would apply the first language's filters for all
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_callables(  # type: ignore[attr-defined]  # of the extension
        language.translate, partial(_counted, language), newstyle=True
    )
    environment.globals |= {
        "lang": language.code,
        "dir": language.direction,
        "intl": language.intl,
    }
    environment.filters["number"] = partial(_number, language)
    return environment


def _counted(language: Language, singular: str, plural: str, number: int | Slot) -> str:
    if isinstance(number, Slot):
        number = number.counted(language.plural)
    return language.translations.ngettext(singular, plural, number)


def _number(language: Language, number: float | Slot) -> str:
    return number.formatted if isinstance(number, Slot) else language.number(number)


class _BytecodeStore(BytecodeCache):
    """Shares the compiled bytecode between the environments of all languages."""

    def __init__(self) -> None:
        self._code: dict[str, CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._code.get(bucket.key)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.code
