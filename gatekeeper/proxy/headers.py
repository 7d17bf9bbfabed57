"""The head of the request as the origin gets it, and of the answer as the client gets it.

Rules: pure. End-to-end fields pass byte for byte and in their order; hop-by-hop fields and those
that `Connection` names stay behind (RFC 9110 section 7.6.1). Fields that say who the visitor is
are the gate's own: a client's, under any spelling that a CGI-like origin could read as ours,
stay behind too.
"""

from __future__ import annotations

from functools import lru_cache

from aiohttp import HttpVersion11
from aiohttp.web import BaseRequest

from gatekeeper.proxy.context import Fields, ForwardContext
from gatekeeper.proxy.fastpath.plain_head import PlainRequest
from gatekeeper.proxy.framing import Body
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
# RFC 7239's Forwarded says what X-Forwarded-* say; two voices could disagree.
_OURS = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-gatekeeper-room",
        b"x-gatekeeper-visitor",
        b"x-queue-token",
    }
)
_NOT_PASSED = _HOP_BY_HOP | _OURS | {b"host"}
# `Connection` cannot name away what frames the message.
_NOT_NAMEABLE = frozenset({b"content-length"})
_HARMLESS_OPTIONS = frozenset({b"close", b"keep-alive"})


def wants_upgrade(request: BaseRequest) -> bool:
    """Whether this asks for a WebSocket (RFC 6455 section 4.1), the one upgrade that is tunnelled.

    Any other `Upgrade` is optional for the receiver, and left out (RFC 9110 section 7.8).
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
    request: BaseRequest, crossing: ForwardContext, *, origin_host: bytes, preserve_host: bool
) -> bytes:
    """The head for the origin, from the request line to the empty line.

    `origin_host` is the origin's authority: the Host without `preserve_host`, or for a client of
    HTTP/1.0 that sent none.
    """
    client = crossing.client
    client_host = client.host.encode("ascii")
    http11_client = request.version == HttpVersion11
    options = _connection_options(request)
    not_passed = _NOT_PASSED
    if not http11_client:
        not_passed |= {b"expect"}  # RFC 9110 section 10.1.1
    if not _HARMLESS_OPTIONS.issuperset(options):
        not_passed = (not_passed | set(options)) - _NOT_NAMEABLE
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
        if canonical in not_passed:
            continue
        if canonical == b"cookie":
            value = _without(value, crossing.strip_cookies)
            if not value:
                continue
        parts.append(name + b": " + value)
    if "Transfer-Encoding" in request.headers:
        parts.append(b"Transfer-Encoding: chunked")
    if wants_upgrade(request):
        parts.append(b"Connection: Upgrade\r\nUpgrade: websocket")
    elif http11_client and _accepts_trailers(request):
        parts.append(b"Connection: TE\r\nTE: trailers")
    parts.append(_introduction(crossing))
    return b"\r\n".join(parts)


def plain_head(
    request: PlainRequest, crossing: ForwardContext, *, origin_host: bytes, preserve_host: bool
) -> bytes:
    """The same as `request_head`, for a plain request."""
    parts = [
        b"%b %b HTTP/1.1\r\nHost: %b"
        % (
            request.method.encode("ascii"),
            request.target,
            crossing.client.host.encode("ascii") if preserve_host else origin_host,
        ),
        *request.fields,
    ]
    if request.cookie is not None:
        cookie = _without(request.cookie, crossing.strip_cookies)
        if cookie:
            parts.insert(request.cookie_at + 1, b"%b: %b" % (request.cookie_name, cookie))
    parts.append(_introduction(crossing))
    return b"\r\n".join(parts)


def _introduction(crossing: ForwardContext) -> bytes:
    """Who is coming, as the gate knows it, and the end of the head."""
    client = crossing.client
    said = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (
        client.address.encode("ascii"),
        client.scheme.encode("ascii"),
    )
    host = client.forwarded_host or client.host
    if host:
        said = b"X-Forwarded-Host: %b\r\n%b" % (host.encode("ascii"), said)
    if not crossing.visitor:  # the request fell in no room
        return said + b"\r\n"
    return b"%bX-Gatekeeper-Visitor: %b\r\nX-Gatekeeper-Room: %b\r\n\r\n" % (
        said,
        crossing.visitor.encode("ascii"),
        crossing.room.encode("ascii"),
    )


def response_head(
    answer: ResponseHead, body: Body, *, http11_client: bool, keep_alive: bool, added: Fields
) -> bytes:
    """The head of a final answer for the client; the framing is ours, the rest the origin's."""
    lines = answer.lines
    if added:
        lines += b"".join([b"\r\n%b: %b" % field for field in added])
    if body.chunked:
        lines += b"\r\nTransfer-Encoding: chunked"
        for value in answer.for_us.get(b"trailer", ()):
            lines += b"\r\nTrailer: " + value
    if not keep_alive:
        lines += b"\r\nConnection: close"
    elif not http11_client:
        lines += b"\r\nConnection: keep-alive"
    return b"HTTP/1.1 %d %b%b\r\n\r\n" % (answer.status, answer.reason, lines)


def interim_head(answer: ResponseHead) -> bytes:
    """A 1xx answer for a client of HTTP/1.1."""
    return b"HTTP/1.1 %d %b%b\r\n\r\n" % (answer.status, answer.reason, answer.lines)


def switching_head(answer: ResponseHead, *, added: Fields) -> bytes:
    """A 101 for the client, which ends HTTP on its connection."""
    parts = [
        b"HTTP/1.1 101 %b" % answer.reason,
        b"Connection: Upgrade\r\nUpgrade: websocket%b" % answer.lines,
        *[b"%b: %b" % field for field in added],
        b"\r\n",
    ]
    return b"\r\n".join(parts)


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
    """The request target as the origin sees it (RFC 9112 section 3.2), its bytes untouched."""
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
    """The value of `Cookie` without those cookies; untouched if it holds none of them."""
    stripped = _as_bytes(names)
    if not any(name in cookie for name in stripped):
        return cookie
    crumbs = cookie.split(b";")
    kept = [crumb for crumb in crumbs if crumb.partition(b"=")[0].strip() not in stripped]
    return cookie if len(kept) == len(crumbs) else b";".join(kept).strip()


@lru_cache(maxsize=1024)  # clients use few names; a hostile one only misses
def _canonical(name: bytes) -> bytes:
    """The lower-case name; our own name for one that a CGI-like origin reads as ours."""
    lower = name.lower()
    dashed = lower.replace(b"_", b"-")
    return dashed if dashed in _OURS else lower


@lru_cache(maxsize=256)
def _as_bytes(names: frozenset[str]) -> frozenset[bytes]:
    return frozenset(name.encode("ascii") for name in names)
