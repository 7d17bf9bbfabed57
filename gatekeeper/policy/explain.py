"""Why a request takes its route: each rule that is evaluated, in order, up to the match.

Rules. Pure. The route is the router's own; this only reports how each rule was evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address

from gatekeeper.config.problems import in_ascii, shown
from gatekeeper.config.schema import Config
from gatekeeper.config.types import RoomName
from gatekeeper.errors import BadRequest
from gatekeeper.policy.access import AccessRule, Condition
from gatekeeper.policy.default_rules import access_rules
from gatekeeper.policy.facts import HOST, TARGET, Client, RequestFacts, origin_form
from gatekeeper.policy.original_request import is_check, original_request
from gatekeeper.policy.parameters import TooManyValues, first_value, underscored_values
from gatekeeper.policy.readings import TooManyReadings
from gatekeeper.policy.request_readings import RequestReadings
from gatekeeper.policy.routing import Blocked, Bypassed, InRoom, Rejected, Route, Router, Ungated

_ENDPOINTS = "/.gatekeeper/"
# The endpoints of a room, which a rule may block. A test compares them with `web.endpoints`.
OF_ROOMS = frozenset(
    {"status", "confirm", "enqueue", "challenge", "leave", "wait", "move", "continue", "invitation"}
)
_URL = re.compile(r"(https?)://([^/?#]+)([/?].*|)", re.IGNORECASE)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_ACTION = {"bypass": "bypasses the queue", "queue": "goes on to the rooms", "block": "is blocked"}


def parse_request_url(text: str) -> tuple[str, str, str]:
    """Scheme, host and request target of the URL of a request that the gate accepts. Raises
    ValueError."""
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError(
            f'{shown(text)} is not a URL; expected e.g. "https://shop.example.com/cart"'
        )
    scheme, host, rest = match.groups()
    if HOST.fullmatch(host) is None:
        expected = f'expected e.g. "shop.example.com" or "[2001:db8::1]"{in_ascii(host)}'
        raise ValueError(f"{shown(text)} is not a URL: {shown(host)} is not a host; {expected}")
    target = origin_form(text)
    if TARGET.fullmatch(target) is None:
        raise ValueError(
            f"{shown(text)} is not a URL: {shown(rest)} is not a path with a query; "
            'expected no "#…", and blanks and control characters percent-encoded'
        )
    return scheme.lower(), host, target


def parse_method(text: str) -> str:
    """A method as typed; methods are case-sensitive. Raises ValueError."""
    if _TOKEN.fullmatch(text) is None:
        raise ValueError(f'{shown(text)} is not a method; expected e.g. "GET" or "POST"')
    return text


def parse_header(text: str) -> tuple[str, str]:
    """Name and value of a field as typed. Raises ValueError."""
    name, colon, value = text.partition(":")
    if not colon or _TOKEN.fullmatch(name) is None:
        raise ValueError(f'{shown(text)} is not a header field; expected e.g. "Accept: text/html"')
    return name, value.strip()


def parse_client_address(text: str) -> str:
    """The address of a client. Raises ValueError."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f'{shown(text)} is not an IP address; expected e.g. "192.0.2.1"') from None


def explain_request(
    config: Config, method: str, url: str, *, headers: Sequence[str], client: str
) -> Iterator[str]:
    """`explain` for a configuration, and a request as it is typed: its fields are `Name: value`."""
    scheme, host, target = parse_request_url(url)
    fields: dict[str, list[str]] = {}
    for name, value in map(parse_header, headers):
        fields.setdefault(name.lower(), []).append(value)
    facts = RequestFacts(
        client=Client(client, scheme, host),
        method=method,
        target=target,
        cookies=tuple(fields.get("cookie", ())),
        fields=lambda name: fields.get(name.lower(), ()),
        underscored=lambda name: underscored_values(
            ((field, value) for field, values in fields.items() for value in values), name
        ),
    )
    rules = access_rules(config.rules, default_rules=config.server.default_rules)
    router = Router(config.rooms, rules)
    if target.startswith(_ENDPOINTS) and is_check(target.removeprefix(_ENDPOINTS)):
        yield from _explain_check(router, facts)
        return
    if config.origin.is_none and not target.startswith(_ENDPOINTS):
        yield 'no origin: the gate responds with 421; for forward auth at "/.gatekeeper/auth":'
    yield from explain(router, facts)


