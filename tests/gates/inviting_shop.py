"""A shop that signs invitations for the room of a gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt

from tests.gates import HTML, Gate
from tests.gates.http_visitor import Response, Visitor

SHOP = b"the shop's own secret, of 40 bytes or so"


REFUSED = "/.gatekeeper/invitation?"


class Shop:
    """A gate whose room accepts invitations, and the shop that signs them."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def invitation(self, sub: str, *, valid_s: float = 600, **claims: Any) -> str:
        now_s = self.gate.now_s()
        found = {"sub": sub, "room": self.gate.room_name, "exp": now_s + valid_s} | claims
        return jwt.encode({k: v for k, v in found.items() if v is not None}, SHOP)

    async def follow(
        self, visitor: Visitor, invitation: str, path: str = "/checkout?item=7&", **options: Any
    ) -> Response:
        """The response to the link with the invitation, before its redirect is followed; if
        refused, the page to which it redirects."""
        options.setdefault("headers", HTML)
        url = f"{path}gk_invitation={invitation}"
        response = await visitor.request("GET", url, **options)
        location = response.headers.get("Location", "")
        if not location.startswith(REFUSED):
            return response
        assert (response.status, response.headers["X-Gatekeeper-State"]) == (303, "none")
        return await visitor.request("GET", location, **options)

    async def join(self, visitor: Visitor, sub: str, **claims: Any) -> dict[str, Any]:
        """Follow an invitation, and return the ticket."""
        response = await self.follow(visitor, self.invitation(sub, **claims))
        assert response.status == 303
        return await visitor.status()


def shop_secret(folder: Path) -> str:
    """The file of the shop's secret."""
    path = folder / "shop"
    path.write_bytes(SHOP)
    return str(path)
