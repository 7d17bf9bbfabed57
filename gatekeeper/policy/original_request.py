"""The original request that a check of forward auth is about, from the fields of a trusted proxy.

Rules. Pure. A check is a request of a proxy to `/.gatekeeper/auth` that also has the fields of a
visitor's request. The original request is read from

    path of the check  method             host              path and query   proxies
    auth/<original>    the check's        the check's Host  of the check     Envoy
    auth               X-Forwarded-Method X-Forwarded-Host  X-Forwarded-Uri  most
    auth               X-Original-Method  X-Original-URL    X-Original-URL   ingress-nginx

and its scheme from X-Forwarded-Proto, else from X-Original-URL. Without a field, method and host
are those of the check. A proxy also passes on the client's fields. So a field with two values, and
two forms that contradict each other, are refused: one of them is the client's. A missing address is
refused too, and so is a request that would be malformed inline.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gatekeeper.errors import BadRequest
from gatekeeper.policy.facts import HOST, TARGET, Client, RequestFacts, origin_form

_PREFIX: Final = "/.gatekeeper/"
_CHECK: Final = "auth"
_HOST: Final = "X-Forwarded-Host"
_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_URL: Final = re.compile(rf"(https?)://({HOST.pattern})(/.*)", re.DOTALL)


def is_check(name: str) -> bool:
    """Whether a path under the gate's prefix, with or without a query, is a check."""
    return name.startswith(_CHECK) and name[len(_CHECK) :][:1] in {"", "?", "/"}


def original_request(check: RequestFacts) -> RequestFacts:
    """The facts of the original request. Raises BadRequest; only call it for a check of a trusted
    proxy. `has_body` remains that of the check."""
    rest = check.target.removeprefix(_PREFIX + _CHECK)
    if rest.startswith("/"):
        client = _at(check.client, check.client.host)
        return _described(check, client, check.method, rest)
    methods = _distinct(check, "X-Forwarded-Method", "X-Original-Method")
    uris, urls = _distinct(check, "X-Forwarded-Uri"), _distinct(check, "X-Original-URL")
    client = check.client
    hosts = {each.strip() for value in check.fields(_HOST) for each in value.split(",")}
    if hosts and not client.forwarded_host:
        raise BadRequest(f"{_HOST} is not a valid host name")
    if len(hosts) > 1:  # a list, or the field twice: one of them is the client's
        raise BadRequest(f"{_HOST} names different hosts")
    client = _at(client, client.forwarded_host or client.host)
    targets = list(uris)
    for url in urls:
        scheme, host, target = _parsed(url)
        targets.append(target)
        if uris and host != client.host:
            raise BadRequest(f"X-Original-URL and {_HOST} name different hosts")
        has_scheme = bool(check.fields("X-Forwarded-Proto"))
        client = _at(client, host, scheme="" if has_scheme else scheme)
    if not targets:
        raise BadRequest("the address of the original request is missing; expected X-Forwarded-Uri")
    if len(set(targets)) > 1:
        raise BadRequest("X-Forwarded-Uri and X-Original-URL name different addresses")
    return _described(check, client, methods[0] if methods else check.method, targets[0])


def _at(client: Client, host: str, *, scheme: str = "") -> Client:
    return Client(client.address, scheme or client.scheme, host, is_proxied=client.is_proxied)


def _described(check: RequestFacts, client: Client, method: str, uri: str) -> RequestFacts:
    if _METHOD.fullmatch(method) is None:
        raise BadRequest("the method of the original request is not valid")
    target = origin_form(uri)
    if (target != "*" and TARGET.fullmatch(target) is None) or not uri.startswith(target[0]):
        raise BadRequest("the address of the original request is not a path with a query")
    if target == "*" and method != "OPTIONS":  # RFC 9112 section 3.2.4; in no room
        raise BadRequest("the address * of the original request is valid for OPTIONS only")
    if method.upper() == "CONNECT":  # an origin may ignore the letter case
        raise BadRequest("CONNECT is not supported")

    def fields(name: str) -> Sequence[str]:
        values = check.fields(name)
        # Proxies remove the hop-by-hop field Upgrade, but every WebSocket handshake has this field
        # (RFC 6455 section 4.1, RFC 8441 section 5).
        if not values and name == "Upgrade" and check.fields("Sec-WebSocket-Version"):
            return ["websocket"]
        return values

    return replace(check, client=client, method=method, target=target, fields=fields)


def _distinct(check: RequestFacts, *names: str) -> list[str]:
    """The distinct values of these fields: one, or none."""
    values = sorted({value for name in names for value in check.fields(name)})
    if len(values) > 1:
        raise BadRequest(f"{' and '.join(names)} came with different values")
    return values


def _parsed(url: str) -> tuple[str, str, str]:
    match = _URL.fullmatch(url)
    if match is None:
        raise BadRequest("X-Original-URL is not a URL with a path")
    scheme, host, target = match.groups()
    return scheme, host, target
