"""The request head for the origin, and the response head for the client.

Rules: pure. End-to-end fields are forwarded byte for byte and in order. Hop-by-hop fields and those
that `Connection` names are removed (RFC 9110 section 7.6.1). Fields that identify the visitor are
set by the gate: the client's own are removed in every spelling that a CGI-like origin treats as
equal.
"""

from __future__ import annotations

import re
from functools import lru_cache

from aiohttp import HttpVersion11
from aiohttp.web import BaseRequest

from gatekeeper.proxy.cache_fields import made_private
from gatekeeper.proxy.context import Fields, ForwardContext
from gatekeeper.proxy.framing import Body
from gatekeeper.proxy.plain_head import PlainRequest
from gatekeeper.proxy.response import ResponseHead, tokens

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# `Forwarded` (RFC 7239) has the meaning of X-Forwarded-*, and could contradict them.
_SET_BY_GATE = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-gatekeeper-visitor",
        b"x-queue-token",
    }
)
# Fields by which proxies and CDNs describe a request. A client could use them to forge its address,
# scheme or port, or to make the origin serve another path than the one that was matched.
_FORWARDED = b"x-forwarded-"  # Port, Prefix, Ssl, Uri …: the gate sets none of them
PROXY_CLAIMS = frozenset(
    {
        b"cf-connecting-ip",
        b"client-ip",
        b"fastly-client-ip",
        b"front-end-https",
        b"true-client-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-original-host",
        b"x-original-uri",
        b"x-original-url",
        b"x-override-url",
        b"x-real-ip",
        b"x-rewrite-url",
    }
)
_KNOWN = _SET_BY_GATE | PROXY_CLAIMS
_REMOVED = _HOP_BY_HOP | _SET_BY_GATE | {b"host"}
_CLEAR_SITE_DATA = re.compile(rb"\r\nclear-site-data:[^\r]*", re.IGNORECASE)
# `Connection` cannot remove the field that frames the message.
_NOT_REMOVABLE = frozenset({b"content-length"})
_LIMITED_METHODS = frozenset({"TRACE", "OPTIONS"})
_IS_NUMBER = re.compile(r"[0-9]+").fullmatch
_MAX_FORWARDS = 999_999_999
_OPTIONS_WITHOUT_FIELD = frozenset({b"close", b"keep-alive"})


def forwards_left(request: BaseRequest) -> int | None:
    """How often the request may be forwarded: `Max-Forwards` of TRACE and OPTIONS (RFC 9110 section
    7.6.2). None: no limit."""
    if request.method not in _LIMITED_METHODS:
        return None
    value = request.headers.get("Max-Forwards", "")
    if not _IS_NUMBER(value):
        return None
    digits = value.lstrip("0")[:10]  # Python refuses to parse more than 4300 digits
    return min(int(digits or "0"), _MAX_FORWARDS)


def wants_upgrade(request: BaseRequest) -> bool:
    """Whether this requests a WebSocket (RFC 6455 section 4.1), the only upgrade that is tunnelled.

    A receiver may ignore any other `Upgrade`, and the gate removes it (RFC 9110 section 7.8).
    """
    headers = request.headers
    return (
        "Upgrade" in headers
        and headers["Upgrade"].lower() == "websocket"
        and request.method == "GET"
        and request.version == HttpVersion11
        and not request.body_exists
        and b"upgrade" in _connection_options(request)
    )


