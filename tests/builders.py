"""Samples that many tests need: configurations, tickets, passes, tokens, and states of a room.

Rules: a builder sets every field that the test does not. Times are seconds relative to `now_s`.
Pass the gate's clock (`gate.now_s()`) if a gate reads the result.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from gatekeeper.config.load import load_config
from gatekeeper.config.schema import Config
from gatekeeper.config.types import RoomName
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import (
    Keyring,
    Pass,
    Ticket,
    Token,
    Tokens,
    VisitorId,
    new_visitor_id,
)
from gatekeeper.room.state import RoomState

SECRET = b"a secret of the tests, longer than 32 bytes"

# The defaults of a room.
SESSION_IDLE_S = 1800.0
SESSION_ABSOLUTE_S = 4 * 3600.0
PLACE_TTL_S = 2 * 3600.0

# Configurations.


def parse_config(toml: str, *, folder: Path) -> Config:
    """A checked configuration from the text of a file, without the environment."""
    path = folder / "gatekeeper.toml"
    path.write_text(toml)
    return load_config(path, environ={})


def room_toml(name: str, **keys: str | int | list[str]) -> str:
    """The table of one room in a configuration file."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(["[[room]]", f'name = "{name}"', *lines, ""])


# Tokens.

TICKET = Ticket(
    RoomName("default"),
    VisitorId("v" * 22),
    arrival_us=10**15,
    issued_at_s=2e9,
    expires_at_s=3e9,
)


def make_pass(
    room: RoomName,
    *,
    now_s: float,
    ago_s: float = 0,
    expires_in_s: float = SESSION_IDLE_S,
    ends_in_s: float = SESSION_ABSOLUTE_S,
    confirmed: bool = True,
    visitor: VisitorId | None = None,
) -> Pass:
    """A pass issued `ago_s` seconds ago, by default of a new visitor."""
    return Pass(
        room=room,
        visitor=visitor or new_visitor_id(),
        arrival_us=round((now_s - ago_s) * 1_000_000),
        issued_at_s=now_s - ago_s,
        expires_at_s=now_s + min(expires_in_s, ends_in_s),
        ends_at_s=now_s + ends_in_s,
        confirmed=confirmed,
    )


def make_ticket(
    room: RoomName, *, now_s: float, ago_s: float = 0, expires_in_s: float = PLACE_TTL_S
) -> Ticket:
    """The ticket of a new visitor who arrived, and was given it, `ago_s` seconds ago."""
    return Ticket(
        room=room,
        visitor=new_visitor_id(),
        arrival_us=round((now_s - ago_s) * 1_000_000),
        issued_at_s=now_s - ago_s,
        expires_at_s=now_s + expires_in_s,
    )


def sign_token(token: Token, *, secret: bytes = SECRET) -> str:
    """The token as a gate with `secret` signs it."""
    return Tokens(Keyring([secret]), token.room).mint(token)


def read_token(raw: str, *, room: RoomName, now_s: float, secret: bytes = SECRET) -> Token | None:
    """The token in `raw` as a gate with `secret` reads it; None if it is not valid."""
    return Tokens(Keyring([secret]), room).read(raw, now_s=now_s)


# States of a room.

_STATE = RoomState(
    epoch=1,
    version=1,
    mode=Mode.AUTO,
    rate_per_minute=500.0,
    message="",
    overrides="",
    events="",
    watermark_us=0,
    last_arrival_us=0,
    pending_grants=0,
    arrived_total=0,
    released_total=0,
    admitted_total=0,
    abandoned_total=0,
    recovering_until_us=0,
    revocations=0,
    queue_length=2000,
    active=3,
    expected=0,
    replicas=1,
    recent_replicas=1,
    undrawn=0,
    now_us=0,
)


def room_state(
    mode: Mode = Mode.AUTO, *, rate: float = 500.0, active: int = 3, message: str = ""
) -> RoomState:
    """A room with 2,000 visitors in line."""
    return replace(_STATE, mode=mode, rate_per_minute=rate, active=active, message=message)
