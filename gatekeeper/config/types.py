"""Parsers of single values: durations, rates, addresses, names, files.

Rules: a parser raises only `ValueError`, in the form `problem; expected …`. Durations become float
seconds, rates float admissions per minute. The command line and the admin API use the same parsers;
`tests/testdata/rates.json` has the test cases of rates, also for the control room's script. A value
that may contain a password is not shown.
"""

import ipaddress
import os
import re
import unicodedata
from typing import Annotated, Any, Final, Literal, NewType

from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidKeyError
from pydantic import AfterValidator, BeforeValidator, Field
from yarl import URL

from gatekeeper.config.patterns import network_of, with_single_slashes
from gatekeeper.config.problems import in_ascii, shown
from gatekeeper.config.sentinel_url import parse_sentinel_url

RoomName = NewType("RoomName", str)
DEFAULT_ROOM = RoomName("default")
EMBEDDED: Final = "embedded"  # instead of a URL: Gatekeeper starts that server itself

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
_HOST_NAME = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_WEB_ORIGIN = re.compile(
    rf"(?P<scheme>https?)://(?:{_HOST_NAME}|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?"
)
_FRAME_ANCESTOR = re.compile(rf"(?:https?://)?(?:\*\.)?{_HOST_NAME}(?::(?:[0-9]{{1,5}}|\*))?")
_DEFAULT_PORTS = {"https": 443, "http": 80}


def parse_duration_s(value: object) -> float:
    """Seconds of a duration such as `"90s"`, `"2m"`, `"1h30m"` or `"250ms"`, or 0."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
        return 0.0
    text = value.strip() if isinstance(value, str) else ""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f'{shown(value)} is not a duration; expected e.g. "90s", "2m" or "1h30m"')
    duration_s = sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts)
    if duration_s > _MAX_DURATION_S:
        raise ValueError(f'{shown(value)} is too long; expected at most "366d"')
    return duration_s


def spell_duration(seconds: float) -> str:
    """A duration in the format of the file, in the largest units: `"1h30m"`."""
    rest_ms, text = round(seconds * 1000), ""
    for unit, unit_s in reversed(_DURATION_UNITS_S.items()):
        count, rest_ms = divmod(rest_ms, round(unit_s * 1000))
        text += f"{count}{unit}" if count else ""
    return text or "0"


def parse_rate_per_minute(value: object) -> float:
    """Admissions per minute of a rate such as `"500/min"`, `"8/s"` or `0` (none)."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
        return 0.0
    text = value.strip() if isinstance(value, str) else ""
    if text == "0":
        return 0.0
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f'{shown(value)} is not a rate; expected e.g. "500/min" or "8/s"')
    rate = float(match[1]) * _RATE_PER_MINUTE[match[2][0]]
    if rate > _MAX_RATE_PER_MINUTE:
        raise ValueError(f'{shown(value)} is too high; expected at most "1000000/s"')
    return rate


def parse_message(value: object) -> str:
    """One line of text for all waiting visitors, without surrounding space; "": no message."""
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004  every refusal is a ValueError
            f"{shown(value)} is not a text; expected at most {_MAX_MESSAGE_CHARACTERS} characters"
        )
    text = value.strip()
    if len(text) > _MAX_MESSAGE_CHARACTERS:
        raise ValueError(
            f"{len(text)} characters are too many; expected at most {_MAX_MESSAGE_CHARACTERS}"
        )
    return one_line(text)


