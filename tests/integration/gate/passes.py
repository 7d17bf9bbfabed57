"""Tokens with chosen times, as a gate of these tests would have issued them.

Rules: times are relative to now by the store's clock; rooms have the default spans.
"""

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import (
    Keyring,
    Pass,
    Ticket,
    Token,
    Tokens,
    VisitorId,
    new_visitor_id,
)
from tests.gates import SECRET, Gate

SESSION_S = 1800.0
SESSION_LIMIT_S = 4 * 3600.0
KEEP_PLACE_S = 600.0


def pass_issued(
    gate: Gate,
    room: RoomName,
    *,
    ago_s: float = 0,
    expires_in_s: float = SESSION_S,
    ends_in_s: float = SESSION_LIMIT_S,
    proven: bool = True,
    visitor: VisitorId | None = None,
) -> Pass:
    """A pass issued `ago_s` seconds ago."""
    now_s = gate.now_s()
    return Pass(
        room=room,
        visitor=visitor or new_visitor_id(),
        arrival_us=round((now_s - ago_s) * 1_000_000),
        issued_at_s=now_s - ago_s,
        expires_at_s=now_s + min(expires_in_s, ends_in_s),
        ends_at_s=now_s + ends_in_s,
        confirmed=proven,
    )


def ticket_issued(
    gate: Gate, room: RoomName, *, ago_s: float = 0, expires_in_s: float = KEEP_PLACE_S
) -> Ticket:
    """A ticket of a visitor who arrived, and was given it, `ago_s` seconds ago."""
    now_s = gate.now_s()
    return Ticket(
        room=room,
        visitor=new_visitor_id(),
        arrival_us=round((now_s - ago_s) * 1_000_000),
        issued_at_s=now_s - ago_s,
        expires_at_s=now_s + expires_in_s,
    )


def token_in(raw: str, gate: Gate, room: RoomName, *, secret: bytes = SECRET) -> Token | None:
    """What a gate with `secret` reads in `raw`."""
    return Tokens(Keyring([secret]), room).read(raw, now_s=gate.now_s())
