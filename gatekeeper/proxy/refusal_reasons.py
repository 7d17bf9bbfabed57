"""The reasons for requests that are refused before a handler, as texts for the client.

Rules. Pure. A reason reveals no library, and contains no bytes of the request.
"""

from __future__ import annotations

from typing import Final

from aiohttp.http_exceptions import LineTooLong

from gatekeeper.errors import N_, GatekeeperError
from gatekeeper.proxy.head_reader import MAX_LINE_BYTES

_MALFORMED: Final = N_("The request is malformed.")
LINE_TOO_LONG: Final = N_("The address of the request is too long.")
HEAD_TOO_LARGE: Final = N_("The header fields of the request are too large.")
HEAD_TOO_SLOW: Final = N_("The request did not arrive in time.")
_FAILED: Final = N_("Something went wrong on our side. Please try again.")


def reason_of(exc: BaseException | None, status: int) -> tuple[int, str]:
    """The status and the reason that a client receives for this failure."""
    match exc:
        case GatekeeperError():
            return status, exc.public
        case LineTooLong() if MAX_LINE_BYTES in exc.args:
            return 414, LINE_TOO_LONG
        case _ if isinstance(exc, LineTooLong) or "Too many headers" in str(exc):
            return 431, HEAD_TOO_LARGE
        case _ if status != 400:
            return status, _FAILED
        case _:
            return 400, _MALFORMED