def one_line(text: str) -> str:
    """Validate a text; raises ValueError for control characters, surrogates and line separators."""
    if any(unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"} for each in text):
        raise ValueError("has a line break or a control character; expected one line of text")
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
        raise ValueError(f'{value:g}s is too short; expected at least "1ms"')
    return value


def _listen(value: object) -> str:
    text = value if isinstance(value, str) else ""
    host, separator, port = text.rpartition(":")
    if not separator or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(
            f'{shown(value)} is not HOST:PORT; expected e.g. "0.0.0.0:8080" or "[::]:8080"'
        )
    if ":" in host and not re.fullmatch(r"\[[0-9a-fA-F:.]+(%[\w.-]+)?\]", host):
        raise ValueError(
            f'{shown(value)} is not HOST:PORT; expected brackets around IPv6, e.g. "[::]:8080"'
        )
    if ":" not in host and not re.fullmatch(r"[A-Za-z0-9._-]*", host):
        raise ValueError(
            f"{shown(host)} is not a host; expected an address or a host name before the port"
        )
    return text


def _workers(value: object) -> int | str:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_WORKERS:
        return value
    raise ValueError(
        f'{shown(value)} is not a number of workers; expected 1 to {_MAX_WORKERS}, or "auto"'
    )


def _cidr(value: object) -> str:
    try:
        return str(network_of(str(value)))
    except ValueError:
        raise ValueError(
            f'{shown(value)} is not a network; expected e.g. "10.0.0.0/8" or "192.0.2.1"'
        ) from None


def _origin_url(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if text == NO_ORIGIN:
        return text
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise ValueError(_EXPECTED_ORIGIN_URL) from None
    if url.scheme not in {"http", "https"} or not url.host or not port:
        raise ValueError(_EXPECTED_ORIGIN_URL)
    if url.user or url.password or url.query_string or url.fragment or url.path not in {"", "/"}:
        raise ValueError(
            "has a path, a query, a fragment or a password; "
            'expected scheme, host and port only, e.g. "http://127.0.0.1:9000"'
        )
    return text


NO_ORIGIN: Final = "none"
_EXPECTED_ORIGIN_URL = (
    'not an HTTP URL; expected e.g. "http://127.0.0.1:9000", or "none" for forward auth only'
)


def _one_of_schemes(*schemes: str, words: tuple[str, ...]) -> Any:
    *most, last = [f'"{word}"' for word in words] + [f'"{scheme}://…"' for scheme in schemes]
    problem = f"not a known URL; expected {', '.join(most)} or {last}"

    def check(value: object) -> str:
        text = value if isinstance(value, str) else ""
        scheme, separator, rest = text.partition("://")
        if text in words or (scheme in schemes and separator and rest):
            return text
        raise ValueError(problem)  # without the value, which may hold a password

    return BeforeValidator(check)


def _sentinels(url: str) -> str:
    try:
        parse_sentinel_url(url)
    except ValueError as error:
        raise ValueError(
            f"{error}; expected redis+sentinel://HOST:PORT,HOST:PORT/PRIMARY, "
            "with user and password of the servers, if any, before the first host"
        ) from None
    return url


def _room_name(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", text):
        raise ValueError(
            f"{shown(value)} is not a room name; "
            "expected 1 to 63 of a-z, 0-9, - and _, starting with a letter or digit"
        )
    return text


def _cookie_name(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", text):
        raise ValueError(
            f"{shown(value)} is not a cookie name; "
            'expected 1 to 100 characters of a token (RFC 6265 section 4.1.1), e.g. "gatekeeper"'
        )
    return text


def _host_pattern(value: object) -> str:
    text = value.lower().rstrip(".") if isinstance(value, str) else ""
    if not re.fullmatch(r"(\*|[a-z0-9_-]+)(\.(\*|[a-z0-9_-]+))*", text):
        raise ValueError(
            f'{shown(value)} is not a host; expected e.g. "shop.example.com" or "*.example.com"'
            f"{in_ascii(value)}"
        )
    return text


def _path_prefix(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"/[!-~]*", text) or re.search(r"[?#]", text):
        raise ValueError(
            f'{shown(value)} is not a path prefix; expected e.g. "/checkout/", without "?" or "#"'
        )
    return with_single_slashes(text)


def _file(path: str) -> str:
    # Path.is_file raises for a name that is too long or a directory without permission.
    if path and not os.path.isfile(path):
        raise ValueError(f"no file at {shown(path)}; expected the path of a file")
    return path


def _folder(path: str) -> str:
    if path and not os.path.isdir(path):
        raise ValueError(f"no directory at {shown(path)}; expected the path of a directory")
    return path


def _token_name(name: str) -> str:
    if not re.fullmatch(r"[\w.@-]{1,63}", name):
        raise ValueError(
            f"{shown(name)} is not a token name; expected 1 to 63 letters, digits, -, _, . or @"
        )
    return name


def _template_name(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[\w-][\w.-]*\.(html|mustache)", text):
        raise ValueError(
            f'{shown(value)} is not a template; expected e.g. "waiting.html" or "waiting.mustache"'
        )
    return text


def check_secret(secret: bytes) -> None:
    """Raises ValueError for a key that is unsuitable for HS256: too short, or of another
    algorithm."""
    expected = f"expected at least {MIN_SECRET_BYTES} bytes (`gatekeeper secret` makes one)"
    if b"\0" in secret:
        raise ValueError(f"not a text; {expected}")
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"too short; {expected}")
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except InvalidKeyError:
        raise ValueError(f"a public key, a certificate or a JWK; {expected}") from None


def _secret(secret: str) -> str:
    check_secret(secret.encode())
    return secret


def _domain(value: object) -> str:
    text = value.lower().strip(".") if isinstance(value, str) else ""
    if value != "" and not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+", text):
        expected = f'expected e.g. "example.com"{in_ascii(value)}'
        raise ValueError(f"{shown(value)} is not a domain; {expected}")
    return text


def _web_origin(value: object) -> str:
    """Normalise an origin as browsers send it in `Origin` (RFC 6454 section 6.2): lower case,
    without the default port of the scheme."""
    text = value.lower() if isinstance(value, str) else ""
    match = _WEB_ORIGIN.fullmatch(text)
    if match is None or not 0 < int(match["port"] or 1) < 65536:
        raise ValueError(
            f'{shown(value)} is not an origin; expected e.g. "https://shop.example.com", '
            f'without a path and without "*"{in_ascii(value)}'
        )
    default = f":{_DEFAULT_PORTS[match['scheme']]}"
    return text.removesuffix(default)


def _frame_ancestor(value: object) -> str:
    """Validate a source of `frame-ancestors` (CSP Level 3 section 6.4.2), so that it cannot end the
    directive."""
    text = value.lower() if isinstance(value, str) else ""
    if text in {"'self'", "'none'", "*", "https:", "http:"} or _FRAME_ANCESTOR.fullmatch(text):
        return text
    raise ValueError(
        f"{shown(value)} is not a frame ancestor; "
        'expected "\'self\'", "\'none\'" or e.g. "https://*.example.com"'
        f"{in_ascii(value)}"
    )


def text_or_list(value: object) -> object:
    """Convert a single text to a list of one."""
    return (value,) if isinstance(value, str) else value


def _optional_parameter(value: object) -> str:
    return "" if value == "" else _parameter(value)


def _parameter(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[^=&#]{1,200}(=[^&#]*)?", text):
        raise ValueError(
            f'{shown(value)} is not a parameter; expected a name or name=value, e.g. "wc-ajax=*"'
        )
    return text


Duration = Annotated[float, BeforeValidator(parse_duration_s), AfterValidator(_positive)]
RatePerMinute = Annotated[float, BeforeValidator(parse_rate_per_minute)]
Message = Annotated[str, BeforeValidator(parse_message)]
Workers = Annotated[int | Literal["auto"], BeforeValidator(_workers)]
Network = Annotated[str, BeforeValidator(_cidr)]
Listen = Annotated[str, BeforeValidator(_listen)]
OriginUrl = Annotated[str, BeforeValidator(_origin_url)]
StoreUrl = Annotated[
    str,
    _one_of_schemes(
        *("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel"), words=(EMBEDDED,)
    ),
    AfterValidator(_sentinels),
]
EventsUrl = Annotated[str, _one_of_schemes("nats", "tls", words=(EMBEDDED, "off"))]
Room = Annotated[RoomName, BeforeValidator(_room_name)]
Domain = Annotated[str, BeforeValidator(_domain)]
CookieName = Annotated[str, BeforeValidator(_cookie_name)]
HostPattern = Annotated[str, BeforeValidator(_host_pattern)]
PathPrefix = Annotated[str, BeforeValidator(_path_prefix)]
Parameter = Annotated[str, BeforeValidator(_parameter)]
OptionalParameter = Annotated[str, BeforeValidator(_optional_parameter)]
Hosts = Annotated[tuple[HostPattern, ...], BeforeValidator(text_or_list), Field(strict=False)]
Paths = Annotated[
    tuple[PathPrefix, ...], BeforeValidator(text_or_list), Field(strict=False, min_length=1)
]
WebOrigin = Annotated[str, BeforeValidator(_web_origin)]
WebOrigins = Annotated[tuple[WebOrigin, ...], BeforeValidator(text_or_list), Field(strict=False)]
FrameAncestor = Annotated[str, BeforeValidator(_frame_ancestor)]
FrameAncestors = Annotated[
    tuple[FrameAncestor, ...], BeforeValidator(text_or_list), Field(strict=False, min_length=1)
]
Parameters = Annotated[tuple[Parameter, ...], BeforeValidator(text_or_list), Field(strict=False)]
TokenName = Annotated[str, AfterValidator(_token_name)]
TemplateName = Annotated[str, BeforeValidator(_template_name)]
Secret = Annotated[str, AfterValidator(_secret)]
File = Annotated[str, AfterValidator(_file)]
Folder = Annotated[str, AfterValidator(_folder)]
