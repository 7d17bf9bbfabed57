"""URLs of a store behind Sentinels: `redis+sentinel://host:26379,host:26379/primary-name`.

    redis+sentinel://USER:PASSWORD@HOST:PORT,…/PRIMARY/DATABASE?sentinel_password=…

User, password, database and the other parameters are those of the servers, as redis-py reads them;
`sentinel_username` and `sentinel_password` are for the Sentinels. `rediss+sentinel://` uses TLS to
both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

_DEFAULT_PORT = 26379
_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_OF_SENTINELS = "sentinel_"


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """`server_url` is the URL of any server of the group, without its address."""

    hosts: tuple[tuple[str, int], ...]
    primary: str
    server_url: str = field(repr=False)
    login: dict[str, str] = field(repr=False)  # username and password for the Sentinels


def parse_sentinel_url(url: str) -> SentinelUrl | None:
    """Parse the URL; None if it is not one of Sentinels. Raises ValueError, without the URL's
    password, if a host or the primary is missing."""
    # urlsplit refuses several hosts if one is an IPv6 address.
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in _SCHEMES:
        return None
    rest, _, query = rest.partition("?")
    address, _, path = rest.partition("/")
    user, at, hosts = address.rpartition("@")
    primary, _, database = path.lstrip("/").partition("/")
    if not primary:
        raise ValueError("no name of a primary after the hosts")
    if database and not database.isdecimal():
        raise ValueError("the database after the primary is not a number")
    login, other = {}, []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name.startswith(_OF_SENTINELS):
            login[name.removeprefix(_OF_SENTINELS)] = value
        else:
            other.append((name, value))
    if unknown := login.keys() - {"username", "password"}:
        raise ValueError(f"unknown parameter {_OF_SENTINELS}{min(unknown)}")
    return SentinelUrl(
        hosts=tuple(_host(each) for each in hosts.split(",")),
        primary=primary,
        server_url=f"{_SCHEMES[scheme.lower()]}://{user}{at}primary/{database}?{urlencode(other)}",
        login=login,
    )


def _host(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
    except ValueError:
        raise ValueError("a host is empty or malformed") from None
    try:
        port = parts.port
    except ValueError:
        raise ValueError("a port is not a number up to 65535") from None
    if not parts.hostname or parts.path or parts.query:
        raise ValueError("a host is empty or malformed")
    return parts.hostname, port or _DEFAULT_PORT
