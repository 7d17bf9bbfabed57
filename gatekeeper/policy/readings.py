"""The ways in which an origin could read the path of a request target, a parameter or a field.

Rules. Pure. What is forwarded stays byte for byte; this is about what is matched. Every step that
some common origin, or a proxy before it, takes is a reading of its own, alone and together with the
others: it may decode the path up to two times, strictly or leniently (`%u002e`, overlong UTF-8,
full-width forms), take `\\` for `/`, drop the parameters of segments or a session of ASP.NET, drop
dots and blanks at the end of segments, drop control characters or end the path there, and resolve
dot segments.

That `//` is `/` is no reading of its own: sloppy links have it, and origins treat them alike. But
it counts where dots are resolved: `/a//../b` is `/a/b` (RFC 3986 section 5.2.4) or `/b`.

Where origins do things that no list covers, the path is ambiguous: readings still tighten, and no
reading loosens. The work is bounded: a path with more readings than that is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_plus, unquote_to_bytes

# One reading only: no escapes, parameters or backslashes, and no dots but within a segment.
_PLAIN = re.compile(r"(?:/(?:\.?[A-Za-z0-9_~@+,=!$&'()*-]+(?:\.[A-Za-z0-9_~@+,=!$&'()*-]+)*)?)*")
# Besides escapes of plain text, which are common: two readings.
_ODD = re.compile(r"[^\x20-\x7e]|[\\;]|/\.|[. ](?:/|$)|%(?![0-9A-Fa-f]{2})")
_ODD_DECODED = re.compile(r"[\x00-\x1f\x7f\\;%?#\ud800-\udfff\ufffd]|/\.|[. ](?:/|$)|::\$")
_SLASHES = re.compile(r"/{2,}")
_DECODE_ROUNDS = 2  # an origin behind another proxy may decode twice
# What is looked at of one path: a few ms of work. One of escapes in plain UTF-8 has fewer than 10
# variants, and any mixture of known ways around a room has fewer than 200.
_MOST_VARIANTS, _MOST_CHARACTERS = 200, 40_000

_ESCAPE = re.compile(r"%(?:[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_END = re.compile(r"[\x00?#]")  # where an origin that has decoded the path may end it
_UTF_16 = re.compile(r"%u([0-9A-Fa-f]{4})")  # as ASP and IIS decode it
# UTF-8 of ASCII in more bytes than it takes (RFC 3629 section 3); old decoders do not look at the
# first bits of what follows.
_OVERLONG = re.compile(rb"[\xc0\xc1](?s:.)|\xe0[\x80\x81][\x80-\xbf]|\xf0\x80[\x80\x81][\x80-\xbf]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
# Without a width: file systems of macOS ignore them in names.
_IGNORED = re.compile(r"[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
# Mapped by code pages of Windows, not by NFKC.
_LOOKALIKES = str.maketrans("∕⁄⧸╱∖⧵╲¥￥₩￦。｡ı", "////\\\\\\\\\\\\\\..i")
# Dots and blanks that Windows drops from the end of a segment.
_BLANK_ENDS = re.compile(r"(?<![/. ])[. ]+(?=/|$)|(?:(?<=/\.)|(?<=/\.\.)) +(?=/|$)")
# A segment of dots and blanks alone, other than "." and "..".
_ODD_DOTS = re.compile(r"/(?!\.{1,2}(?:/|$))[. ]+(?=/|$)")
# The state of ASP.NET without cookies: "/(S(…))" with one or several letters.
_SESSION = re.compile(r"/\((?:[A-Za-z]\([^()/]*\))+\)(?=/|$)")
_UNDECODED = re.compile(r"[\ud800-\udfff\ufffd]")
_STREAM = "::$"  # of NTFS


class TooManyReadings(ValueError):
    """A path that is made to be read in hundreds of ways."""


class PathReadings(NamedTuple):
    """The readings of a path, each once, as it came first."""

    paths: tuple[str, ...]
    is_ambiguous: bool  # other readings are possible, so no reading may loosen


def path_of(target: str) -> str:
    """The path as it came, without query and fragment."""
    return target.partition("?")[0].partition("#")[0]


def path_readings(target: str) -> PathReadings:
    """The readings of the path of a request target. Raises TooManyReadings."""
    path = path_of(target)
    first = _merged(path)
    if _PLAIN.fullmatch(first) and "#" not in target and "/(" not in first:
        return PathReadings((first,), is_ambiguous=False)
    if _ODD.search(path) is None and "#" not in target and "/(" not in first:
        decoded_once = unquote_to_bytes(path).decode("utf-8", "surrogateescape")
        is_plain = _ODD_DECODED.search(decoded_once) is None and "/(" not in decoded_once
        if is_plain and _folded(decoded_once) == decoded_once:
            paths = dict.fromkeys((first, _merged(decoded_once)))
            return PathReadings(tuple(paths), is_ambiguous=False)
    is_ambiguous = "#" in target or _BAD_ESCAPE.search(path) is not None
    found: dict[str, None] = {_printable(first): None}
    seen: set[str] = set()
    texts, left = [path], min(_MOST_VARIANTS, _MOST_CHARACTERS // max(len(first), 1))
    for _ in range(_DECODE_ROUNDS + 1):
        undecoded: dict[str, None] = {}
        for text in texts:
            is_ambiguous = is_ambiguous or _is_ambiguous(text)
            for variant in _variants(text):
                left -= 1
                if left < 0:
                    raise TooManyReadings
                if variant not in seen:
                    seen.add(variant)
                    found[_printable(variant)] = None
                    undecoded[variant] = None
            undecoded[text] = None
        decoded = dict.fromkeys(each for text in undecoded for each in _decodings(text))
        texts = [text for text in decoded if text not in seen]
    return PathReadings(tuple(found), is_ambiguous or bool(texts))


def beyond_authority(target: str) -> str | None:
    """The path as a library reads it that takes `//host/path` for a URL without its scheme; None:
    it does not begin so."""
    if target[:1] == "/" and target[1:2] in {"/", "\\"}:
        return "/" + path_of(target)[2:].replace("\\", "/").partition("/")[2]
    return None


def _is_ambiguous(text: str) -> bool:
    """Whether origins may read this text in ways that are in no list."""
    if _CONTROL.search(text) or _UTF_16.search(text) or _STREAM in text:
        return True
    if _ODD_DOTS.search(text.replace("\\", "/")):
        return True
    return bool(_UNDECODED.search(text)) or _folded(text) != text


def _variants(text: str) -> Iterator[str]:
    """The text as an origin could read it that has decoded it this far."""
    ended = _END.split(text, maxsplit=1)[0]
    bases = dict.fromkeys((text, ended))
    bases |= dict.fromkeys(_CONTROL.sub("", _folded(each)) for each in tuple(bases))
    for base in bases:
        for mapped in dict.fromkeys((base, base.replace("\\", "/"))):
            sessionless = _SESSION.sub("", mapped) if "/(" in mapped else mapped
            for plain in dict.fromkeys((mapped, _without_parameters(mapped), sessionless)):
                rooted = plain if plain[:1] == "/" else "/" + plain
                for path in dict.fromkeys((rooted, _BLANK_ENDS.sub("", rooted))):
                    yield from _resolutions(path)


def _resolutions(path: str) -> Iterator[str]:
    merged = _merged(path)
    yield merged
    if "/." in path:
        yield _resolved(merged)
        yield _merged(_resolved(path))


def _decodings(text: str) -> Iterator[str]:
    if "%" not in text and text.isascii():
        return
    folded = _folded(text)
    for each in dict.fromkeys((text, folded)):
        if _ESCAPE.search(each):
            data = unquote_to_bytes(_bytes_of(each))
            yield data.decode("utf-8", "surrogateescape")
            mapped = _UTF_16.sub(_utf_16_character, each)
            if mapped != each:
                data = unquote_to_bytes(_bytes_of(mapped))
            yield _OVERLONG.sub(_overlong_character, data).decode("utf-8", "surrogateescape")


def _folded(text: str) -> str:
    """With full-width and similar forms as the ASCII characters that they stand for."""
    if text.isascii():
        return text
    plain = _IGNORED.sub("", text).translate(_LOOKALIKES)
    return _BEYOND_ASCII.sub(lambda match: _ascii_form(match[0]), plain)


@lru_cache(maxsize=4096)
def _ascii_form(character: str) -> str:
    form = unicodedata.normalize("NFKC", character)
    return form if form.isascii() else character


def _overlong_character(match: re.Match[bytes]) -> bytes:
    data = match[0]
    return bytes([(data[-2] << 6 | data[-1] & 0x3F) & 0x7F])


def _utf_16_character(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    return match[0] if 0xD800 <= code <= 0xDFFF else chr(code)


def _bytes_of(text: str) -> bytes:
    """Raw bytes of a target, and of what was decoded, are kept as surrogates."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _printable(text: str) -> str:
    return text if text.isascii() else _bytes_of(text).decode("utf-8", "replace")


