"""Who may: by token, or without one whoever is on this machine.

Rules. With tokens, everything but health and the page's own files asks for one; each is compared
in constant time, and with all of them, so that the time tells nothing. A token that may only read
changes nothing: that is 403. Without any token the listener is on loopback, and then a browser is
believed only if it came from the page itself, by that address (no cross-site request, no rebound
DNS name). What is refused goes into the audit log.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from gatekeeper.admin.audit import AuditLog
from gatekeeper.proxy.client import Network, client_of

Role = Literal["read", "full"]
_READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, by the name of their token, and what they may do."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Credential:
    """A token that is let in; of the secret only the digest is kept."""

    person: Principal
    digest: bytes

    @classmethod
    def of(cls, name: str, role: Role, *, secret: bytes) -> Credential:
        return cls(Principal(name, role), _digest(secret))


LOCAL = Principal("this machine", "full")
_PERSON = web.RequestKey("person", Principal)


class AuthFailure(Exception):
    """Not this request: `status` is 401 or 403."""

    def __init__(self, status: int, public: str) -> None:
        super().__init__(public)
        self.status = status
        self.public = public


class AdminAuth:
    """Lets a request through, or raises `Refused`."""

    def __init__(
        self, credentials: Sequence[Credential], *, audit: AuditLog, trusted: Sequence[Network] = ()
    ) -> None:
        self._credentials = credentials
        self._audit = audit
        self._trusted = trusted

    async def check(self, request: web.Request) -> None:
        """Afterwards `person_of(request)` says who asks."""
        changes = request.method not in _READING
        if self._credentials:
            person = self._holder(request)
            if person is None:
                if changes or "Authorization" in request.headers:  # else the page asks for it
                    await self._refuse(request, "nobody", "no such token")
                raise AuthFailure(401, "a bearer token is needed")
            if changes and person.role == "read":
                await self._refuse(request, person.name, "the token may only read")
                raise AuthFailure(403, f"the token {person.name!r} may only read")
        elif _from_here(request):
            person = LOCAL
        else:
            await self._refuse(request, "nobody", "from another site")
            raise AuthFailure(403, "not from another site; set admin.token to allow it")
        request[_PERSON] = person

    def address_of(self, request: web.Request) -> str:
        return client_of(request, trusted=self._trusted, tls=False).address

    async def _refuse(self, request: web.Request, who: str, note: str) -> None:
        what = request.path.removeprefix("/admin/")[:40]
        await self._audit.refused(who, what, address=self.address_of(request), note=note)

    def _holder(self, request: web.Request) -> Principal | None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        digest = _digest(given.strip().encode("utf-8", "surrogateescape"))
        found = None
        for credential in self._credentials:
            if hmac.compare_digest(digest, credential.digest):
                found = credential.person
        return found if scheme.lower() == "bearer" else None


def person_of(request: web.Request) -> Principal:
    return request[_PERSON]


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _from_here(request: web.Request) -> bool:
    """Whether this request can only come from a program on this machine or our own page."""
    host = request.host.rpartition(":")[0] if _has_port(request.host) else request.host
    try:
        named_here = host == "localhost" or ipaddress.ip_address(host.strip("[]")) is not None
    except ValueError:
        return False  # a name that someone may have pointed at 127.0.0.1
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    same_origin = origin is None or origin.partition("://")[2] == request.host
    return named_here and same_origin and site in {"none", "same-origin"}


def _has_port(host: str) -> bool:
    return re.search(r":\d+$", host) is not None
