"""The parameters of a query, and cookies, as an origin could read their names and values.

Rules. Pure. The strict reading applies as for paths: a name is searched in every form that some
origin accepts, and its value is read in several ways. The work is linear: one search finds the
possible positions of the name, and only these are parsed. It is bounded: a name with more than
`_MAX_VALUES` values is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase

from gatekeeper.policy.readings import TooManyReadings, percent_decoded

# Values of one name, in all readings. A form has a few; this many take about 1 ms.
_MAX_VALUES = 400

# The characters that `trim` of PHP and of other languages removes, and the byte order mark.
_BLANKS = "\0\ufeff" + "".join(each for each in map(chr, range(0x3001)) if each.isspace())
_ONE_NAME = re.compile(r"[A-Za-z0-9_-]*")  # parsed in the same way everywhere
_TAG = re.compile(r"<[^>]*>?")
_ESCAPED_BYTE = re.compile(r"%[0-9A-Fa-f]{2}")
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_NAME_END = re.compile(r"[\[. ]")  # where the name of a list or of a part ends: `a[]`, `a.x`

_ANY_ESCAPE = "%(?:25)?[0-9A-Fa-f]{2}"  # plain, or encoded again
_BLANK = f"[{re.escape(_BLANKS)}]"
_NO_LONGER_NAME = "(?![A-Za-z0-9_-])"


class TooManyValues(TooManyReadings):
    """A parameter or cookie with hundreds of values."""


def form_decoded(text: str) -> str:
    """Decode the name or value of a form parameter (`+` is a blank)."""
    if "%" not in text:
        return text.replace("+", " ")
    data, _ = percent_decoded(text.replace("+", " ").encode("utf-8", "surrogateescape"))
    return data.decode("utf-8", "replace")


def own_values(query: str, wanted: str) -> Iterator[str]:
    """The values of one of the gate's own parameters."""
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if pair and (name == wanted or form_decoded(name) == wanted):
            yield form_decoded(value)


def first_value(query: str, wanted: str) -> str | None:
    """The first non-empty value of one of the gate's own parameters."""
    return next(filter(None, own_values(query, wanted)), None)


def parameter_values(query: str, wanted: str, *, every: bool) -> tuple[str, ...]:
    """The values of a parameter, in every reading of its name and value; with `every` none unless
    the plain reading has it. Raises TooManyValues."""
    by_ampersand, by_both = _parameters_named(wanted)
    plain: dict[str, None] = {}
    loose: dict[str, None] = {}
    parts = dict.fromkeys(by_both.findall(f"&{query}"), False) if ";" in query else {}
    parts |= dict.fromkeys(by_ampersand.findall(f"&{query}"), True)
    for part, is_plain in parts.items():
        raw_name, _, raw_value = part.partition("=")
        name, value = form_decoded(raw_name), form_decoded(raw_value)
        if is_plain and name == wanted:
            plain[value] = None
        if is_read_as(name, wanted) or ("%" in name and is_read_as(form_decoded(name), wanted)):
            loose |= dict.fromkeys(value_readings(value))
        if max(len(plain), len(loose)) > _MAX_VALUES:
            raise TooManyValues
    return () if every and not plain else tuple(plain | loose)


def cookie_values(fields: Iterable[str], wanted: str, *, every: bool) -> tuple[str, ...]:
    """The values of a cookie in all Cookie fields, in every reading. Raises TooManyValues."""
    has_plain = False
    found: dict[str, None] = {}
    for cookies in fields:
        for crumb in dict.fromkeys(_crumbs_named(wanted).findall(f";{cookies}")):
            name, _, value = crumb.partition("=")
            name = name.strip()
            has_plain |= name == wanted
            if is_read_as(name, wanted):
                found[value.strip().strip('"')] = None
            if len(found) > _MAX_VALUES:
                raise TooManyValues
    return () if every and not has_plain else tuple(found)


def is_read_as(name: str, wanted: str) -> bool:
    """Whether an origin may read the name of a parameter or cookie as `wanted`; some ignore the
    letter case."""
    return not _names_of(wanted).isdisjoint(_loose_names(_lowered(name)))


