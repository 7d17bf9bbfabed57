"""One room on this replica, as the pipeline meets it."""

from __future__ import annotations

from typing import NamedTuple

from gatekeeper.policy.invitations import Invitations
from gatekeeper.policy.move_code import MoveCodes
from gatekeeper.web.admission import Admission
from gatekeeper.web.challenges import Challenges
from gatekeeper.web.credentials import Credentials
from gatekeeper.web.pass_uses import PassUses


class RoomGate(NamedTuple):
    """One room on this replica: who is admitted, how its tokens travel, and where `concurrent` is
    set, how many requests of each pass are under way."""

    admission: Admission
    credentials: Credentials
    uses: PassUses | None = None
    challenges: Challenges | None = None  # where the room has one
    invitations: Invitations | None = None  # where the room accepts them
    move_codes: MoveCodes | None = None
