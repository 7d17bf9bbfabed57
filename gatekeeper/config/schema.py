"""The sections of the configuration: their keys, their defaults, and what goes together.

Rules: field names are the keys of the file. Every duration is a float of seconds, every rate a
float of admissions per minute. What must not be printed has no repr.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gatekeeper.config.types import (
    CookieName,
    Duration,
    EventsUrl,
    File,
    Folder,
    HostPattern,
    Listen,
    Network,
    OriginUrl,
    PathPrefix,
    RatePerMinute,
    Room,
    RoomName,
    Secret,
    StoreUrl,
    TemplateName,
    TokenName,
    Workers,
    is_loopback,
    split_listen,
)

DEFAULT_ROOM = RoomName("default")


@dataclass(frozen=True, slots=True)
class Conflict:
    """Keys of one section that are right each for itself and wrong together."""

    keys: tuple[str, ...]
    problem: str


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def conflicts(self) -> Iterator[Conflict]:
        """What is wrong between keys; reported under the last of them."""
        yield from ()


class ServerConfig(Section):
    listen: Listen = "0.0.0.0:8080"
    workers: Workers = 1
    trusted_proxies: tuple[Network, ...] = Field(default=(), strict=False)
    tls_cert: File = ""
    tls_key: File = ""
    shutdown_timeout: Duration = 30.0
    templates: Folder = ""  # its files stand in for the built-in templates
    static: Folder = ""  # its files stand in for the built-in assets

    def conflicts(self) -> Iterator[Conflict]:
        if bool(self.tls_cert) != bool(self.tls_key):
            yield Conflict(("tls_cert", "tls_key"), "tls_cert and tls_key go together")

    @property
    def tls(self) -> bool:
        return bool(self.tls_cert)


class OriginConfig(Section):
    url: OriginUrl = "http://127.0.0.1:9000"
    preserve_host: bool = True
    connect_timeout: Duration = 5.0
    read_timeout: Duration = 60.0
    tls_ca: File = ""  # a file of certificates to trust besides the system's


class RoomKeys(Section):
    """The keys of [admission] and [waiting], which every [[room]] may set for itself."""

    rate: RatePerMinute = 500.0
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    max_active: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    session_idle_timeout: Duration = 1800.0
    session_absolute_timeout: Duration = 14400.0
    claim_timeout: Duration = 120.0
    confirm_timeout: Duration = 20.0
    heartbeat_timeout: Duration = 90.0
    place_ttl: Duration = 7200.0
    store_failure_mode: Literal["closed", "open"] = "closed"
    status: Literal[200, 202, 429, 503] = 503
    title: Annotated[str, Field(min_length=1, max_length=200)] = "You are in line"
    template: TemplateName = "waiting.html"  # of server.templates, or built in
    json_format: Literal["gatekeeper", "cloudflare"] = "gatekeeper"
    poll_interval_max: Duration = 36.0
    updates: Literal["poll", "stream"] = "poll"


WAITING_KEYS = frozenset(
    {"status", "title", "template", "json_format", "poll_interval_max", "updates"}
)
ADMISSION_KEYS = frozenset(RoomKeys.model_fields) - WAITING_KEYS


class RoomConfig(RoomKeys):
    """One room with every key filled in; durations in seconds, `rate` per minute."""

    name: Room = DEFAULT_ROOM
    host: HostPattern | None = None
    path: PathPrefix = "/"

    def conflicts(self) -> Iterator[Conflict]:
        if self.session_idle_timeout > self.session_absolute_timeout:
            problem = (
                f"must not be shorter than session_idle_timeout ({self.session_idle_timeout:g}s)"
            )
            yield Conflict(("session_idle_timeout", "session_absolute_timeout"), problem)


class StoreConfig(Section):
    url: StoreUrl = Field(default="embedded", repr=False)  # it may hold a password
    timeout: Duration = 1.0


class EventsConfig(Section):
    url: EventsUrl = Field(default="embedded", repr=False)  # it may hold a password


class TokensConfig(Section):
    secret_file: File = ""
    secrets: tuple[Secret, ...] = Field(default=(), strict=False, repr=False)
    cookie: CookieName = "gatekeeper"

    def conflicts(self) -> Iterator[Conflict]:
        if self.secret_file and self.secrets:
            yield Conflict(("secret_file", "secrets"), "set secret_file or secrets, not both")


class AdminToken(Section):
    """One of [[admin.tokens]]: who may see the gate, and whether they may change it."""

    name: TokenName
    role: Literal["read", "full"] = "read"
    secret: Annotated[Secret | None, Field(repr=False)] = None
    secret_file: File = ""


class AdminConfig(Section):
    listen: Listen = "127.0.0.1:8081"
    token: str = Field(default="", repr=False)
    tokens: tuple[AdminToken, ...] = Field(default=(), strict=False)

    def conflicts(self) -> Iterator[Conflict]:
        if not self.token and not self.tokens and not is_loopback(split_listen(self.listen)[0]):
            problem = f"required as soon as it listens beyond loopback ({self.listen})"
            yield Conflict(("tokens", "listen", "token"), problem)
        names = [token.name for token in self.tokens]
        for index, token in enumerate(self.tokens):
            path = f"tokens[{index}]"
            if bool(token.secret) == bool(token.secret_file):
                yield Conflict(("tokens", f"{path}.secret"), "set either secret or secret_file")
            if token.name in names[:index]:
                yield Conflict(("tokens", f"{path}.name"), "another token has this name")
            if token.secret and token.secret in [each.secret for each in self.tokens[:index]]:
                yield Conflict(("tokens", f"{path}.secret"), "another token has this secret")


class Config(Section):
    server: ServerConfig = ServerConfig()
    origin: OriginConfig = OriginConfig()
    rooms: tuple[RoomConfig, ...] = (RoomConfig(),)
    store: StoreConfig = StoreConfig()
    events: EventsConfig = EventsConfig()
    tokens: TokensConfig = TokensConfig()
    admin: AdminConfig = AdminConfig()
