"""The public record of each draw, and the list of its participants.

Rules. Both are public, so both are cheap: a record costs at most one store call a second, and at
most `MAX_LISTS` lists are sent at a time, in portions at the pace of the client. A list exists once
every participant has the drawn turn; before that, and for any other name, it is 404. Errors are
JSON. Without `?room=` the event is searched in the room of `/` on this host, then in all others.

When the store is lost, so is the list, and the record of an earlier draw has a `note` about it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.draw_record import record_of
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.schedule import Event
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.state import RoomState
from gatekeeper.web.message import GateResponse
from gatekeeper.web.pipeline import Pipeline
from gatekeeper.web.responses import Responses

PREFIX: Final = "draw/"
MAX_LISTS: Final = 4  # sent by one worker at a time
MAX_LIST_S: Final = 300.0  # a million participants at 1.7 Mbit/s
_PAUSE_S: Final = 0.02  # between portions: 50 store calls a second for each list
_COUNT_LIFE_S: Final = 1.0
_RETRY_AFTER_S: Final = 5
_NAME: Final = re.compile(r"draw/([a-z0-9][a-z0-9_-]{0,62})(/participants)?")
_LOST: Final = "The list of participants was lost with the store after the draw."


class ListResponse(NamedTuple):
    """A response whose body is generated while it is sent. `head` has no body."""

    head: GateResponse
    parts: AsyncGenerator[bytes, None]


class _Draw(NamedTuple):
    """An event with a draw, its room, and the room's state."""

    event: Event
    room: RoomReplica
    state: RoomState

    @property
    def key(self) -> tuple[RoomName, str, int]:
        """Identifies the draw, and the store that has its list."""
        return self.room.rules.room, self.event.draw_id, self.state.epoch

    @property
    def is_complete(self) -> bool:
        """Whether every participant has the drawn turn."""
        is_placing = self.state.undrawn > 0 and self.state.window.event is self.event
        return self.event.drawn is not None and not is_placing


def note_of(event: Event, *, store_created_us: int) -> str:
    """The remark of a draw's record. `store_created_us`: when the store with its list was created
    (the state's epoch)."""
    drawn = event.drawn
    if drawn is None:
        return ""
    is_lost = store_created_us > max(drawn.made_us, event.start_us)
    return " ".join(filter(None, [drawn.note, _LOST if is_lost else ""]))


class Draws:
    """The endpoints `draw/{event}` and `draw/{event}/participants` of one worker."""

    def __init__(self, pipeline: Pipeline, responses: Responses) -> None:
        self._pipeline = pipeline
        self._responses = responses
        self._counts: dict[tuple[RoomName, str, int], tuple[int, float]] = {}  # of complete draws
        self._lists = 0

    async def respond(
        self, facts: RequestFacts, name: str, *, room: str | None
    ) -> GateResponse | ListResponse:
        """The response to GET or HEAD of `name`, which begins with `PREFIX`."""
        match = _NAME.fullmatch(name)
        draw = None if match is None else self._find(facts, match[1], room=room)
        if match is None or draw is None:
            return self._error("there is no draw of this name", status=404)
        try:
            if match[2] is None:
                return self._responses.json(await self._record(draw), state="none")
            return await self._list(draw)
        except StoreError:
            return self._busy("the store is unreachable")

    def _find(self, facts: RequestFacts, name: str, *, room: str | None) -> _Draw | None:
        rooms = self._pipeline.rooms
        first = self._pipeline.router.room_of(facts.client.host, "/")
        wanted = [RoomName(room)] if room else sorted(rooms, key=lambda each: each != first)
        for each in wanted:
            draw = _draw_of(rooms[each], name) if each in rooms else None
            if draw is not None:
                return draw
        return None

    async def _record(self, draw: _Draw) -> dict[str, object]:
        is_complete = self._is_public(draw)
        return record_of(
            draw.event,
            room=draw.room.rules.room,
            is_complete=is_complete,
            participants=await self._count(draw) if is_complete else None,
            note=note_of(draw.event, store_created_us=draw.state.epoch),
        ).json

    def _is_public(self, draw: _Draw) -> bool:
        """Whether the draw was ever complete. A visitor that a late replica still moves to the
        drawn turn does not make it incomplete again."""
        return draw.is_complete or draw.key in self._counts

    async def _count(self, draw: _Draw) -> int:
        """The number of participants, at most one second old."""
        key, now_s = draw.key, asyncio.get_running_loop().time()
        count, until_s = self._counts.get(key, (0, 0.0))
        if now_s >= until_s:
            count = await draw.room.queue.participants.count(draw.event.draw_id)
            if len(self._counts) >= 1000:  # of events that are long gone
                self._counts.clear()
            self._counts[key] = count, now_s + _COUNT_LIFE_S
        return count

    async def _list(self, draw: _Draw) -> GateResponse | ListResponse:
        if not self._is_public(draw):
            return self._error("the draw has not taken place yet", status=404)
        if self._lists >= MAX_LISTS:
            return self._busy("too many lists are being sent")
        # Not cached, so that the store responds now. A later error truncates the body.
        await draw.room.queue.participants.count(draw.event.draw_id)
        return ListResponse(self._responses.listing(), self._lines(draw))

    async def _lines(self, draw: _Draw) -> AsyncGenerator[bytes, None]:
        self._lists += 1
        try:
            async for portion in draw.room.queue.participants.portions(draw.event.draw_id):
                yield "".join(f"{each}\n" for each in portion).encode()
                await asyncio.sleep(_PAUSE_S)
        finally:
            self._lists -= 1

    def _busy(self, problem: str) -> GateResponse:
        headers = [("Retry-After", str(_RETRY_AFTER_S))]
        return self._error(problem, status=503, headers=headers)

    def _error(
        self, problem: str, *, status: int, headers: list[tuple[str, str]] | None = None
    ) -> GateResponse:
        return self._responses.json(
            {"error": problem}, state="none", status=status, headers=headers or ()
        )


def _draw_of(room: RoomReplica, name: str) -> _Draw | None:
    state = room.view.state
    event = None if state is None else state.schedule.find(name)
    if state is None or event is None or not event.has_draw or event.cancelled:
        return None
    return _Draw(event, room, state)