@lru_cache(maxsize=1024)
def _names_of(wanted: str) -> frozenset[str]:
    return frozenset((_lowered(wanted), _lowered(loose_name(wanted))))


def _lowered(name: str) -> str:
    return name.lower() if name.isascii() else name.translate(_LOWER)


@lru_cache(maxsize=1024)  # of names in the configuration
def _parameters_named(wanted: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A finder of every parameter that may be read as `wanted`, with the separator `&`, and with
    `;` as well (HTML 4.01, section B.2.2)."""
    blanks = rf"(?:{_BLANK}|\+|{_ANY_ESCAPE})*"
    between = rf"(?:[_. \[+]|{_ANY_ESCAPE})"
    name = "".join(between if each in "_. [" else _letter(each) for each in loose_name(wanted))
    start = f"({blanks}{name}{_NO_LONGER_NAME}"
    flags = re.IGNORECASE
    return re.compile(f"&{start}[^&]*)", flags), re.compile(f"[&;]{start}[^&;]*)", flags)


@lru_cache(maxsize=1024)
def _crumbs_named(wanted: str) -> re.Pattern[str]:
    """A finder of every cookie that may be read as `wanted`."""
    letters = loose_name(wanted)
    name = "".join(r"[_. \[]" if each in "_. [" else re.escape(each) for each in letters)
    return re.compile(f";({_BLANK}*{name}{_NO_LONGER_NAME}[^;]*)", re.IGNORECASE)


def _letter(letter: str) -> str:
    """A pattern of a character in either case, plain or percent-encoded, up to twice."""
    forms = {re.escape(letter)}
    for each in {letter, letter.lower(), letter.upper()}:
        data = each.encode("utf-8", "surrogatepass")
        forms.add("".join(f"%(?:25)?{byte:02x}" for byte in data))
    return f"(?:{'|'.join(sorted(forms))})"


def value_readings(value: str) -> tuple[str, ...]:
    """A value unchanged, decoded once more, cleaned as by WordPress (without tags, then without
    escapes), and each of these also cut at NUL, and trimmed of blanks and NULs."""
    if _ONE_NAME.fullmatch(value):
        return (value,)
    found: dict[str, None] = {}
    for decoded in dict.fromkeys((value, form_decoded(value))):
        untagged = _TAG.sub("", decoded)
        for each in dict.fromkeys((decoded, untagged, _unescaped(untagged))):
            ended = each.partition("\0")[0]
            found |= dict.fromkeys((each, ended, each.strip(_BLANKS), ended.strip(_BLANKS)))
    return tuple(found)


def _unescaped(value: str) -> str:
    """The text without escapes, including those that appear when others are removed."""
    if "%" not in value:
        return value
    once = _ESCAPED_BYTE.sub("", value)
    if _ESCAPED_BYTE.search(once) is None:
        return once
    kept: list[str] = []
    for character in value:
        is_end = character in _HEX_DIGITS and len(kept) > 1
        if is_end and kept[-2] == "%" and kept[-1] in _HEX_DIGITS:
            del kept[-2:]
        else:
            kept.append(character)
    return "".join(kept)


def underscored_values(fields: Iterable[tuple[str, str]], name: str) -> list[str]:
    """The values of fields that CGI treats as `name`: with `_` for `-` (RFC 3875 section
    4.1.18)."""
    wanted = name.lower()
    dashed = wanted.replace("_", "-")
    return [
        value
        for field, value in fields
        if "_" in field and field.lower() != wanted and field.lower().replace("_", "-") == dashed
    ]


def _loose_names(name: str) -> tuple[str, ...]:
    if _ONE_NAME.fullmatch(name):
        return (name,)
    text = name.strip(_BLANKS).partition("\0")[0]
    base = _NAME_END.split(text, maxsplit=1)[0]
    return (name, loose_name(name), loose_name(text), loose_name(text.replace("[", "_", 1)), base)


def loose_name(name: str) -> str:
    """The name of a parameter as PHP reads it: without leading blanks, cut at NUL, and with `_` for
    blanks and dots."""
    return name.lstrip(" \t\r\n\v\f").partition("\0")[0].replace(" ", "_").replace(".", "_")
