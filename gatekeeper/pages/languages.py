"""The languages of the pages: which one a visitor reads, its words, and how it writes numbers.

Rules: English is the source, and stands in for whatever a catalogue lacks. Catalogues are the
`.po` files under `gatekeeper/locale/`, compiled in memory once per process; after that there is no
I/O. What Babel takes long to write is cached, bounded, by what is written: a number costs less
than a microsecond.
"""

from __future__ import annotations

import gettext
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import time
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import Literal

from babel import Locale
from babel.dates import format_skeleton
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.units import format_unit

SOURCE = "en"
LOCALE_FOLDER = Path(__file__).resolve().parent.parent / "locale"
DOMAIN = "gatekeeper"

# Tags whose truncation (RFC 4647 section 3.4) would miss what their readers read: regions that
# imply a script, the old code of Hebrew, and the only Portuguese and the usual Chinese there is.
_READ_AS = {
    "iw": "he",
    "pt": "pt-br",
    "zh": "zh-hans",
    "zh-hk": "zh-hant",
    "zh-mo": "zh-hant",
    "zh-tw": "zh-hant",
}
# Chinese, Japanese and Korean have one form, which Babel keeps under "short".
_LENGTHS: tuple[Literal["long"], Literal["short"]] = ("long", "short")
_MOST_RANGES = 20  # in one Accept-Language; browsers send a handful


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """One language: its words by `translations`, and its ways with numbers."""

    code: str  # BCP 47, for lang="" and Content-Language
    locale: Locale
    translations: gettext.NullTranslations
    group: str  # between thousands

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        return "rtl" if self.locale.text_direction == "rtl" else "ltr"

    @property
    def intl(self) -> str:
        """The tag for `Intl` in the browser, so that it takes the same digits as we do."""
        return f"{self.code}-u-nu-latn"

    def words(self, message: str) -> str:
        return self.translations.gettext(message) if message else ""

    def plural(self, number: int) -> int:
        """Which of the plural forms this number takes, from 0."""
        rule = getattr(self.translations, "plural", None)  # the source has none
        return int(rule(number)) if rule is not None else int(number != 1)

    def number(self, number: float) -> str:
        """A whole number with its thousands grouped; one with a fraction as Babel writes it."""
        if number != int(number):
            return str(format_decimal(number, locale=self.locale))
        return f"{number:,.0f}".replace(",", self.group)

    @lru_cache(maxsize=4096)  # noqa: B019  languages live as long as the process
    def span(self, unit: str, low: float, high: float) -> str:
        """`("minute", 2, 4)` → "2–4 minutes", with the form of the word that the end asks for."""
        numbers = f"{self.number(low)}–{self.number(high)}"
        # A dual names its number in the word alone ("שעתיים"): take the form of a few then.
        for length in _LENGTHS:
            for number in (high, 3):
                text = self._unit(unit, number, length)
                if "duration" not in text and (shown := self.number(number)) in text:
                    return text.replace(shown, numbers, 1)
        return numbers

    def _unit(self, unit: str, number: float, length: Literal["short", "long"]) -> str:
        return format_unit(number, f"duration-{unit}", length=length, locale=self.locale)

    @lru_cache(maxsize=1440)  # noqa: B019  as above
    def clock(self, hours: int, minutes: int) -> str:
        """A time of day of 24 hours: told in UTC, which nobody reads as a.m. or p.m."""
        return format_skeleton("Hm", time(hours, minutes), locale=self.locale)


def N_(message: str) -> str:  # noqa: N802  as gettext's users know it
    """Marks a message that is translated where it is shown."""
    return message


@cache
def languages() -> Mapping[str, Language]:
    """All of them by their code in lower case; English is always there."""
    found = {SOURCE: _language(SOURCE, gettext.NullTranslations())}
    for path in sorted(LOCALE_FOLDER.glob(f"*/LC_MESSAGES/{DOMAIN}.po")):
        code = path.parent.parent.name.replace("_", "-")
        found[code.lower()] = _language(code, _compiled(path))
    return found


def language(code: str) -> Language:
    """The language of this code, or English."""
    return languages().get(code.lower(), languages()[SOURCE])


@lru_cache(maxsize=1024)
def preferred(accept_language: str) -> Language:
    """What the sender of this `Accept-Language` reads best: RFC 9110 section 12.5.4, RFC 4647
    section 3.4 for each range in the order of its weight."""
    known = languages()
    for wanted in sorted(_ranges(accept_language), key=lambda each: -each[1]):
        tag = wanted[0]
        while tag:
            if (code := _READ_AS.get(tag, tag)) in known:
                return known[code]
            tag = _shorter(tag)
    return known[SOURCE]


def _ranges(accept_language: str) -> Iterator[tuple[str, float]]:
    """Language ranges with a weight above 0. What is no range, or weighs nothing, is left out."""
    for part in accept_language.split(",")[:_MOST_RANGES]:
        tag, _, parameter = part.partition(";")
        name, _, value = parameter.strip().partition("=")
        try:
            weight = float(value) if name.strip().lower() == "q" else 1.0
        except ValueError:
            continue
        if 0 < weight <= 1:
            yield tag.strip().lower(), weight


def _shorter(tag: str) -> str:
    """Without the last subtag, and without the single letter that introduced it."""
    rest = tag.rpartition("-")[0]
    return rest[:-2] if rest[-2:-1] == "-" else rest


def _language(code: str, translations: gettext.NullTranslations) -> Language:
    locale = Locale.parse(code, sep="-")
    return Language(code, locale, translations, group=format_decimal(1000, locale=locale)[1])


def _compiled(path: Path) -> gettext.GNUTranslations:
    with path.open("rb") as file:
        catalogue = read_po(file)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
