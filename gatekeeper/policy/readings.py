"""The ways in which an origin could read the path of a request target.

Rules. Pure. What is forwarded stays byte for byte; this is about what is matched. Every step of
some common origin, or of a proxy in front of it, is a separate reading, alone and combined with the
others: it may decode the path up to two times, strictly or leniently (`%u002e`, overlong UTF-8,
full-width forms), take `\\` for `/`, drop the parameters of segments or a session of ASP.NET, drop
dots and blanks at the end of segments, drop control characters or end the path there, and resolve
dot segments.

`//` as `/` is not a separate reading: sloppy links contain it, and origins treat both as equal. But
it matters when dots are resolved: `/a//../b` is `/a/b` (RFC 3986 section 5.2.4) or `/b`.

If origins may do more than is listed here, the path is ambiguous: readings still tighten, and none
loosens. The work is bounded: a path with too many readings is refused.
"""

from __future__ import annotations

import re
import unicodedata
from binascii import a2b_qp
from collections.abc import Container, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

# The bytes of a path with a single reading, except for dots: no escapes, parameters or backslashes.
_PLAIN_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_~@+,=!$&'()*-/."
_CONTROL_BYTES = bytes([*range(0x20), 0x7F])
_DECODE_ROUNDS = 2  # an origin behind another proxy may decode twice
# Limits per path: about 1 ms of work. A path of escapes in plain UTF-8 has fewer than 10 variants,
# and any mixture of known ways around a room fewer than 200.
_MAX_VARIANTS, _MAX_CHARACTERS = 200, 32_000

