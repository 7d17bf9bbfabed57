"""Reads a room's figures from the admin listener, whose counts are exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from gatekeeper.simulate.plan import CrowdPlan

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class RoomFigures:
    """One room as reported by `GET /admin/status`."""

    released_total: int
    active: int
    max_active: int
    queue_length: int
    rate_per_minute: float
    watermark_us: int
    abandoned_total: int = 0
    mode: str = "auto"


class RoomMonitor:
    """A client of the admin listener. After a failure, `problem` has the reason."""

    def __init__(self, plan: CrowdPlan) -> None:
        token = plan.admin_token
        self._url = f"{(plan.admin_url or '').rstrip('/')}/admin/status"
        self._room = plan.room
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        self.problem = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def read(self) -> RoomFigures | None:
        """The room's figures now; None after a failure."""
        try:
            async with self._session.get(self._url, params={"room": self._room}) as response:
                status: Any = await response.json()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self.problem = f"admin listener: no response ({type(error).__name__})"
            return None
        try:
            room = next(each for each in status["rooms"] if each["room"] == self._room)
            return RoomFigures(
                released_total=int(room["released_total"]),
                active=int(room["active"]),
                max_active=int(room["max_active"]),
                queue_length=int(room["queue_length"]),
                rate_per_minute=float(room["rate_per_minute"]),
                watermark_us=int(room["watermark"]),
                abandoned_total=int(room["abandoned_total"]),
                mode=str(room["mode"]),
            )
        except (StopIteration, KeyError, TypeError, ValueError):
            self.problem = (
                f"admin listener: room {self._room!r} missing in the response "
                f"(status {response.status})"
            )
            return None
