"""What the operator configures, parsed once at the edge; behind it every value is right.

Rules: an unknown key is an error; all problems are reported at once, each with its path and what
was expected; an environment variable `GATEKEEPER_SECTION__KEY` overrides the file, a command-line
flag overrides both. Field names are the keys of the file. Every duration is a float of seconds,
every rate a float of admissions per minute.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from yarl import URL

from gatekeeper.errors import ConfigError

RoomName = NewType("RoomName", str)

DEFAULT_ROOM = RoomName("default")
MIN_SECRET_BYTES = 32  # RFC 7518 section 3.2: a key at least as long as the hash of HS256

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|sec|second|m|min|minute|h|hour)")
_RATE_PER_MINUTE = {"s": 60.0, "m": 1.0, "h": 1 / 60}
_MAX_RATE_PER_MINUTE = 60_000_000.0


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
    return sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts)


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


def split_listen(listen: str) -> tuple[str, int]:
    """Host (without brackets) and port of a checked `HOST:PORT`."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be longer than 0")
    return value


def _listen(value: object) -> str:
    text = value if isinstance(value, str) else ""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise ValueError('expected HOST:PORT, such as "0.0.0.0:8080" or "[::]:8080"')
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError('an IPv6 address stands in brackets, such as "[::]:8080"')
    return text


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
        if text in words or (text.partition("://")[0] in schemes and "://" in text):
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
    if not text.startswith("/") or not text.isascii() or re.search(r"[\s?#]", text):
        raise ValueError('expected a path prefix beginning with "/"')
    return text


