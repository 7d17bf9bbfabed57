"""What the scripts reply about one visitor, as values of the decision."""

from __future__ import annotations

from gatekeeper.errors import StoreError
from gatekeeper.policy.decision import LineFull, QueuePosition, SlotGrant, Standing, VoidToken


def standing_on_arrival(
    turn: bytes | int, standing: bytes | int
) -> SlotGrant | QueuePosition | LineFull | None:
    """What `arrive` replied about one newcomer; None: no admission for a single request."""
    match standing:
        case b"in":
            return SlotGrant(int(turn), confirmed=False)
        case b"no":
            return None
        case b"full":
            return LineFull()
        case ahead:
            return QueuePosition(int(turn), int(ahead), confirmed=False)


def standing_of(reply: bytes | int, turn_us: int) -> Standing:
    """What `poll` replied about one visitor, who asked with the turn of the token."""
    match reply:
        case b"in":
            return SlotGrant(turn_us, confirmed=True)
        case b"void":
            return VoidToken()
        case int(ahead):
            return QueuePosition(turn_us, ahead)
        case admitted if admitted.startswith(b"in "):
            return SlotGrant(turn_us, confirmed=True, ends_at_us=int(admitted[3:]))
        case moved if b" " in moved:  # to another turn than the token's
            ahead, turn = map(int, moved.split())
            return QueuePosition(turn, ahead, is_moved=True)
        case _:
            raise StoreError("unexpected reply from the store")