def request_head(
    request: BaseRequest, context: ForwardContext, *, origin_host: bytes, preserve_host: bool
) -> bytes:
    """The head for the origin, from the request line to the empty line.

    `origin_host` is the origin's authority. It becomes the Host without `preserve_host`, and for an
    HTTP/1.0 request without Host.
    """
    client = context.client
    client_host = client.host.encode("ascii")
    http11_client = request.version == HttpVersion11
    options = _connection_options(request)
    left = forwards_left(request)
    removed = _REMOVED
    if not http11_client:
        removed |= {b"expect"}  # RFC 9110 section 10.1.1
    if not _OPTIONS_WITHOUT_FIELD.issuperset(options):
        removed = (removed | set(options)) - _NOT_REMOVABLE
    parts = [
        b"%b %b HTTP/1.1\r\nHost: %b"
        % (
            request.method.encode("ascii"),
            _origin_form(request),
            client_host if preserve_host and client_host else origin_host,
        )
    ]
    for name, value in request.raw_headers:
        canonical = _canonical(name)
        if canonical in removed or (not client.is_proxied and _is_proxy_claim(name)):
            continue
        if canonical == b"cookie":
            value = _without(value, context.strip_cookies)
            if not value:
                continue
        elif canonical == b"max-forwards" and left is not None:
            value = b"%d" % (left - 1)
        parts.append(name + b": " + value)
    if "Transfer-Encoding" in request.headers:
        parts.append(b"Transfer-Encoding: chunked")
    if wants_upgrade(request):
        parts.append(b"Connection: Upgrade\r\nUpgrade: websocket")
    elif http11_client and _accepts_trailers(request):
        parts.append(b"Connection: TE\r\nTE: trailers")
    parts.append(_gate_fields(context))
    return b"\r\n".join(parts)


def plain_head(
    request: PlainRequest, context: ForwardContext, *, origin_host: bytes, preserve_host: bool
) -> bytes:
    """The head for the origin of a plain request; the same bytes as by `request_head`."""
    fields, cookie_at = request.fields, request.cookie_at
    if not context.client.is_proxied:
        claims = {at for at, line in enumerate(fields) if _is_proxy_claim(line.partition(b":")[0])}
        if claims:
            fields = [line for at, line in enumerate(fields) if at not in claims]
            cookie_at -= sum(at < cookie_at for at in claims)
    parts = [
        b"%b %b HTTP/1.1\r\nHost: %b"
        % (
            request.method.encode("ascii"),
            request.target,
            context.client.host.encode("ascii") if preserve_host else origin_host,
        ),
        *fields,
    ]
    if request.cookie is not None:
        cookie = _without(request.cookie, context.strip_cookies)
        if cookie:
            parts.insert(cookie_at + 1, b"%b: %b" % (request.cookie_name, cookie))
    parts.append(_gate_fields(context))
    return b"\r\n".join(parts)


@lru_cache(maxsize=1024)
def _is_proxy_claim(name: bytes) -> bool:
    canonical = _canonical(name)
    return canonical in PROXY_CLAIMS or canonical.startswith(_FORWARDED)


def _gate_fields(context: ForwardContext) -> bytes:
    """The fields that the gate sets, with the empty line at the end of the head."""
    client = context.client
    fields = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (
        client.address.encode("ascii"),
        client.scheme.encode("ascii"),
    )
    host = client.forwarded_host or client.host
    if host:
        fields = b"X-Forwarded-Host: %b\r\n%b" % (host.encode("ascii"), fields)
    if not context.visitor:  # the request is in no room
        return fields + b"\r\n"
    return b"%bX-Gatekeeper-Visitor: %b\r\nX-Gatekeeper-Room: %b\r\n\r\n" % (
        fields,
        context.visitor.encode("ascii"),
        context.room.encode("ascii"),
    )


def response_head(
    head: ResponseHead, body: Body, *, http11_client: bool, keep_alive: bool, added: Fields | None
) -> bytes:
    """The head of a final response for the client: the gate's framing, the origin's fields.

    `added` fields set or delete the token, so the response is private: no cache may store it. An
    added `Clear-Site-Data` replaces the origin's, also if it is empty. None: the response is
    public, and its fields are unchanged.
    """
    lines = head.lines if added is None else _with(head.lines, added, is_private=True)
    if body.chunked:
        lines += b"\r\nTransfer-Encoding: chunked"
        for value in head.control.get(b"trailer", ()):
            lines += b"\r\nTrailer: " + value
    if not keep_alive:
        lines += b"\r\nConnection: close"
    elif not http11_client:
        lines += b"\r\nConnection: keep-alive"
    return b"HTTP/1.1 %d %b%b\r\n\r\n" % (head.status, head.reason, lines)