def _explain_check(router: Router, facts: RequestFacts) -> Iterator[str]:
    """`explain` for a check of forward auth: the original request, if its proxy is trusted."""
    scheme = "".join(facts.fields("X-Forwarded-Proto")) or facts.client.scheme
    host = "".join(facts.fields("X-Forwarded-Host"))
    client = replace(facts.client, scheme=scheme, forwarded_host=host)
    yield "a forward-auth check: only a proxy in server.trusted_proxies may send it"
    try:
        original = original_request(replace(facts, client=client))
    except BadRequest as error:
        yield f"400: {error.public}"
        return
    address = f"{original.client.scheme}://{original.client.host}{original.target}"
    yield f"the original request: {original.method} {address}"
    if original.target.startswith(_ENDPOINTS):
        yield "403: an endpoint of the gate; the proxy has to route it to the gate"
        return
    yield from explain(router, original)


def explain(router: Router, facts: RequestFacts) -> Iterator[str]:
    """The explanation in lines: the readings of the path, the evaluated rules, and the route."""
    if facts.method.upper() == "CONNECT":
        yield f"400: {facts.method} is not supported"
        return
    if facts.target.startswith(_ENDPOINTS):
        yield from _explain_endpoint(router, facts)
        return
    request = RequestReadings(facts)
    try:
        yield f"interpretations of the path: {', '.join(request.paths)}"
    except TooManyReadings:
        yield _result(router.route(facts))
        return
    if request.readings.is_ambiguous:
        yield "the path is ambiguous: origins differ in how they read it, so no bypass applies"
    for rule in router.rules:
        try:
            holds, _ = router.evaluate(rule, request)
        except TooManyValues:
            yield f'rule "{rule.name}": a parameter or cookie has too many values to check'
            break
        if holds:
            yield f'rule "{rule.name}" holds: the request {_ACTION[rule.action]}'
            break
        yield f'rule "{rule.name}" ({rule.action}) does not hold: {_reason(router, rule, request)}'
    yield from _end(router, facts, router.route(facts))


def _explain_endpoint(router: Router, facts: RequestFacts) -> Iterator[str]:
    """`explain` for a request to the gate itself, which never reaches the origin."""
    name, _, query = facts.target.removeprefix(_ENDPOINTS).partition("?")
    path = first_value(query, "for") or "/"
    room = first_value(query, "room") or router.room_of(facts.client.host, path)
    yield "an endpoint of the gate: rules on path and query do not apply"
    if name in OF_ROOMS and room:
        yield from _end(router, facts, router.route_of_endpoint(facts, RoomName(room)))
    else:
        yield "for every client: it gives no place"


def _end(router: Router, facts: RequestFacts, route: Route) -> Iterator[str]:
    if isinstance(route, InRoom) and router.is_from_shared_address(facts, route.room):
        yield "newcomers_per_address does not count this client: a queue rule names its address"
    yield _result(route)


def _reason(router: Router, rule: AccessRule, request: RequestReadings) -> str:
    every = rule.action == "bypass"
    for condition in rule.conditions:
        if condition.holds(request, every=every):
            continue
        if every and condition.key.startswith("path") and request.readings.is_ambiguous:
            return f"{condition.key} does not bypass with an ambiguous path"
        if every and condition.holds(request, every=False):
            return f"{condition.key} matches in one reading, and a bypass needs every reading"
        return f"{condition.key} does not match"
    rooms = sorted(room or "no room" for room in router.rooms_of(request))
    return f'the request is in {" and ".join(rooms)}, the rule is for room "{rule.room}"'


def _result(route: Route) -> str:
    match route:
        case Bypassed(rule=rule):
            return f'forwarded by rule "{rule}", without counting and without a token'
        case Blocked(rule=rule):
            return f'403 by rule "{rule}"'
        case Ungated():
            return "forwarded: in no room"
        case InRoom(room=room):
            return f'in room "{room}"'
        case Rejected(status=status, reason=reason):
            return f"{status}: {reason}"


def describe(condition: Condition) -> str:
    """A condition in one phrase, as in the configuration."""
    return f"{condition.key} {condition.value}"


def describe_rule(rule: AccessRule) -> str:
    """The conditions of a rule in one line."""
    parts: Sequence[str] = [describe(condition) for condition in rule.conditions]
    room = f' in room "{rule.room}"' if rule.room else ""
    return " and ".join(parts) + room
