"""`gatekeeper demo --event`: a sale that opens within a minute, with a prequeue and a draw.

Rules. The event is added live, like by an operator, once the gate serves. The show takes two
minutes: the prequeue, the draw, and the line that follows.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import aiohttp

from gatekeeper.errors import StartError
from gatekeeper.process.supervisor import RunningGate
from gatekeeper.simulate.opening_promises import DRAW, EARLY, PROMPT
from gatekeeper.simulate.plan import CrowdPlan, Shares
from gatekeeper.simulate.verdict import ORDER, Verdict

PREQUEUE_S = 40.0
EVENT = "sale"
_LATE = 4  # visitors that come after the start
_SHOWN = (EARLY, PROMPT, DRAW, ORDER)
_TIMEOUT = aiohttp.ClientTimeout(total=10)


async def announce(serving: RunningGate, *, prequeue_s: float) -> datetime:
    """Make the event; returns its start. Raises StartError."""
    now = datetime.now(UTC)
    start = now + timedelta(seconds=prequeue_s)
    body = {"name": EVENT, "prequeue": now.isoformat(), "start": start.isoformat()}
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.post(f"{serving.admin_url}/admin/events", json=body) as response,
        ):
            if response.status != 201:
                raise StartError(f"the event was refused: {(await response.text())[:200]}")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise StartError("the event was not made: no response from the gate") from error
    return start


def event_plan(serving: RunningGate, *, visitors: int) -> CrowdPlan:
    """A crowd that gathers for the event."""
    return CrowdPlan(
        urls=(serving.url,),
        admin_url=serving.admin_url,
        event=EVENT,
        visitors=visitors + _LATE,
        late=_LATE / (visitors + _LATE),
        at_once=visitors // 4,
        burst=3,
        shares=Shares(leavers=0.04, returners=0.04, ghosts=0.04, jumpers=0.04),
        paths=("/", "/api/stock"),
        duration_s=86_400,
        connections=16,
        seed=7,
    )


def event_text(serving: RunningGate, start: datetime) -> str:
    """The text about the event for the terminal."""
    draw = f"{serving.url}/.gatekeeper/draw/{EVENT}"
    return (
        f"  The draw           {draw}\n\n"
        f"  The sale opens at {start.astimezone():%H:%M:%S}. What to look at:\n"
        "  1. Until then open the shop in a few browsers: each page counts down, and nobody is\n"
        "     admitted. When you come does not matter. The draw shows its commitment.\n"
        "  2. At the start: the draw shows its secret, each page its number and its turn.\n"
        f"     gatekeeper verify-draw {draw}\n"
        "  3. Then: the line moves in the drawn order; later visitors stand at the end.\n"
        "  Ctrl-C stops everything.\n"
    )


def opening_text(verdict: Verdict) -> str:
    """The crowd's verdict for the terminal."""
    marks = {True: "held", False: "BROKEN", None: "not judged"}
    return "\n".join(
        f"  {each.name}: {marks[each.held]}, {each.detail}"
        for each in verdict.promises
        if each.name in _SHOWN
    )
