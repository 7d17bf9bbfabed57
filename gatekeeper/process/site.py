"""The exits of one worker under one configuration.

Rules. A `Site` is built once and never changes; a change of the configuration or of a live setting
builds another, and the worker replaces the object. A request uses the site at its begin: facts,
route, admission, rules, pages and cookies are of one configuration. Rooms, streams and connections
are shared by successive sites.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network

from gatekeeper import metrics
from gatekeeper.config.invitation_keys import InvitationKey, invitation_keys
from gatekeeper.config.schema import Config, RoomConfig
from gatekeeper.config.secrets import challenge_secrets
from gatekeeper.config.types import RoomName
from gatekeeper.pages.renderer import Pages
from gatekeeper.policy.access import AccessRule
from gatekeeper.policy.audience import Audience
from gatekeeper.policy.default_rules import access_rules
from gatekeeper.policy.invitations import Invitations, visitor_key
from gatekeeper.policy.move_code import MoveCodes
from gatekeeper.policy.proof_of_work import WorkChallenges
from gatekeeper.policy.routing import Router
from gatekeeper.policy.tokens import Keyring, Tokens
from gatekeeper.proxy import Forwarder
from gatekeeper.room.replica import RoomReplica
from gatekeeper.web.address_limit import NewcomerLimit
from gatekeeper.web.admission import Admission
from gatekeeper.web.challenge_verifier import ChallengeVerifier
from gatekeeper.web.challenges import Challenges
from gatekeeper.web.cors import Cors
from gatekeeper.web.credentials import CookiePolicy, Credentials, all_cookie_names
from gatekeeper.web.endpoints import Endpoints
from gatekeeper.web.facts_reader import FactsReader
from gatekeeper.web.fastpath.lookup import FastPathLookup
from gatekeeper.web.handler import GateHandler
from gatekeeper.web.lasting_exchanges import LastingExchanges
from gatekeeper.web.pass_uses import PassUses
from gatekeeper.web.pipeline import Pipeline
from gatekeeper.web.refusals import Refusals
from gatekeeper.web.responses import Responses
from gatekeeper.web.room_gate import RoomGate
from gatekeeper.web.stream import Streams


@dataclass(frozen=True, slots=True)
class SiteParts:
    """A configuration, and what was read and derived for it."""

    config: Config
    secrets: tuple[bytes, ...]
    keyring: Keyring
    pages: Pages
    rules: tuple[AccessRule, ...]
    router: Router
    challenge_secrets: Mapping[RoomName, str]
    invitation_keys: Mapping[RoomName, tuple[InvitationKey, ...]]

    @classmethod
    def read(
        cls, config: Config, secrets: tuple[bytes, ...], *, before: SiteParts | None = None
    ) -> SiteParts:
        """Read templates and static files. Raises ConfigError or StartError. The keyring of
        `before` is kept if the secrets are the same, and with it the token cache."""
        rules = tuple(access_rules(config.rules, default_rules=config.server.default_rules))
        is_same = before is not None and before.secrets == secrets
        return cls(
            config=config,
            secrets=secrets,
            keyring=before.keyring if before is not None and is_same else Keyring(secrets),
            pages=Pages.of(config),
            rules=rules,
            challenge_secrets=challenge_secrets(config),
            router=Router(config.rooms, rules),
            invitation_keys={
                room.name: invitation_keys(room)
                for room in config.rooms
                if room.accepts_invitations
            },
        )


class Site:
    """The exits of one worker under one configuration, and the gates of its rooms."""

    def __init__(
        self,
        parts: SiteParts,
        rooms: Mapping[RoomName, tuple[RoomReplica, RoomConfig]],
        *,
        forwarder: Forwarder,
        streams: Streams,
        lasting: LastingExchanges,
        verifier: ChallengeVerifier,
        before: Site | None = None,
    ) -> None:
        """`rooms` are those of the configuration, each with its configuration in force."""
        self.parts = parts
        self._verifier = verifier
        config = parts.config
        self.gates = {
            name: self._gate(room, room_config, before)
            for name, (room, room_config) in rooms.items()
        }
        metrics.declare(
            self.gates,
            rules=[rule.name for rule in parts.rules],
            lanes=[(room.name, lane.name) for room in config.rooms for lane in room.lanes],
        )
        pipeline = Pipeline(parts.router, self.gates)
        responses = Responses(parts.pages, Cors(config.rooms))
        facts = FactsReader(
            trusted=[ip_network(network) for network in config.server.trusted_proxies],
            tls=config.server.tls,
        )
        # A cookie under its former name still contains a token: it is not forwarded either.
        self.own_cookies = all_cookie_names(config.tokens.cookie, self.gates)
        if before is not None:
            self.own_cookies |= before.own_cookies
        endpoints = Endpoints(pipeline, responses)
        self.lookup = FastPathLookup(
            pipeline=pipeline,
            facts=facts,
            origin=config.origin,
            endpoints=endpoints,
            responses=responses,
            streams=streams,
            own_cookies=self.own_cookies,
        )
        self.refusals = Refusals(responses, parts.router)
        self.handler = GateHandler(
            pipeline=pipeline,
            facts=facts,
            forwarder=forwarder,
            responses=responses,
            endpoints=endpoints,
            own_cookies=self.own_cookies,
            lasting=lasting,
            has_origin=not config.origin.is_none,
        )

    def _gate(self, room: RoomReplica, config: RoomConfig, before: Site | None) -> RoomGate:
        """The gate of a room; it keeps the sessions and the token cache of `before`."""
        known = before.gates.get(config.name) if before is not None else None
        if before is None or known is None or known.admission.room is not room:
            return self._limited(Admission(room, config), self._credentials(config.name), None)
        is_same = (before.parts.keyring, before.parts.config.tokens) == (
            self.parts.keyring,
            self.parts.config.tokens,
        )
        credentials = known.credentials if is_same else self._credentials(config.name)
        return self._limited(known.admission.under(config), credentials, known.uses)

    def _limited(
        self, admission: Admission, credentials: Credentials, uses: PassUses | None
    ) -> RoomGate:
        """The gate with the parts for `newcomers_per_address`, `concurrent`, `challenge` and
        invitations; `uses`: the pass uses so far."""
        config = admission.config
        admission.newcomer_limit = NewcomerLimit.of(
            config, admission.address_buckets, router=self.parts.router
        )
        codes = MoveCodes(self.parts.keyring, config.name)
        gate = RoomGate(admission, credentials, move_codes=codes)
        if config.concurrent:
            uses = uses or PassUses(config.name)
            uses.limit = config.concurrent
            gate = replace(gate, uses=uses)
        if config.challenge != "off":
            challenges = Challenges(
                config,
                work=WorkChallenges(self.parts.keyring),
                verifier=self._verifier,
                secret=self.parts.challenge_secrets.get(config.name, ""),
            )
            gate = replace(gate, challenges=challenges)
        keys = self.parts.invitation_keys.get(config.name)
        if keys:
            visitors = visitor_key(self.parts.secrets[-1])
            audience = Audience.of_hosts((*config.host, *self.parts.config.edge.domains))
            gate = replace(gate, invitations=Invitations(config.name, keys, visitors, audience))
        return gate

    def _credentials(self, room: RoomName) -> Credentials:
        tokens = self.parts.config.tokens
        return Credentials(
            Tokens(self.parts.keyring, room),
            cookie=tokens.cookie,
            room=room,
            policy=CookiePolicy.of(tokens),
        )
