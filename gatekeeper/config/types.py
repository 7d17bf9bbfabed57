"""How single values are spelled in the configuration, and what each means behind it.

Rules: a value is parsed or refused with a `ValueError` that says what was expected, never with
another error. Durations become float seconds, rates float admissions per minute.
"""

import ipaddress
import os
import re
import unicodedata
from typing import Annotated, Any, Literal, NewType

from pydantic import AfterValidator, BeforeValidator
from yarl import URL

RoomName = NewType("RoomName", str)

MIN_SECRET_BYTES = 32  # RFC 7518 section 3.2: a key at least as long as the hash of HS256

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*/\s*(s|sec|second|m|min|minute|h|hour)")
_RATE_PER_MINUTE = {"s": 60.0, "m": 1.0, "h": 1 / 60}
_MAX_RATE_PER_MINUTE = 60_000_000.0
_MIN_DURATION_S = 0.001
_MAX_DURATION_S = 366 * 86400.0
_MAX_WORKERS = 1024
_MAX_MESSAGE_CHARACTERS = 500


def parse_duration_s(value: object) -> float:
    """Seconds of a duration such as `"90s"`, `"2m"`, `"1h30m"` or `"250ms"`, or 0."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
        return 0.0
    text = value.strip() if isinstance(value, str) else ""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError('expected a duration such as "90s", "2m" or "1h"')
    duration_s = sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts)
    if duration_s > _MAX_DURATION_S:
        raise ValueError("a duration above 366d is surely a mistake")
    return duration_s


def parse_rate_per_minute(value: object) -> float:
    """Admissions per minute of a rate such as `"500/min"`, `"8/s"` or `0` (none)."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
        return 0.0
    text = value.strip() if isinstance(value, str) else ""
    if text == "0":
        return 0.0
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError('expected a rate such as "500/min" or "8/s", or 0')
    rate = float(match[1]) * _RATE_PER_MINUTE[match[2][0]]
    if rate > _MAX_RATE_PER_MINUTE:
        raise ValueError("a rate above 1000000/s is surely a mistake")
    return rate


