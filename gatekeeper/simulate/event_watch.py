"""Reads the public record of an event's draw before, at and after the start.

Rules. Like any visitor, it only uses the public addresses of the gate. Sizes and times of
responses are bounded (`draw_check`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from itertools import cycle

import orjson

from gatekeeper.errors import GatekeeperError
from gatekeeper.policy.draw_record import DrawRecord, DrawRecordError, parse_record
from gatekeeper.simulate.draw_check import check_draw, remote_draw
from gatekeeper.simulate.opening import OpeningRecord
from gatekeeper.simulate.plan import CrowdPlan

_TIMEOUT_S = 5.0
_LIST_TIMEOUT_S = 120.0
NOT_LISTED = "were in line at the start and are not listed"
_MAX_TRIES = 3
_SOON_S, _EVERY_S = 5.0, 1.0  # away from the start
_AT_START_EVERY_S = 0.2
_KNOWN_AFTER_S = 2.0  # a replica learns of an event by a tick


class EventWatch:
    """The record of one event, read from each address of the gate in turn."""

    def __init__(self, plan: CrowdPlan) -> None:
        self._event = plan.event
        room = "" if plan.room == "default" else f"?room={plan.room}"
        self._urls = cycle(
            f"{url.rstrip('/')}/.gatekeeper/draw/{plan.event}{room}" for url in plan.urls
        )
        self.problem = ""

    async def announced(self) -> DrawRecord:
        """The record before the start; raises GatekeeperError. Every replica knows a new event
        within a tick."""
        loop, record = asyncio.get_running_loop(), await self.read()
        until_s = loop.time() + _KNOWN_AFTER_S
        while record is None and loop.time() < until_s:
            await asyncio.sleep(_AT_START_EVERY_S)
            record = await self.read()
        if record is None:
            raise GatekeeperError(
                f"no draw of event {self._event!r}: {self.problem}; "
                "expected an upcoming event with a prequeue and a draw"
            )
        if record.state != "committed":
            raise GatekeeperError(f"event {self._event!r} has started; expected an upcoming one")
        return record

    async def read(self) -> DrawRecord | None:
        """The current record; None: `problem` has the reason."""
        try:
            async with asyncio.timeout(_TIMEOUT_S), aclosing(remote_draw(next(self._urls))) as read:
                return parse_record(orjson.loads(await anext(read)))
        except DrawRecordError as error:
            self.problem = f"the record is invalid: {error.public}"
        except (GatekeeperError, TimeoutError, orjson.JSONDecodeError) as error:
            self.problem = getattr(error, "public", "") or "no response in time"
        return None

    async def until_drawn(
        self, on_record: Callable[[DrawRecord], None], *, starts_in_s: Callable[[], float]
    ) -> None:
        """Call `on_record` with each record, until one that is drawn."""
        while True:
            record = await self.read()
            if record is not None:
                on_record(record)
                if record.state == "drawn":
                    return
            is_soon = starts_in_s() < _SOON_S
            await asyncio.sleep(_AT_START_EVERY_S if is_soon else _EVERY_S)

    async def verify(self, opening: OpeningRecord) -> list[str]:
        """Verify the draw, and record its problems; returns the reason if it cannot be verified."""
        if not opening.turns.is_known:
            return []
        for attempt in range(_MAX_TRIES):
            try:
                opening.draw_problems = await self._problems(opening)
            except GatekeeperError as error:
                self.problem = error.public
                await asyncio.sleep(attempt and _EVERY_S)
            else:
                return []
        return [f"the draw cannot be verified: {self.problem}"]

    async def _problems(self, opening: OpeningRecord) -> list[str]:
        announced = opening.announced
        listed = _ParticipantList(opening.certain_participants())
        read = remote_draw(next(self._urls))
        try:
            async with asyncio.timeout(_LIST_TIMEOUT_S):
                findings = await check_draw(
                    listed.note(read), has_list=True, commitment=announced.commitment
                )
        except TimeoutError as error:
            raise GatekeeperError("the list of participants did not end in time") from error
        finally:
            await read.aclose()
        if listed.missing and not listed.is_lost:
            findings.problems.append(
                f"participants: {len(listed.missing)} visitors of the crowd {NOT_LISTED}"
            )
        return findings.problems


class _ParticipantList:
    """Notes which of the expected lines a list has: an id hash each, with the lane if any."""

    def __init__(self, expected: set[str]) -> None:
        self.missing = set(expected)
        self.is_lost = False  # the record notes that the list was lost

    async def note(self, read: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        record = await anext(read)
        self.is_lost = b"list of participants was lost" in record
        yield record
        rest = b""
        async for chunk in read:
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[:128]
            self.missing.difference_update(line.decode("latin-1") for line in lines)
            yield chunk
