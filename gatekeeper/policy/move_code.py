"""Codes that move a place in line to another device, signed like tickets.

Rules. Pure. A code is a token with its own kind: it is never accepted as a ticket, and no ticket or
pass as a code. It contains the place and the device of the ticket that it was made with. It expires
`CODE_LIFE_S` after it was made, or with that ticket. The store makes it single-use: after a move
the place no longer belongs to the device of the code, and a store that lost data accepts no earlier
code.

The new device is derived from the code and a random number of the browser that uses it, so that
only this browser can repeat the request when the response was lost.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final, Literal, NamedTuple

from gatekeeper.config.types import RoomName
from gatekeeper.policy.next_token import on_device, ticket_of
from gatekeeper.policy.numbers import is_exact_int, is_exact_number
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import (
    MAX_TOKEN_LENGTH,
    MOVE_CODE,
    Keyring,
    Ticket,
    VisitorId,
    is_device_or_none,
    is_visitor_id,
)

# Why a browser does not get the place: the code is invalid, or the browser has an earlier place.
MoveRefusal = Literal["link_invalid", "earlier_place"]

CODE_LIFE_S: Final = 300.0
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{22}")


class MoveCode(NamedTuple):
    """The place of a ticket, for another device. `made_on`: the ticket's device."""

    visitor: VisitorId
    arrival_us: int
    own_turn_us: int | None
    lane: str
    made_on: str | None
    invited_until_s: float | None
    issued_at_s: float
    expires_at_s: float

    @classmethod
    def of(cls, ticket: Ticket, *, now_s: float) -> MoveCode:
        """The code that moves the place of `ticket`."""
        return cls(
            visitor=ticket.visitor,
            arrival_us=ticket.arrival_us,
            own_turn_us=ticket.own_turn_us,
            lane=ticket.lane,
            made_on=ticket.device,
            invited_until_s=ticket.invited_until_s,
            issued_at_s=round(now_s, 3),
            expires_at_s=int(min(now_s + CODE_LIFE_S, ticket.expires_at_s)),
        )

    def ticket(self, device: str, *, moved_us: int, rules: Rules, now_s: float) -> Ticket:
        """The ticket of the device that the place has moved to."""
        moved = ticket_of(
            self.visitor,
            arrival_us=self.arrival_us,
            turn_us=self.own_turn_us,
            lane=self.lane,
            rules=rules,
            now_s=now_s,
        )
        # The end of the invitation is the same on another device.
        return on_device(moved, device, invited_until_s=self.invited_until_s, moved_us=moved_us)


class MoveCodes:
    """Signs and reads the codes of one room."""

    def __init__(self, keyring: Keyring, room: RoomName) -> None:
        self._keyring = keyring
        self._room = room

    def mint(self, code: MoveCode) -> str:
        claims: dict[str, object] = {
            "aud": self._room,
            "sub": code.visitor,
            "arr": code.arrival_us,
            "iat": code.issued_at_s,
            "exp": code.expires_at_s,
            "trn": code.own_turn_us,
            "lan": code.lane or None,
            "dev": code.made_on,
            "inv": code.invited_until_s,
        }
        known = {name: value for name, value in claims.items() if value is not None}
        return self._keyring.sign(known, kind=MOVE_CODE)

    def read(self, raw: str, *, now_s: float) -> MoveCode | None:
        """The code in `raw` while it is valid at `now_s`, else None."""
        if not raw or len(raw) > MAX_TOKEN_LENGTH:
            return None
        verified = self._keyring.verify(raw, audience=self._room)
        if verified is None or verified[0] != MOVE_CODE:
            return None
        claims = verified[1]
        visitor, arrival_us, turn_us = (claims.get(name) for name in ("sub", "arr", "trn"))
        lane, device, until_s = claims.get("lan", ""), claims.get("dev"), claims.get("inv")
        issued_at_s, expires_at_s = claims.get("iat"), claims.get("exp")
        if not is_visitor_id(visitor) or not is_exact_int(arrival_us):
            return None
        if turn_us is not None and not is_exact_int(turn_us):
            return None
        if not isinstance(lane, str) or not is_device_or_none(device):
            return None
        if until_s is not None and not is_exact_number(until_s):
            return None
        if not is_exact_number(issued_at_s):
            return None
        if not is_exact_number(expires_at_s) or now_s >= expires_at_s:
            return None
        return MoveCode(
            visitor, arrival_us, turn_us, lane, device, until_s, issued_at_s, expires_at_s
        )


def is_nonce(value: str) -> bool:
    """Whether `value` has the format of a browser's nonce."""
    return _NONCE.fullmatch(value) is not None


def device_of(raw: str, nonce: str) -> str:
    """The device id of the browser with that nonce, for the code `raw`."""
    digest = hashlib.sha256(f"{raw} {nonce}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:6]).decode()
