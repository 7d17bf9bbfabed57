"""The languages of the pages: negotiation, translations, and formats of numbers and times.

Rules: English is the source language and the fallback for untranslated messages. Catalogues are the
`.po` files under `gatekeeper/locale/`, read at the start and compiled at the first use of a
language (20 ms, once per process), with Babel's data of its locale. Replacing the installed files
does not change the texts of a running gate. Slow Babel formats are cached, bounded; formatting a
number costs less than a microsecond.
"""

from __future__ import annotations

import gettext
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import Literal

from babel import Locale
from babel.dates import format_date, format_skeleton, get_datetime_format
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.units import format_unit

SOURCE = "en"
LOCALE_FOLDER = Path(__file__).resolve().parent.parent / "locale"
DOMAIN = "gatekeeper"

# Tags for which truncation (RFC 4647 section 3.4) finds the wrong language or none: regions that
# imply a script, the old code of Hebrew, and Portuguese and Chinese without a region.
_ALIASES = {
    "iw": "he",
    "pt": "pt-br",
    "zh": "zh-hans",
    "zh-hk": "zh-hant",
    "zh-mo": "zh-hant",
    "zh-tw": "zh-hant",
}
# Chinese, Japanese and Korean have one form, which Babel keeps under "short".
_LENGTHS: tuple[Literal["long"], Literal["short"]] = ("long", "short")
_MINUTES_FROM_S = 90  # shorter times are counted in seconds
_MAX_RANGES = 20  # in one Accept-Language; browsers send a handful
_MAX_TAG = 40  # characters; RFC 5646 section 4.4.1 expects 35 at least


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """One language: its translations, and its formats of numbers and times."""

    code: str  # BCP 47, for lang="" and Content-Language
    locale: Locale
    translations: gettext.NullTranslations
    group: str  # between thousands

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        return "rtl" if self.locale.text_direction == "rtl" else "ltr"

    @property
    def intl(self) -> str:
        """The tag for `Intl` in the browser, with the digits that the server uses."""
        return f"{self.code}-u-nu-latn"

    def translate(self, message: str) -> str:
        return self.translations.gettext(message) if message else ""

    def plural(self, number: int) -> int:
        """The index of the plural form for this number, from 0."""
        rule = getattr(self.translations, "plural", None)  # the source has none
        return int(rule(number)) if rule is not None else int(number != 1)

    def number(self, number: float) -> str:
        """The number in this language's format, with grouped thousands for an integer."""
        if number != int(number):
            return str(format_decimal(number, locale=self.locale))
        return f"{number:,.0f}".replace(",", self.group)

    @lru_cache(maxsize=4096)  # noqa: B019  languages live as long as the process
    def span(self, unit: str, low: float, high: float) -> str:
        """`("minute", 2, 4)` → "2–4 minutes", with the plural form for the end of the range."""
        numbers = f"{self.number(low)}–{self.number(high)}"
        # A dual form contains no digits ("שעתיים"): then use the form for 3.
        for length in _LENGTHS:
            for number in (high, 3):
                text = self._unit(unit, number, length)
                if "duration" not in text and (shown := self.number(number)) in text:
                    return text.replace(shown, numbers, 1)
        return numbers

    @lru_cache(maxsize=1024)  # noqa: B019  as above
    def remaining(self, seconds: int) -> str:
        """`50` → "50 seconds", `130` → "3 minutes", rounded up as `static/renew.js` does."""
        is_short = seconds < _MINUTES_FROM_S
        unit, number = ("second", seconds) if is_short else ("minute", -(-seconds // 60))
        return self._unit(unit, number, "long")

    def _unit(self, unit: str, number: float, length: Literal["short", "long"]) -> str:
        return format_unit(number, f"duration-{unit}", length=length, locale=self.locale)

    @lru_cache(maxsize=1440)  # noqa: B019  as above
    def clock(self, hours: int, minutes: int) -> str:
        """A time of day with 24 hours, since it is shown in UTC."""
        return format_skeleton("Hm", time(hours, minutes), locale=self.locale)

    @lru_cache(maxsize=256)  # noqa: B019  as above
    def moment(self, at: str) -> str:
        """Date and time of an RFC 3339 time in UTC, as `clock` writes the time."""
        moment = datetime.fromisoformat(at)
        date = format_date(moment, format="long", locale=self.locale)
        pattern = str(get_datetime_format("medium", locale=self.locale)).replace("'", "")
        clock = self.clock(moment.hour, moment.minute)
        return pattern.replace("{1}", date).replace("{0}", clock)

    @lru_cache(maxsize=512)  # noqa: B019  as above
    def days(self, number: int) -> str:
        """`3` → "3 days"; a word without digits ("يومان") where the language has one."""
        return str(format_unit(number, "duration-day", length="long", locale=self.locale))


class _Languages(Mapping[str, Language]):
    """Languages by their code in lower case, created at the first lookup."""

    def __init__(self, catalogues: Mapping[str, bytes]) -> None:
        """`catalogues` by BCP 47 tag; English has none."""
        self._codes = {SOURCE: SOURCE} | {code.lower(): code for code in catalogues}
        self._catalogues = catalogues
        self._made: dict[str, Language] = {}

    def __getitem__(self, key: str) -> Language:
        made = self._made.get(key)
        if made is not None:
            return made
        code = self._codes[key]
        text = self._catalogues.get(code)
        language = _language(code, _compiled(text) if text else gettext.NullTranslations())
        return self._made.setdefault(key, language)  # one instance for all threads

    def __contains__(self, key: object) -> bool:
        return key in self._codes

    def __iter__(self) -> Iterator[str]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)


@cache
def languages() -> Mapping[str, Language]:
    """All languages by their code in lower case; English is always one of them."""
    found = sorted(LOCALE_FOLDER.glob(f"*/LC_MESSAGES/{DOMAIN}.po"))
    return _Languages(
        {path.parent.parent.name.replace("_", "-"): path.read_bytes() for path in found}
    )


def language_by_code(code: str) -> Language:
    """The language with this code, or English."""
    known, key = languages(), code.lower()
    return known[key if key in known else SOURCE]


@lru_cache(maxsize=1024)
def preferred(accept_language: str) -> Language:
    """The best language for this `Accept-Language` (RFC 9110 section 12.5.4): the lookup of
    RFC 4647 section 3.4 for each range, in the order of the weights."""
    known = languages()
    for each in sorted(_ranges(accept_language), key=lambda each: -each[1]):
        tag = each[0]
        while tag:
            if (code := _ALIASES.get(tag, tag)) in known:
                return known[code]
            tag = _shorter(tag)
    return known[SOURCE]


def _ranges(accept_language: str) -> Iterator[tuple[str, float]]:
    """The language ranges with a weight above 0; malformed ones are left out."""
    for part in accept_language.split(",")[:_MAX_RANGES]:
        tag, _, parameter = part.partition(";")
        name, _, value = parameter.strip().partition("=")
        try:
            weight = float(value) if name.strip().lower() == "q" else 1.0
        except ValueError:
            continue
        if 0 < weight <= 1:
            yield tag.strip()[:_MAX_TAG].lower(), weight


def _shorter(tag: str) -> str:
    """The tag without its last subtag, and without a single letter that introduced it."""
    rest = tag.rpartition("-")[0]
    return rest[:-2] if rest[-2:-1] == "-" else rest


def _language(code: str, translations: gettext.NullTranslations) -> Language:
    locale = Locale.parse(code, sep="-")
    return Language(code, locale, translations, group=format_decimal(1000, locale=locale)[1])


def _compiled(text: bytes) -> gettext.GNUTranslations:
    catalogue = read_po(BytesIO(text))
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