def parse_message(value: object) -> str:
    """One line of text for all who wait, with no space around it; "" is none."""
    text = value.strip() if isinstance(value, str) else ""
    if not isinstance(value, str) or len(text) > _MAX_MESSAGE_CHARACTERS:
        raise ValueError(f"expected a text of at most {_MAX_MESSAGE_CHARACTERS} characters")
    # Controls, halves of characters, and what ends a line.
    if any(unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"} for each in text):
        raise ValueError("expected one line, without control characters")
    return text


def split_listen(listen: str) -> tuple[str, int]:
    """Host (without brackets) and port of a checked `HOST:PORT`."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _positive(value: float) -> float:
    if value < _MIN_DURATION_S:
        raise ValueError("must be longer than 0: at least 1ms")
    return value


def _listen(value: object) -> str:
    text = value if isinstance(value, str) else ""
    host, separator, port = text.rpartition(":")
    if not separator or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError('expected HOST:PORT, such as "0.0.0.0:8080" or "[::]:8080"')
    if ":" in host and not re.fullmatch(r"\[[0-9a-fA-F:.]+(%[\w.-]+)?\]", host):
        raise ValueError('an IPv6 address stands in brackets, such as "[::]:8080"')
    if ":" not in host and not re.fullmatch(r"[A-Za-z0-9._-]*", host):
        raise ValueError(f"expected an address or a host name before the port, not {host!r}")
    return text


def _workers(value: object) -> int | str:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_WORKERS:
        return value
    raise ValueError(f'expected "auto" or a number from 1 to {_MAX_WORKERS}')


def _cidr(value: object) -> str:
    try:
        return str(ipaddress.ip_network(str(value), strict=False))
    except ValueError:
        raise ValueError('expected a network such as "10.0.0.0/8" or an address') from None


def _origin_url(value: object) -> str:
    text = value if isinstance(value, str) else ""
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise ValueError('expected a URL such as "http://127.0.0.1:9000"') from None
    if url.scheme not in {"http", "https"} or not url.host or not port:
        raise ValueError('expected a URL such as "http://127.0.0.1:9000"')
    if url.user or url.password or url.query_string or url.fragment or url.path not in {"", "/"}:
        raise ValueError("must have no path, query or password: paths go through as they come")
    return text


def _one_of_schemes(*schemes: str, words: tuple[str, ...]) -> Any:
    expected = " or ".join([f'"{w}"' for w in words] + [f"{s}://…" for s in schemes])

    def check(value: object) -> str:
        text = value if isinstance(value, str) else ""
        scheme, separator, rest = text.partition("://")
        if text in words or (scheme in schemes and separator and rest):
            return text
        raise ValueError(f"expected {expected}")

    return BeforeValidator(check)


def _room_name(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", text):
        raise ValueError("expected up to 63 of a-z, 0-9, - and _, beginning with a letter or digit")
    return text


def _cookie_name(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", text):
        raise ValueError("expected a cookie name: a token of RFC 6265 section 4.1.1")
    return text


def _host_pattern(value: object) -> str:
    text = value.lower().rstrip(".") if isinstance(value, str) else ""
    if not re.fullmatch(r"(\*|[a-z0-9_-]+)(\.(\*|[a-z0-9_-]+))*", text):
        raise ValueError('expected a host such as "shop.example.com" or "*.example.com"')
    return text


def _path_prefix(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"/[!-~]*", text) or re.search(r"[?#]", text):
        raise ValueError('expected a path prefix beginning with "/"')
    return text


def _file(path: str) -> str:
    # Path.is_file would raise for a name that is too long or a folder that is closed.
    if path and not os.path.isfile(path):
        raise ValueError(f"no such file: {path!r}")
    return path


def _folder(path: str) -> str:
    if path and not os.path.isdir(path):
        raise ValueError(f"no such directory: {path!r}")
    return path


def _token_name(name: str) -> str:
    if not re.fullmatch(r"[\w.@-]{1,63}", name):
        raise ValueError("expected up to 63 letters, digits, -, _, . or @")
    return name


def _template_name(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[\w-][\w.-]*\.(html|mustache)", text):
        raise ValueError('expected a file such as "waiting.html" or "waiting.mustache"')
    return text


def _secret(secret: str) -> str:
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ValueError(
            f"has fewer than {MIN_SECRET_BYTES} bytes; `gatekeeper secret` makes a good one"
        )
    return secret


Duration = Annotated[float, BeforeValidator(parse_duration_s), AfterValidator(_positive)]
RatePerMinute = Annotated[float, BeforeValidator(parse_rate_per_minute)]
Workers = Annotated[int | Literal["auto"], BeforeValidator(_workers)]
Network = Annotated[str, BeforeValidator(_cidr)]
Listen = Annotated[str, BeforeValidator(_listen)]
OriginUrl = Annotated[str, BeforeValidator(_origin_url)]
StoreUrl = Annotated[str, _one_of_schemes("redis", "rediss", "unix", words=("embedded",))]
EventsUrl = Annotated[str, _one_of_schemes("nats", "tls", words=("embedded", "off"))]
Room = Annotated[RoomName, BeforeValidator(_room_name)]
CookieName = Annotated[str, BeforeValidator(_cookie_name)]
HostPattern = Annotated[str, BeforeValidator(_host_pattern)]
PathPrefix = Annotated[str, BeforeValidator(_path_prefix)]
TokenName = Annotated[str, AfterValidator(_token_name)]
TemplateName = Annotated[str, BeforeValidator(_template_name)]
Secret = Annotated[str, AfterValidator(_secret)]
File = Annotated[str, AfterValidator(_file)]
Folder = Annotated[str, AfterValidator(_folder)]