_ESCAPE = re.compile(r"%(?:[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ENDS = "\0?#"  # characters at which an origin may end the decoded path
_UTF_16 = re.compile(r"%u([0-9A-Fa-f]{4})")  # as ASP and IIS decode it
# Overlong UTF-8 of ASCII (RFC 3629 section 3); old decoders ignore the first bits of continuation
# bytes.
_OVERLONG = re.compile(
    rb"([\xc0\xc1](?s:.)|\xe0[\x80\x81][\x80-\xbf]|\xf0\x80[\x80\x81][\x80-\xbf])"
)
_BEYOND_ASCII = re.compile(r"([^\x00-\x7f])")
# Zero-width characters: file systems of macOS ignore them in names.
_IGNORED = re.compile(r"[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
# Characters that code pages of Windows map to ASCII, and NFKC does not.
_LOOKALIKES = dict(zip("∕⁄⧸╱∖⧵╲¥￥₩￦。｡ı", "////\\\\\\\\\\\\\\..i", strict=True))
# A segment of only dots and blanks, other than "." and "..".
_ODD_DOTS = re.compile(r"/(?!\.{1,2}(?:/|$))[. ]+(?=/|$)")
_PARAMETERS = re.compile(r";[^/]*+")
# The state of ASP.NET without cookies: "/(S(…))" with one or several letters.
_SESSION = re.compile(r"/\((?:[A-Za-z]\([^()/]*\))+\)(?=/|$)")
_UNDECODED = re.compile(r"[\ud800-\udfff\ufffd]")
_BLANKS = (".", " ")  # which Windows drops from the end of a segment
_STREAM = "::$"  # of NTFS


class TooManyReadings(ValueError):
    """A path that could be read in hundreds of ways."""


class PathReadings(NamedTuple):
    """The distinct readings of a path, the original first."""

    paths: tuple[str, ...]
    is_ambiguous: bool  # other readings are possible, so no reading may loosen


def path_of(target: str) -> str:
    """The original path, without query and fragment."""
    return target.partition("?")[0].partition("#")[0]


def decoded_path(path: str) -> str:
    """A configured path without percent-encoding, in the form of a decoded reading."""
    if "%" not in path:
        return path
    data, _ = percent_decoded(_bytes_of(path))
    return data.decode("utf-8", "replace")


def path_readings(target: str) -> PathReadings:
    """The readings of the path of a request target. Raises TooManyReadings."""
    path = path_of(target)
    first = _merged(path)
    has_fragment = "#" in target
    if not has_fragment and "/(" not in first:
        if _is_plain(first):
            return PathReadings((first,), is_ambiguous=False)
        decoded_once = _plainly_decoded(path)
        if decoded_once is not None and "/(" not in decoded_once:
            paths = dict.fromkeys((first, _merged(decoded_once)))
            return PathReadings(tuple(paths), is_ambiguous=False)
    is_ambiguous = has_fragment or _BAD_ESCAPE.search(_bytes_of(path)) is not None
    found: dict[str, None] = {_printable(first): None}
    seen: set[str] = set()
    texts, left = [path], min(_MAX_VARIANTS, _MAX_CHARACTERS // max(len(first), 1))
    for decoded_times in range(_DECODE_ROUNDS + 1):
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
        is_last = decoded_times == _DECODE_ROUNDS
        if is_last and is_ambiguous:
            break
        # Each has at least one variant, so more than the limit need not be evaluated.
        texts = _decoded_once(undecoded, seen, limit=0 if is_last else left)
    return PathReadings(tuple(found), is_ambiguous or bool(texts))


def _decoded_once(undecoded: Iterable[str], seen: Container[str], *, limit: int) -> list[str]:
    """The new decodings of these: all, or at most one more than `limit`."""
    found: dict[str, None] = {}
    for text in undecoded:
        for decoded in _decodings(text):
            if decoded not in seen:
                found[decoded] = None
                if len(found) > limit:
                    return list(found)
    return list(found)


def queries_in_path(target: str) -> list[str]:
    """The queries for an origin that decodes the path before it searches for `?`, or behind a proxy
    that writes a decoded path into its own request."""
    path = path_of(target)
    found: list[str] = []
    for _ in range(_DECODE_ROUNDS):
        if "%" not in path:
            break
        data, _ = percent_decoded(_bytes_of(path))
        path = data.decode("utf-8", "surrogateescape")
        if "?" in path:
            found.append(path.partition("?")[2])
    return list(dict.fromkeys(found))


def beyond_authority(target: str) -> str | None:
    """The path for a library that treats `//host/path` as a URL without scheme; None: it has no
    such prefix."""
    if target[:1] == "/" and target[1:2] in {"/", "\\"}:
        return "/" + path_of(target)[2:].replace("\\", "/").partition("/")[2]
    return None


def _is_plain(path: str) -> bool:
    """Whether a path has a single reading."""
    return (
        path.isascii()
        and not path.encode("ascii").translate(None, _PLAIN_BYTES)
        and ".." not in path
        and not _has_blank_ends(path)
        and path[:1] in {"", "/"}
    )


def _plainly_decoded(path: str) -> str | None:
    """The decoded path if it only has escapes of plain text, which is common: two readings. None:
    there may be more."""
    if not (path.isascii() and path.isprintable()) or _has_odd_text(path):
        return None
    data, is_valid = percent_decoded(path.encode("ascii"))
    if not is_valid or data.translate(None, _CONTROL_BYTES) != data:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    if _has_odd_text(text) or any(each in text for each in "%?#\ufffd") or _STREAM in text:
        return None
    return text if _folded(text) == text else None


def _has_odd_text(text: str) -> bool:
    return "\\" in text or ";" in text or "/." in text or _has_blank_ends(text)


def _has_blank_ends(text: str) -> bool:
    return "./" in text or " /" in text or text.endswith(_BLANKS)


def _is_ambiguous(text: str) -> bool:
    """Whether origins may read this text in unknown ways."""
    if _STREAM in text or ("%u" in text and _UTF_16.search(text)):
        return True
    if not text.isprintable() and _CONTROL.search(text):
        return True
    if not text.isascii() and (_UNDECODED.search(text) or _folded(text) != text):
        return True
    slashed = text.replace("\\", "/")
    return ("/." in slashed or "/ " in slashed) and _ODD_DOTS.search(slashed) is not None


def _variants(text: str) -> Iterator[str]:
    """The readings of a text that an origin has decoded this far."""
    bases = dict.fromkeys((text, _ended(text)))
    bases |= dict.fromkeys(_without_controls(_folded(each)) for each in tuple(bases))
    for base in bases:
        for mapped in dict.fromkeys((base, base.replace("\\", "/"))):
            sessionless = _SESSION.sub("", mapped) if "/(" in mapped else mapped
            for plain in dict.fromkeys((mapped, _without_parameters(mapped), sessionless)):
                rooted = plain if plain[:1] == "/" else "/" + plain
                for path in dict.fromkeys((rooted, _without_blank_ends(rooted))):
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
            data, _ = percent_decoded(_bytes_of(each))
            yield data.decode("utf-8", "surrogateescape")
            mapped = _with_utf_16(each)
            if mapped != each:
                data, _ = percent_decoded(_bytes_of(mapped))
            yield _with_overlong(data).decode("utf-8", "surrogateescape")


def percent_decoded(data: bytes) -> tuple[bytes, bool]:
    """The bytes without percent-encoding, and whether all of it was valid; invalid escapes are
    kept. Uses the decoder of quoted-printable (RFC 2045 section 6.7), with `=` instead of `%`: a
    hundred times as fast as `urllib.parse` for a path that consists of escapes.
    """
    escapes = data.count(b"%")
    if not escapes:
        return data, True
    if b"\n" not in data and b"\r" not in data:  # `=` at the end of a line has another meaning
        decoded = _by_quoted_printable(data)
        if len(decoded) == len(data) - 2 * escapes:
            return decoded, True
    valid = _BAD_ESCAPE.sub(b"%25", data)
    return _by_quoted_printable(valid), valid == data


def _by_quoted_printable(data: bytes) -> bytes:
    return a2b_qp(data.replace(b"=", b"=3D").replace(b"%", b"="))


def _folded(text: str) -> str:
    """Replace full-width and similar forms by their ASCII characters."""
    return text if text.isascii() else _folded_beyond_ascii(text)


@lru_cache(maxsize=16)  # cached: called several times in a row with one text
def _folded_beyond_ascii(text: str) -> str:
    parts = _BEYOND_ASCII.split(text)
    parts[1::2] = map(_ascii_form, parts[1::2])
    return "".join(parts)


@lru_cache(maxsize=4096)
def _ascii_form(character: str) -> str:
    if _IGNORED.match(character):
        return ""
    character = _LOOKALIKES.get(character, character)
    form = unicodedata.normalize("NFKC", character)
    return form if form.isascii() else character


def _with_overlong(data: bytes) -> bytes:
    if data.isascii():
        return data
    parts = _OVERLONG.split(data)
    parts[1::2] = map(_overlong_character, parts[1::2])
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _overlong_character(data: bytes) -> bytes:
    return bytes([(data[-2] << 6 | data[-1] & 0x3F) & 0x7F])


def _with_utf_16(text: str) -> str:
    if "%u" not in text:
        return text
    parts = _UTF_16.split(text)
    parts[1::2] = map(_utf_16_character, parts[1::2])
    return "".join(parts)


@lru_cache(maxsize=4096)
def _utf_16_character(digits: str) -> str:
    code = int(digits, 16)
    return f"%u{digits}" if 0xD800 <= code <= 0xDFFF else chr(code)


def _bytes_of(text: str) -> bytes:
    """Encode a text whose raw bytes are represented as surrogates."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _printable(text: str) -> str:
    return text if text.isascii() else _bytes_of(text).decode("utf-8", "replace")


def _merged(path: str) -> str:
    while "//" in path:
        path = path.replace("//", "/")
    return path


def _ended(text: str) -> str:
    for end in _ENDS:
        text = text.partition(end)[0]
    return text


def _without_controls(text: str) -> str:
    return text if text.isprintable() else _CONTROL.sub("", text)


def _without_parameters(path: str) -> str:
    """RFC 3986 section 3.3: some servers remove the parameters of a segment before matching."""
    return _PARAMETERS.sub("", path) if ";" in path else path


def _without_blank_ends(path: str) -> str:
    """The path without trailing dots and blanks of segments, which Windows removes."""
    if not _has_blank_ends(path):
        return path
    segments = path.split("/")
    return "/".join([_without_blank_end(s) if s.endswith(_BLANKS) else s for s in segments])


def _without_blank_end(segment: str) -> str:
    name = segment.rstrip(". ")
    if name:
        return name
    dots = segment.rstrip(" ")
    return dots if dots in {".", ".."} else segment


def _resolved(path: str) -> str:
    """The path without dot segments (RFC 3986 section 5.2.4); an empty segment counts as a
    segment."""
    kept: list[str] = []
    segment = ""
    for segment in path.split("/")[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    ends_with_slash = segment in (".", "..")
    return "/" + "/".join(kept) + ("/" if ends_with_slash and kept else "")


def host_labels(host: str) -> tuple[str, ...]:
    """The labels of a Host, lower-case, without port and trailing dot."""
    return tuple(_host_name(host).lower().rstrip(".").split("."))


def ends_with_dot(host: str) -> bool:
    """Whether a Host has a trailing dot."""
    return _host_name(host).endswith(".")


def _host_name(host: str) -> str:
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def labels_match(pattern: tuple[str, ...], labels: tuple[str, ...]) -> bool:
    """Whether a pattern of labels matches; `*` is one label."""
    return len(pattern) == len(labels) and all(
        want in ("*", have) for want, have in zip(pattern, labels, strict=True)
    )