Duration = Annotated[float, BeforeValidator(parse_duration_s)]
PositiveDuration = Annotated[float, BeforeValidator(parse_duration_s), AfterValidator(_positive)]
RatePerMinute = Annotated[float, BeforeValidator(parse_rate_per_minute)]
Network = Annotated[str, BeforeValidator(_cidr)]
Listen = Annotated[str, BeforeValidator(_listen)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ServerConfig(_Section):
    listen: Listen = "0.0.0.0:8080"
    workers: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = 1
    trusted_proxies: tuple[Network, ...] = Field(default=(), strict=False)
    tls_cert: str = ""
    tls_key: str = ""
    shutdown_timeout: PositiveDuration = 30.0
    templates: str = ""  # a directory whose files stand in for the built-in templates
    static: str = ""  # a directory whose files stand in for the built-in assets

    @model_validator(mode="after")
    def _tls_pair(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key go together")
        for path in (self.tls_cert, self.tls_key):
            if path and not Path(path).is_file():
                raise ValueError(f"tls: no such file: {path}")
        for directory in (self.templates, self.static):
            if directory and not Path(directory).is_dir():
                raise ValueError(f"no such directory: {directory}")
        return self

    @property
    def tls(self) -> bool:
        return bool(self.tls_cert)


class OriginConfig(_Section):
    url: Annotated[str, BeforeValidator(_origin_url)] = "http://127.0.0.1:9000"
    preserve_host: bool = True
    connect_timeout: PositiveDuration = 5.0
    read_timeout: PositiveDuration = 60.0
    tls_ca: str = ""  # a file of certificates to trust besides the system's


class _RoomKeys(_Section):
    """The keys of [admission] and [waiting], which every [[room]] may set for itself."""

    rate: RatePerMinute = 500.0
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    max_active: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    session: PositiveDuration = 1800.0
    session_limit: PositiveDuration = 14400.0
    claim_within: PositiveDuration = 120.0
    prove_within: PositiveDuration = 20.0
    abandon_after: PositiveDuration = 90.0
    keep_place: PositiveDuration = 600.0
    on_store_loss: Literal["hold", "open"] = "hold"
    status: Literal[200, 202, 429, 503] = 503
    title: Annotated[str, Field(min_length=1, max_length=200)] = "You are in line"


_WAITING_KEYS = frozenset({"status", "title"})
_ADMISSION_KEYS = frozenset(_RoomKeys.model_fields) - _WAITING_KEYS


class RoomConfig(_RoomKeys):
    """One room with every key filled in; durations in seconds, `rate` per minute."""

    name: Annotated[RoomName, BeforeValidator(_room_name)] = DEFAULT_ROOM
    host: Annotated[str, BeforeValidator(_host_pattern)] | None = None
    path: Annotated[str, BeforeValidator(_path_prefix)] = "/"

    @model_validator(mode="after")
    def _windows(self) -> Self:
        if self.session > self.session_limit:
            raise ValueError("session must not be longer than session_limit")
        return self


class StoreConfig(_Section):
    url: Annotated[str, _one_of_schemes("redis", "rediss", "unix", words=("embedded",))] = (
        "embedded"
    )
    timeout: PositiveDuration = 1.0


class EventsConfig(_Section):
    url: Annotated[str, _one_of_schemes("nats", "tls", words=("embedded", "off"))] = "embedded"


class TokensConfig(_Section):
    secret_file: str = ""
    secrets: tuple[str, ...] = Field(default=(), strict=False, repr=False)
    cookie: Annotated[str, BeforeValidator(_cookie_name)] = "gatekeeper"

    @model_validator(mode="after")
    def _keys(self) -> Self:
        if self.secret_file and self.secrets:
            raise ValueError("set secret_file or secrets, not both")
        if self.secret_file and not Path(self.secret_file).is_file():
            raise ValueError(f"secret_file: no such file: {self.secret_file}")
        for index, secret in enumerate(self.secrets):
            if len(secret.encode()) < MIN_SECRET_BYTES:
                raise ValueError(
                    f"secrets[{index}] has fewer than {MIN_SECRET_BYTES} bytes; "
                    "`gatekeeper secret` makes a good one"
                )
        return self


class AdminConfig(_Section):
    listen: Listen = "127.0.0.1:8081"
    token: str = Field(default="", repr=False)

    @model_validator(mode="after")
    def _token_beyond_loopback(self) -> Self:
        if not self.token and not _is_loopback(split_listen(self.listen)[0]):
            raise ValueError("token is required as soon as the listener is reachable from outside")
        return self


class Config(_Section):
    server: ServerConfig = ServerConfig()
    origin: OriginConfig = OriginConfig()
    rooms: tuple[RoomConfig, ...] = (RoomConfig(),)
    store: StoreConfig = StoreConfig()
    events: EventsConfig = EventsConfig()
    tokens: TokensConfig = TokensConfig()
    admin: AdminConfig = AdminConfig()


def load_config(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Config:
    """Read, override and check a configuration; raise one `ConfigError` that names every problem.

    `overrides` are command-line values by their path in the file (`{"origin.url": "http://…"}`).
    """
    raw = _read_toml(path) if path is not None else {}
    source = str(path) if path is not None else "configuration"
    problems: list[str] = []
    for name, value in (os.environ if environ is None else environ).items():
        if name.startswith(_ENV_PREFIX) and "__" in name:
            section, _, key = name.removeprefix(_ENV_PREFIX).lower().partition("__")
            _override(raw, section, key, _toml_value(value), label=name, problems=problems)
    for dotted, value in (overrides or {}).items():
        section, _, key = dotted.partition(".")
        _override(raw, section, key, value, label=dotted, problems=problems)
    return _check(raw, problems, source=source)


_ENV_PREFIX = "GATEKEEPER_"
_SECTIONS: dict[str, type[_Section]] = {
    "server": ServerConfig,
    "origin": OriginConfig,
    "store": StoreConfig,
    "events": EventsConfig,
    "tokens": TokensConfig,
    "admin": AdminConfig,
}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError([error.strerror or "cannot be read"], source=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"not valid TOML: {error}"], source=str(path)) from error


def _toml_value(text: str) -> object:
    """The TOML value that `text` spells (`2`, `true`, `["a"]`), else `text` itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _override(
    raw: dict[str, Any],
    section: str,
    key: str,
    value: object,
    *,
    label: str,
    problems: list[str],
) -> None:
    if section not in _SECTIONS and section not in {"admission", "waiting"}:
        problems.append(f"{label}: there is no section [{section}]")
        return
    table = raw.setdefault(section, {})
    if isinstance(table, dict):
        table[key] = value


def _check(raw: dict[str, Any], problems: list[str], *, source: str) -> Config:
    checked: dict[str, _Section] = {}
    for name in raw.keys() - _SECTIONS.keys() - {"admission", "waiting", "room"}:
        problems.append(f"{name}: unknown section")
    for name, model in _SECTIONS.items():
        section = _validated(model, raw.get(name, {}), path=name, problems=problems)
        if section is not None:
            checked[name] = section
    rooms = _checked_rooms(raw, problems)
    tokens, store = checked.get("tokens"), checked.get("store")
    if (
        isinstance(tokens, TokensConfig)
        and isinstance(store, StoreConfig)
        and store.url != "embedded"
        and not (tokens.secrets or tokens.secret_file)
    ):
        problems.append(
            "tokens: a shared store needs a shared secret: set tokens.secret_file or "
            "tokens.secrets (`gatekeeper secret` makes one)"
        )
    if problems:
        raise ConfigError(sorted(problems), source=source)
    return Config.model_validate({**checked, "rooms": rooms})


def _checked_rooms(raw: dict[str, Any], problems: list[str]) -> tuple[RoomConfig, ...]:
    defaults: dict[str, Any] = {}
    for section, keys in (("admission", _ADMISSION_KEYS), ("waiting", _WAITING_KEYS)):
        table = raw.get(section, {})
        if not isinstance(table, dict):
            problems.append(f"{section}: expected a table")
            continue
        problems.extend(f"{section}.{key}: unknown key" for key in table.keys() - keys)
        known = {key: value for key, value in table.items() if key in keys}
        if _validated(_RoomKeys, known, path=section, problems=problems) is not None:
            defaults |= known
    tables = raw.get("room", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        problems.append("room: expected [[room]] tables")
        return ()
    rooms: list[RoomConfig] = []
    for index, table in enumerate(tables):
        path = f"room[{index}]"
        if "name" not in table:
            problems.append(f"{path}.name: missing")
        room = _validated(RoomConfig, defaults | table, path=path, problems=problems)
        if isinstance(room, RoomConfig):
            rooms.append(room)
    for what, values in (
        ("name", [str(room.name) for room in rooms]),
        ("host and path", [f"{room.host or 'any host'}{room.path}" for room in rooms]),
    ):
        for value in sorted({value for value in values if values.count(value) > 1}):
            problems.append(f"room: two rooms have the same {what}: {value}")
    if not tables:
        only = _validated(RoomConfig, defaults, path="admission", problems=problems)
        return (only,) if isinstance(only, RoomConfig) else ()
    return tuple(rooms)


def _validated(
    model: type[_Section], raw: object, *, path: str, problems: list[str]
) -> _Section | None:
    if not isinstance(raw, dict):
        problems.append(f"{path}: expected a table")
        return None
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            problem = f"{_dotted(path, detail['loc'])}: {_message(detail['type'], detail['msg'])}"
            if problem not in problems:
                problems.append(problem)
        return None


def _dotted(path: str, location: tuple[int | str, ...]) -> str:
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and part not in {"int", "constrained-int"}:
            path += f".{part}"
    return path


def _message(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "unknown key"
    return message.removeprefix("Value error, ").replace("Input should be", "expected")
