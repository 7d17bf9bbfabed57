"""The client of a request: the peer, or the client that trusted proxies forward for.

Rules: pure; the peer's address is an argument. `X-Forwarded-*` are trusted only from a peer in a
trusted network, and read from the right: each proxy appends the address of its peer, so everything
to the left of the first untrusted address may be forged.

The edge is a part of the listener, not a proxy in front of it: on its socket, the peer is the last
address in `X-Forwarded-For`, which the edge wrote, and the connection is encrypted. The fields of
that peer count only if it is a trusted proxy itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from aiohttp.web import BaseRequest

from gatekeeper.policy.facts import HOST, Client
from gatekeeper.proxy.aiohttp_server import ConnectionHandler

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

EDGE_PEER: Final = "edge"  # stands for an address: a connection on the socket of the edge

# Traefik writes ws and wss for a WebSocket.
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


def client_of(request: BaseRequest, *, trusted: Sequence[Network], tls: bool) -> Client:
    """The client of a request that passed `check_request`; `tls` is true for a TLS listener."""
    return client_behind(
        EDGE_PEER if is_from_edge(request) else request.remote or "",
        request.headers.get("Host", ""),
        lambda name: request.headers.getall(name, ()),
        trusted=trusted,
        tls=tls,
    )


def client_behind(
    remote: str,
    host: str,
    values: Callable[[str], Sequence[str]],
    *,
    trusted: Sequence[Network],
    tls: bool,
) -> Client:
    """The client of a request from `remote` for `host`; `values` looks up a field by its name."""
    if remote == EDGE_PEER:
        remote, tls = _last(values("X-Forwarded-For")), True
    peer, address = _peer(remote)
    scheme = "https" if tls else "http"
    if peer is None or not _within(peer, trusted):
        return Client(address, scheme, host)
    forwarded_scheme = _last(values("X-Forwarded-Proto")).lower()
    forwarded_host = _last(values("X-Forwarded-Host"))
    return Client(
        address=str(_behind(peer, _members(values("X-Forwarded-For")), trusted)),
        scheme=_SCHEMES.get(forwarded_scheme, scheme),
        host=host,
        forwarded_host=forwarded_host if HOST.fullmatch(forwarded_host) else "",
        is_proxied=True,
    )


def is_from_edge(request: BaseRequest) -> bool:
    """Whether the request came on the socket of the edge."""
    handler = request.protocol
    return isinstance(handler, ConnectionHandler) and handler.is_from_edge


def is_trusted(remote: str, *, trusted: Sequence[Network]) -> bool:
    """Whether the `X-Forwarded-*` fields of this peer are trusted."""
    if remote == EDGE_PEER:
        return True
    peer, _ = _peer(remote)
    return peer is not None and _within(peer, trusted)


def _behind(peer: Address, hops: list[str], trusted: Sequence[Network]) -> Address:
    """The first untrusted address from the right, else the leftmost."""
    nearest = peer
    for hop in reversed(hops):
        address = _address(hop)
        if address is None:  # forged or hidden: the proxy that wrote it is the last known hop
            return nearest
        nearest = address
        if not _within(address, trusted):
            break
    return nearest


@lru_cache(maxsize=4096)  # few peers make most requests
def _peer(remote: str) -> tuple[Address | None, str]:
    peer = _address(remote)
    return peer, "unknown" if peer is None else str(peer)


def _address(text: str) -> Address | None:
    """An address, also as `1.2.3.4:5678`, `[::1]:5678` or `::ffff:1.2.3.4`."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    text = text.partition("%")[0]  # the zone of a link-local address is only valid on its host
    if text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _members(values: Sequence[str]) -> list[str]:
    return [member.strip() for value in values for member in value.split(",") if member.strip()]


def _last(values: Sequence[str]) -> str:
    members = _members(values)
    return members[-1] if members else ""