def interim_head(head: ResponseHead) -> bytes:
    """The head of a 1xx response for an HTTP/1.1 client. Only a final response may have
    Clear-Site-Data."""
    lines = _CLEAR_SITE_DATA.sub(b"", head.lines)
    return b"HTTP/1.1 %d %b%b\r\n\r\n" % (head.status, head.reason, lines)


def switching_head(head: ResponseHead, *, added: Fields | None) -> bytes:
    """The head of a 101 for the client, after which its connection is a tunnel."""
    lines = _with(head.lines, added or (), is_private=False)
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket"
    return b"HTTP/1.1 101 %b\r\n%b%b\r\n\r\n" % (head.reason, upgrade, lines)


def _with(lines: bytes, added: Fields, *, is_private: bool) -> bytes:
    """The lines with the added fields, see `response_head`."""
    if any(name == b"Clear-Site-Data" for name, _ in added):
        lines = _CLEAR_SITE_DATA.sub(b"", lines)
        added = tuple(field for field in added if field[1])
    if is_private:
        lines = made_private(lines)
    return lines + b"".join([b"\r\n%b: %b" % field for field in added])


def _connection_options(request: BaseRequest) -> tuple[bytes, ...]:
    values = request.headers.getall("Connection", ())
    return tokens(tuple(value.encode("utf-8", "surrogateescape") for value in values))


def _accepts_trailers(request: BaseRequest) -> bool:
    return "TE" in request.headers and any(
        coding.strip().lower() == "trailers"
        for value in request.headers.getall("TE")
        for coding in value.split(",")
    )


def _origin_form(request: BaseRequest) -> bytes:
    """The request target in origin-form (RFC 9112 section 3.2), its bytes unchanged."""
    target = request.raw_path
    if target[:1] not in {"/", "*"}:  # absolute-form; `check_request` compared the authority
        _, _, rest = target.partition("://")
        start = min(at for at in (rest.find("/"), rest.find("?"), len(rest)) if at >= 0)
        target = rest[start:]
        if not target and request.method == "OPTIONS":
            target = "*"  # section 3.2.4
        elif not target.startswith("/"):
            target = "/" + target
    return target.encode("utf-8", "surrogateescape")


def _without(cookie: bytes, names: frozenset[str]) -> bytes:
    """The value of `Cookie` without the named cookies; unchanged if it has none of them."""
    stripped = _as_bytes(names)
    if not any(name in cookie for name in stripped):
        return cookie
    crumbs = cookie.split(b";")
    kept = [crumb for crumb in crumbs if crumb.partition(b"=")[0].strip() not in stripped]
    return cookie if len(kept) == len(crumbs) else b";".join(kept).strip()


@lru_cache(maxsize=1024)  # clients use few names; a hostile client only causes cache misses
def _canonical(name: bytes) -> bytes:
    """The name in lower case; the gate's name for each spelling that a CGI-like origin treats as
    equal; one name for all X-Queue-*, and one for all X-Gatekeeper-*."""
    lower = name.lower()
    dashed = lower.replace(b"_", b"-")
    if dashed.startswith(b"x-queue-"):
        return b"x-queue-token"
    if dashed.startswith(b"x-gatekeeper-"):
        return b"x-gatekeeper-visitor"
    return dashed if dashed in _KNOWN or dashed.startswith(_FORWARDED) else lower


@lru_cache(maxsize=256)
def _as_bytes(names: frozenset[str]) -> frozenset[bytes]:
    return frozenset(name.encode("ascii") for name in names)
