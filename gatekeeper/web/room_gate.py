"""One room on this replica, as the pipeline uses it."""

from __future__ import annotations

from gatekeeper.policy.invitations import Invitations
from gatekeeper.policy.move_code import MoveCodes
from gatekeeper.record import record
from gatekeeper.web.admission import Admission
from gatekeeper.web.challenges import Challenges
from gatekeeper.web.credentials import Credentials, PresentedToken
from gatekeeper.web.pass_uses import PassUses


@record
class RoomGate:
    """One room on this replica: its admission, its tokens, and with `concurrent`, the requests in
    flight of each pass."""

    admission: Admission
    credentials: Credentials
    uses: PassUses | None = None
    challenges: Challenges | None = None  # if the room has one
    invitations: Invitations | None = None  # if the room accepts them
    move_codes: MoveCodes | None = None

    def read_cookie(self, cookies: str, *, secure: bool) -> PresentedToken:
        """The token in the value of a `Cookie` field, as it counts now."""
        view = self.admission.room.view
        return self.credentials.read_cookie(
            cookies, secure=secure, now_s=view.now_s(), revoked=view.decisive.revoked
        )
