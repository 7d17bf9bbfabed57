"""The sections of the configuration: their keys, their defaults, and conflicts between keys.

Rules: field names are the keys of the file. Every duration is a float of seconds, every rate a
float of admissions per minute. A field that may hold a secret has no repr.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr

from gatekeeper.config.autotune_keys import Share, SteeredRate, autotune_conflicts
from gatekeeper.config.bearer_token import BearerToken, OptionalBearerToken
from gatekeeper.config.challenge_keys import (
    MAX_DIFFICULTY,
    Challenge,
    Noscript,
    SiteKey,
    VerifyUrl,
    challenge_conflicts,
)
from gatekeeper.config.durations import (
    ClaimTimeout,
    ConfirmTimeout,
    HeartbeatTimeout,
    PlaceTtl,
    PollIntervalMax,
    SessionAbsoluteTimeout,
    SessionIdleTimeout,
    shorter_than,
)
from gatekeeper.config.edge_schema import EdgeConfig
from gatekeeper.config.event_schema import EventConfig
from gatekeeper.config.lane_schema import LaneConfig
from gatekeeper.config.problems import shown
from gatekeeper.config.rule_schema import RuleConfig
from gatekeeper.config.section import LIVE, KeyConflict, Section
from gatekeeper.config.types import (
    DEFAULT_ROOM,
    EMBEDDED,
    NO_ORIGIN,
    CookieName,
    Domain,
    Duration,
    EventsUrl,
    File,
    Folder,
    FrameAncestors,
    Hosts,
    Listen,
    Message,
    Network,
    OptionalParameter,
    OriginUrl,
    Paths,
    RatePerMinute,
    Room,
    Secret,
    StoreUrl,
    TemplateName,
    TokenName,
    WebOrigins,
    Workers,
    is_loopback,
    one_line,
    split_listen,
)


class ServerConfig(Section):
    listen: Listen = "0.0.0.0:8080"
    workers: Workers = 1
    trusted_proxies: tuple[Network, ...] = Field(default=(), strict=False)
    tls_cert: File = ""
    tls_key: File = ""
    shutdown_timeout: Duration = 30.0
    default_rules: bool = True  # bypass CORS preflights, /.well-known/**, robots.txt, favicon.ico
    templates: Folder = ""  # its files replace the built-in templates
    static: Folder = ""  # its files replace the built-in assets

    def conflicts(self) -> Iterator[KeyConflict]:
        if bool(self.tls_cert) != bool(self.tls_key):
            problem = "set without tls_cert" if self.tls_key else "missing, while tls_cert is set"
            yield KeyConflict(("tls_cert", "tls_key"), f"{problem}; expected both or neither")

    @property
    def tls(self) -> bool:
        return bool(self.tls_cert)


class OriginConfig(Section):
    url: OriginUrl = "http://127.0.0.1:9000"
    preserve_host: bool = True
    connect_timeout: Duration = 5.0
    read_timeout: Duration = 60.0
    tls_ca: File = ""  # certificates to trust in addition to the system's

    @property
    def is_none(self) -> bool:
        """Whether the gate forwards nothing: proxies forward, and ask the gate (forward auth)."""
        return self.url == NO_ORIGIN


class RoomKeys(Section):
    """The keys of [admission] and [waiting]; every [[room]] may override them. Operators can change
    those marked LIVE while the gate runs."""

    rate: Annotated[RatePerMinute, LIVE] = 500.0
    burst: Annotated[int, Field(ge=1, le=1_000_000), LIVE] = 10
    max_active: Annotated[int, Field(ge=0, le=100_000_000), LIVE] = 0
    session_idle_timeout: Annotated[SessionIdleTimeout, LIVE] = 1800.0
    session_absolute_timeout: Annotated[SessionAbsoluteTimeout, LIVE] = 14400.0
    claim_timeout: Annotated[ClaimTimeout, LIVE] = 120.0
    confirm_timeout: Annotated[ConfirmTimeout, LIVE] = 20.0
    heartbeat_timeout: Annotated[HeartbeatTimeout, LIVE] = 90.0
    place_ttl: Annotated[PlaceTtl, LIVE] = 7200.0
    concurrent: Annotated[int, Field(ge=0, le=1_000_000), LIVE] = 0  # per pass; 0: no limit
    queue_limit: Annotated[int, Field(ge=0, le=100_000_000), LIVE] = 0  # 0: no limit
    store_failure_mode: Literal["closed", "open"] = "closed"
    autotune: Annotated[bool, LIVE] = False  # steer the rate by the load of the origin
    autotune_min: Annotated[SteeredRate, LIVE] = 30.0
    autotune_max: Annotated[SteeredRate, LIVE] = 3000.0
    autotune_latency: Annotated[Duration, LIVE] = 0.8  # p95 of the origin's responses
    autotune_errors: Annotated[Share, LIVE] = 0.02  # of the origin's responses that failed
    invitation_secret_file: File = ""  # of the shop, for HS256
    invitation_public_key_file: File = ""  # of the shop, for RS256, ES256, EdDSA
    status: Literal[200, 202, 429, 503] = 503
    title: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(one_line), LIVE] = (
        "You are in line"
    )
    message: Annotated[Message, LIVE] = ""  # one line, shown to all waiting visitors
    template: TemplateName = "waiting.html"  # a file in server.templates, or a built-in one
    json_format: Literal["gatekeeper", "cloudflare"] = "gatekeeper"
    poll_interval_max: Annotated[PollIntervalMax, LIVE] = 36.0
    updates: Literal["poll", "stream"] = "poll"
    challenge: Annotated[Challenge, LIVE] = "off"  # what a newcomer solves to be confirmed
    challenge_difficulty: Annotated[int, Field(ge=1, le=MAX_DIFFICULTY), LIVE] = 50_000  # hashes
    challenge_noscript: Noscript = "wait"
    challenge_site_key: SiteKey = ""
    challenge_secret_file: File = ""
    challenge_verify_url: VerifyUrl = ""  # "": the provider's own
    frame_ancestors: FrameAncestors = ("'self'",)  # who may embed the pages
    cors_origins: WebOrigins = ()  # who may read the gate's own responses from scripts
    newcomers_per_address: Annotated[RatePerMinute, LIVE] = 0.0  # and per replica; 0: no limit


WAITING_KEYS = frozenset(
    {"status", "title", "message", "template", "json_format", "poll_interval_max", "updates"}
    | {"frame_ancestors", "cors_origins", "newcomers_per_address"}
    | {"challenge", "challenge_difficulty", "challenge_noscript"}
    | {"challenge_site_key", "challenge_secret_file", "challenge_verify_url"}
)
ADMISSION_KEYS = frozenset(RoomKeys.model_fields) - WAITING_KEYS
LIVE_KEYS = tuple(key for key, field in RoomKeys.model_fields.items() if LIVE in field.metadata)


class RoomConfig(RoomKeys):
    """One room with every key filled in; durations in seconds, `rate` per minute."""

    name: Room = DEFAULT_ROOM
    host: Hosts = ()  # none: any host
    path: Paths = ("/",)
    query: OptionalParameter = ""  # only requests with this parameter
    ignore_case: bool = True  # paths match in any letter case
    access: Literal["public", "invited"] = "public"  # whether newcomers need an invitation
    _lanes: tuple[LaneConfig, ...] = PrivateAttr(())  # each [[lane]] names its room
    _has_origin: bool = PrivateAttr(True)

    @property
    def accepts_invitations(self) -> bool:
        """Whether the room has a key for invitations."""
        return bool(self.invitation_secret_file or self.invitation_public_key_file)

    @property
    def lanes(self) -> tuple[LaneConfig, ...]:
        """The lanes of this room."""
        return self._lanes

    def with_lanes(self, lanes: Iterable[LaneConfig]) -> RoomConfig:
        """A copy of this room with those of `lanes` that name it."""
        room = self.model_copy()
        room._lanes = tuple(lane for lane in lanes if lane.room == self.name)  # noqa: SLF001
        return room

    def without_origin(self) -> RoomConfig:
        """A copy of this room, for a gate that forwards nothing."""
        room = self.model_copy()
        room._has_origin = False  # noqa: SLF001
        return room

    def conflicts(self) -> Iterator[KeyConflict]:
        idle = ("session_idle_timeout", self.session_idle_timeout)
        yield from shorter_than(("session_absolute_timeout", self.session_absolute_timeout), idle)
        place = ("place_ttl", self.place_ttl)
        why = "the ticket of a visitor in the queue would have expired"
        yield from shorter_than(place, ("heartbeat_timeout", self.heartbeat_timeout), why=why)
        why = "the ticket of a released visitor would have expired before the claim"
        yield from shorter_than(place, ("claim_timeout", self.claim_timeout), why=why)
        if self.access == "invited" and not self.accepts_invitations:
            keys = ("invitation_secret_file", "invitation_public_key_file", "access")
            expected = f"{keys[0]} or {keys[1]}"
            problem = f'"invited" without a key that verifies invitations; expected {expected}'
            yield KeyConflict(keys, problem)
        yield from autotune_conflicts(
            is_on=self.autotune,
            has_origin=self._has_origin,
            rate_min=self.autotune_min,
            rate_max=self.autotune_max,
        )
        if "'none'" in self.frame_ancestors and len(self.frame_ancestors) > 1:
            yield KeyConflict(
                ("frame_ancestors",), "'none' is listed with others; expected it alone"
            )
        yield from challenge_conflicts(
            self.challenge,
            site_key=self.challenge_site_key,
            secret_file=self.challenge_secret_file,
            noscript=self.challenge_noscript,
            template=self.template,
        )


class StoreConfig(Section):
    url: StoreUrl = Field(default=EMBEDDED, repr=False)  # may hold a password
    timeout: Duration = 1.0


class EventsConfig(Section):
    url: EventsUrl = Field(default=EMBEDDED, repr=False)  # may hold a password


class TokensConfig(Section):
    secret_file: File = ""
    secrets: tuple[Secret, ...] = Field(default=(), strict=False, repr=False)
    cookie: CookieName = "gatekeeper"
    same_site: Literal["auto", "lax", "strict", "none"] = "auto"
    partitioned: bool = False
    cookie_domain: Domain = ""

    def conflicts(self) -> Iterator[KeyConflict]:
        if self.secret_file and self.secrets:
            yield KeyConflict(
                ("secret_file", "secrets"), "set together with secret_file; expected one of the two"
            )


class AdminToken(Section):
    """One of [[admin.tokens]]: a bearer token of the admin API, its name and its role."""

    name: TokenName
    role: Literal["read", "full"] = "read"
    secret: Annotated[BearerToken | None, Field(repr=False)] = None
    secret_file: File = ""


class AdminConfig(Section):
    listen: Listen = "127.0.0.1:8081"
    token: OptionalBearerToken = Field(default="", repr=False)
    tokens: tuple[AdminToken, ...] = Field(default=(), strict=False)

    def conflicts(self) -> Iterator[KeyConflict]:
        if not self.token and not self.tokens and not is_loopback(split_listen(self.listen)[0]):
            problem = (
                f"missing while admin.listen is not loopback ({self.listen}); expected admin.token "
                "or [[admin.tokens]] (`gatekeeper secret` makes one)"
            )
            yield KeyConflict(("tokens", "listen", "token"), problem)
        names = [token.name for token in self.tokens]
        for index, token in enumerate(self.tokens):
            path = f"tokens[{index}]"
            secret_problem = (
                "set together with secret_file; expected one of the two"
                if token.secret
                else "missing; expected secret or secret_file"
            )
            if bool(token.secret) == bool(token.secret_file):
                yield KeyConflict(("tokens", f"{path}.secret"), secret_problem)
            if token.name in names[:index]:
                yield KeyConflict(
                    ("tokens", f"{path}.name"),
                    f"{shown(token.name)} is used twice; expected a name of its own",
                )
            if token.secret and token.secret in [each.secret for each in self.tokens[:index]]:
                yield KeyConflict(
                    ("tokens", f"{path}.secret"), "used twice; expected a different secret"
                )


class Config(Section):
    server: ServerConfig = ServerConfig()
    edge: EdgeConfig = EdgeConfig()
    origin: OriginConfig = OriginConfig()
    rooms: tuple[RoomConfig, ...] = (RoomConfig(),)
    rules: tuple[RuleConfig, ...] = ()
    schedule: tuple[EventConfig, ...] = ()
    store: StoreConfig = StoreConfig()
    events: EventsConfig = EventsConfig()
    tokens: TokensConfig = TokensConfig()
    admin: AdminConfig = AdminConfig()

    @property
    def listens(self) -> bool:
        """Whether the gate serves on `server.listen`: with an edge only if that key is set."""
        return not self.edge.is_on or "listen" in self.server.model_fields_set
