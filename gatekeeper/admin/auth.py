"""Admin API auth: bearer tokens, or loopback only when no token is configured.

Rules. With tokens, every path but health checks and the control room's own files requires one. The
given token is compared with each configured token in constant time, so the time reveals nothing.
After five wrong tokens of an address in a minute its tokens are refused unchecked: 429 with
`Retry-After` (`wrong_tokens`). A change under a token of role `read` is 403. Without tokens the
listener is on loopback, and a browser's request is accepted only from the control room itself,
under an IP address or `localhost` (no cross-site request, no DNS rebinding). Refused requests go
into the audit log.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.wrong_tokens import WrongTokens
from gatekeeper.proxy.client_address import Network, client_of

Role = Literal["read", "full"]
_READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Principal:
    """An operator: the name and role of the token."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Credential:
    """A configured token; only the digest of its secret is kept."""

    principal: Principal
    digest: bytes

    @classmethod
    def of(cls, name: str, role: Role, *, secret: bytes) -> Credential:
        return cls(Principal(name, role), _digest(secret))


LOCAL = Principal("this machine", "full")
ANONYMOUS = "anonymous"  # the operator of a refused request, in the audit log
_PERSON = web.RequestKey("person", Principal)


class AuthFailure(Exception):
    """The request is refused; `status` is 401, 403 or 429."""

    def __init__(self, status: int, public: str, *, retry_after_s: int = 0) -> None:
        super().__init__(public)
        self.status = status
        self.public = public
        self.retry_after_s = retry_after_s


class AdminAuth:
    """Authenticates and authorizes requests to the admin API."""

    def __init__(
        self,
        credentials: Sequence[Credential],
        *,
        audit: AuditLog,
        trusted: Sequence[Network] = (),
        wrong_tokens: WrongTokens | None = None,
    ) -> None:
        self._audit = audit
        self._wrong_tokens = WrongTokens() if wrong_tokens is None else wrong_tokens
        self.configure(credentials, trusted=trusted)

    def configure(self, credentials: Sequence[Credential], *, trusted: Sequence[Network]) -> None:
        """Replace the tokens and trusted proxies."""
        self._credentials = credentials
        self._trusted = trusted

    async def check(self, request: web.Request) -> None:
        """Accept the request for `principal_of`, or raise AuthFailure."""
        changes = request.method not in _READING
        if self._credentials:
            principal = await self._authenticated(request, changes=changes)
            if changes and principal.role == "read":
                await self._refuse(request, principal.name, "the token has role read")
                raise AuthFailure(
                    403, f"the token {principal.name!r} has role read; expected role full"
                )
        elif _is_local_request(request):
            principal = LOCAL
        else:
            await self._refuse(request, ANONYMOUS, "cross-site request")
            raise AuthFailure(
                403, "cross-site request; expected one from this page (or set admin.token)"
            )
        request[_PERSON] = principal

    async def _authenticated(self, request: web.Request, *, changes: bool) -> Principal:
        """The operator of a valid token; raises AuthFailure for any other request."""
        if "Authorization" not in request.headers:
            if changes:  # else the page prompts for a token
                await self._refuse(request, ANONYMOUS, "unknown token")
            raise AuthFailure(401, "a bearer token is required")
        address, wrong = self.address_of(request), self._wrong_tokens
        wait_s = wrong.wait_s(address)
        if not wait_s or wrong.was_valid(address):
            principal = self._principal_for(request)
            if principal is not None:
                wrong.note_valid(address)
                return principal
        if wait_s:
            await self._refuse(request, ANONYMOUS, "too many wrong tokens")
            raise AuthFailure(
                429,
                "too many wrong tokens from this address; try again later",
                retry_after_s=math.ceil(wait_s),
            )
        wrong.add(address)
        await self._refuse(request, ANONYMOUS, "unknown token")
        raise AuthFailure(401, "a bearer token is required")

    def address_of(self, request: web.Request) -> str:
        return client_of(request, trusted=self._trusted, tls=False).address

    async def _refuse(self, request: web.Request, who: str, note: str) -> None:
        what = request.path.removeprefix("/admin/")[:40]
        await self._audit.refused(who, what, address=self.address_of(request), note=note)

    def _principal_for(self, request: web.Request) -> Principal | None:
        fields = request.headers.getall("Authorization", ())
        # With several, a proxy in front may have checked another one.
        scheme, _, given = (fields[0] if len(fields) == 1 else "").partition(" ")
        digest = _digest(given.strip().encode("utf-8", "surrogateescape"))
        found = None
        for credential in self._credentials:
            if hmac.compare_digest(digest, credential.digest):
                found = credential.principal
        return found if scheme.lower() == "bearer" else None


def principal_of(request: web.Request) -> Principal:
    return request[_PERSON]


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _is_local_request(request: web.Request) -> bool:
    """Whether only a program on this machine or the control room can have sent the request."""
    host = request.host.rpartition(":")[0] if _has_port(request.host) else request.host
    try:
        is_local_name = host == "localhost" or ipaddress.ip_address(host.strip("[]")) is not None
    except ValueError:
        return False  # DNS rebinding: any name can point at 127.0.0.1
    sites = request.headers.getall("Sec-Fetch-Site", ())
    origins = request.headers.getall("Origin", ())
    same_origin = all(each.partition("://")[2] == request.host for each in origins)
    return is_local_name and same_origin and {"none", "same-origin"}.issuperset(sites)


def _has_port(host: str) -> bool:
    return re.search(r":\d+$", host) is not None