def _merged(path: str) -> str:
    return _SLASHES.sub("/", path)


def _without_parameters(path: str) -> str:
    """RFC 3986 section 3.3: some servers drop the parameters of a segment before they match."""
    if ";" not in path:
        return path
    return "/".join(segment.partition(";")[0] for segment in path.split("/"))


def _resolved(path: str) -> str:
    """Without dot segments, as RFC 3986 section 5.2.4 removes them; an empty segment is one."""
    kept: list[str] = []
    segment = ""
    for segment in path.split("/")[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    ends_with_slash = segment in (".", "..")
    return "/" + "/".join(kept) + ("/" if ends_with_slash and kept else "")


def query_pairs(query: str, separator: str) -> list[tuple[str, str]]:
    """The parameters of a query, decoded."""
    return parse_qsl(query, keep_blank_values=True, errors="replace", separator=separator)


# What `trim` of PHP and of other languages cuts from the ends of a value; and a byte order mark.
_BLANKS = "\0\ufeff" + "".join(each for each in map(chr, range(0x3001)) if each.isspace())
_ONE_NAME = re.compile(r"[A-Za-z0-9_-]*")  # read alike everywhere
_TAG = re.compile(r"<[^>]*>?")
_ESCAPED_BYTE = re.compile(r"%[0-9A-Fa-f]{2}")
_NAME_END = re.compile(r"[\[. ]")  # where the name of a list or of a part ends: `a[]`, `a.x`


def value_readings(value: str) -> tuple[str, ...]:
    """A value as it came, decoded once more, cleaned as WordPress does it (without tags, then
    without escapes), and each of these cut at NUL, and without blanks and NULs at its ends."""
    if _ONE_NAME.fullmatch(value):
        return (value,)
    found: dict[str, None] = {}
    for decoded in dict.fromkeys((value, unquote_plus(value, errors="replace"))):
        untagged = _TAG.sub("", decoded)
        for each in (decoded, untagged, _unescaped(untagged)):
            ended = each.partition("\0")[0]
            found |= dict.fromkeys((each, ended, each.strip(_BLANKS), ended.strip(_BLANKS)))
    return tuple(found)


def _unescaped(value: str) -> str:
    """Without escapes, and without those that appear when others are gone."""
    kept: list[str] = []
    for character in value:
        kept.append(character)
        if len(kept) > 2 and _ESCAPED_BYTE.fullmatch("".join(kept[-3:])):
            del kept[-3:]
    return "".join(kept)


def loose_values(pairs: Iterable[tuple[str, str]], wanted: str) -> list[str]:
    """The values of all parameters, or cookies, whose name an origin may read as `wanted`."""
    names = {wanted, loose_name(wanted)}
    return [value for name, value in pairs if not names.isdisjoint(_loose_names(name))]


def underscored_values(fields: Iterable[tuple[str, str]], name: str) -> list[str]:
    """The values of fields that CGI does not tell from `name`: with `_` for `-` (RFC 3875 section
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
    """The name of a parameter as PHP reads it: without blanks at its beginning, cut at NUL, and
    with `_` for blanks and dots."""
    return name.lstrip(" \t\r\n\v\f").partition("\0")[0].replace(" ", "_").replace(".", "_")


def host_labels(host: str) -> tuple[str, ...]:
    """The labels of a Host, lower-case, without its port and the root's dot."""
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    return tuple(name.lower().rstrip(".").split("."))


def labels_match(pattern: tuple[str, ...], labels: tuple[str, ...]) -> bool:
    """Whether a pattern of labels covers these; `*` is one label."""
    return len(pattern) == len(labels) and all(
        want in ("*", have) for want, have in zip(pattern, labels, strict=True)
    )
