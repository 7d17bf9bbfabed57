"""The queue of one room: its atomic operations as typed calls.

Rules. Every operation is one script, so that it is atomic, on the store's clock.
arrive, poll and touch are batched per turn of the event loop. Every reply carries the room's state,
which goes to `on_state`. Every call carries the room's limits and the newest state that this
replica knows: a store that is empty or older does nothing until that state is written back (`join`,
`on_loss`) and the call is repeated. Every operation raises only `StoreError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from gatekeeper.config.settings import SettingsChange
from gatekeeper.errors import StoreError
from gatekeeper.policy.autotune import PERIOD_S
from gatekeeper.policy.decision import SlotGrant, Standing
from gatekeeper.policy.draw import participant_of
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.schedule import NO_EVENTS, Schedule, parse_schedule
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.batching import Batcher
from gatekeeper.room.move_request import MoveRequest, MoveResult, move_result_of
from gatekeeper.room.outstanding_polls import OutstandingPolls, remembered_s
from gatekeeper.room.participants import Participants
from gatekeeper.room.period import PeriodEnd, SteerRequest
from gatekeeper.room.return_window import ReturnWindow
from gatekeeper.room.standings import (
    AdmitResult,
    ArrivalStanding,
    InvitedStanding,
    LeaveResult,
    NewcomerStanding,
    Whereabouts,
    admit_result_of,
    leave_result_of,
    standing_on_arrival,
    standings_of,
    whereabouts_of,
)
from gatekeeper.room.state import RoomState, parse_reply
from gatekeeper.room.store import Reply, Script, Store, load_script, participants_key, room_keys
from gatekeeper.room.visitor_calls import (
    ArrivalRequest,
    DrawnTurn,
    PollRequest,
    device_arguments,
    head_start_digits,
    poll_arguments,
)
from gatekeeper.room.visitor_search import scores_of
from gatekeeper.room.write_back import known_arguments, rate_text

MAX_RELEASED_PER_CALL = MAX_SWEPT_PER_CALL = _LISTED_PER_CALL = 1000
_PARTICIPANTS_KEPT_MS = 8 * 86_400_000  # one day longer than the draw's record
# Special values of `ends_us`, see `touch`.
UNCONFIRMED, IF_CONFIRMED = 0, -1
_MAX_TRIES = 4  # attempts of a call that meets an empty or older store

_ARRIVE = load_script("arrive")
_POLL = load_script("poll")
_ADVANCE = load_script("advance")
_TOUCH = load_script("touch")
_LEAVE = load_script("leave")
_CONTROL = load_script("control")
_FIND = load_script("find")
_ADMIT = load_script("admit")
_DRAW = load_script("draw")
_JOIN = load_script("join")
_MOVE = load_script("move")
_STEER = load_script("steer")


class Queue:
    """One room in the store, as one replica sees it. `rules` may be replaced at any time; each call
    sends the current ones."""

    def __init__(
        self,
        store: Store,
        rules: Rules,
        *,
        replica: str,
        on_state: Callable[[RoomState], None],
        newest_known: Callable[[], RoomState | None],
        newest_received: Callable[[], RoomState | None] | None = None,
        on_loss: Callable[[], None] = lambda: None,
        on_backlog: Callable[[], None] = lambda: None,
        outstanding_polls: OutstandingPolls | None = None,
    ) -> None:
        self._store = store
        self.rules = rules
        self._replica = replica
        self._on_state = on_state
        self._newest_known = newest_known
        self._newest_received = newest_received or newest_known
        self._on_loss = on_loss
        self._on_backlog = on_backlog
        self._return_window = ReturnWindow()
        self.next_due_s = 0.0  # by the last `advance`: the next admission, on the loop's clock
        self.outstanding_polls = outstanding_polls or OutstandingPolls()
        self.participants = Participants(store, rules.room)
        self.configured = NO_EVENTS  # the events of a new store
        self._keys = room_keys(rules.room)
        self._arrivals = Batcher(self._arrive, name=f"arrive {rules.room}")
        self._polls = Batcher(self.poll_all, name=f"poll {rules.room}")
        self._touches = Batcher(self._touch, name=f"touch {rules.room}")

    async def arrive(self, request: ArrivalRequest) -> NewcomerStanding:
        """Give a newcomer a slot while there is room, else a turn while the line has room."""
        standing = await self._arrivals.submit(request)
        if isinstance(standing, NewcomerStanding):
            return standing
        raise StoreError("unexpected reply from the store")

    async def arrive_invited(self, request: ArrivalRequest) -> InvitedStanding:
        """Give an invited visitor a turn, which is the same on each of their devices."""
        standing = await self._arrivals.submit(request)
        if isinstance(standing, InvitedStanding):
            return standing
        raise StoreError("unexpected reply from the store")

    async def take_admission(self) -> bool:
        """Take one admission for a request that creates no place; False: there is no room."""
        return isinstance(await self._arrivals.submit(None), SlotGrant)

    def poll(self, request: PollRequest) -> asyncio.Future[Standing]:
        """The heartbeat of a waiting visitor, and the claim of a released one."""
        return self._polls.submit(request)

    async def poll_all(self, batch: Sequence[PollRequest]) -> list[Standing]:
        """The polls of a few visitors, in one call."""
        rules = self.rules
        state, rest = await self._run(
            _POLL,
            _us(rules.heartbeat_timeout_s),
            _us(rules.pass_life_s),
            _us(rules.session_absolute_timeout_s),
            _us(self._return_window.seconds(self._newest_known(), rules=rules)),
            *poll_arguments(batch, ticket_life_s=rules.longest_ticket_life_s, lanes=rules.lanes),
        )
        return standings_of(rest, batch, state)

    async def touch(self, visitor: VisitorId, *, until_us: int, ends_us: int) -> bool:
        """Extend the visitor's slot to `until_us`. `ends_us`: the end of the session, if the store
        does not know it; `UNCONFIRMED`: the pass is not used yet; `IF_CONFIRMED`: create no slot.
        False: the visitor was revoked."""
        return await self._touches.submit((visitor, until_us, ends_us))

    async def advance(self) -> tuple[RoomState, int]:
        """Sweep, release what is due, and return how many were released. `on_backlog` is called
        when more is due than one call may do without blocking the store."""
        state, released, _ = await self._advance()
        return state, released

    async def advance_measured(self, measured: str, by: str) -> tuple[RoomState, PeriodEnd | None]:
        """Like `advance`, with what this replica measured of the origin `by` these targets. Also
        returns the period of autotune that this call ended, if any."""
        state, _, rest = await self._advance(_us(PERIOD_S), measured, by)
        return state, PeriodEnd.parse(rest)

    async def _advance(self, *more: str) -> tuple[RoomState, int, Reply]:
        rules, report = self.rules, self.outstanding_polls.report()
        state, rest = await self._run(
            _ADVANCE,
            self._replica,
            _us(rules.claim_timeout_s),
            _us(rules.spent_for_s),
            _us(rules.longest_ticket_life_s),
            str(MAX_RELEASED_PER_CALL),
            str(MAX_SWEPT_PER_CALL),
            _us(remembered_s(rules)),
            *map(str, report),
            *more,
        )
        self.outstanding_polls.note_counted()
        self._return_window.note(state, rules=rules)
        released, is_behind, until_due, *period = rest
        self.next_due_s = asyncio.get_running_loop().time() + int(until_due) / 1_000_000
        if is_behind == b"1":
            self._on_backlog()
        return state, int(released), period

    async def steer(self, request: SteerRequest) -> bool:
        """Set the rate that follows from a period; False: that period is over."""
        _, [is_set] = await self._run(_STEER, *request.arguments())
        return is_set == b"1"

    async def leave(
        self,
        visitors: Sequence[VisitorId],
        *,
        with_tickets: bool = False,
        devices: Sequence[str | None] = (),
    ) -> tuple[RoomState, list[LeaveResult]]:
        """Give back places and slots; from now on the visitors' tokens are void.

        `with_tickets`: the visitors hold tickets, so that one without a slot holds no pass.
        `devices`: those of the tickets. A device that does not hold the place gives back nothing.
        """
        ticket_us = _us(self.rules.longest_ticket_life_s) if with_tickets else "0"
        named = str(len(visitors)), *visitors, *[device or "" for device in devices]
        state, rest = await self._run(_LEAVE, _us(self.rules.revoked_for_s), ticket_us, *named)
        return state, [leave_result_of(reply) for reply in rest]

    async def move(self, request: MoveRequest) -> MoveResult:
        """Move the place of a visitor in line to another device, once."""
        _, [result] = await self._run(_MOVE, *request.arguments(self.rules))
        return move_result_of(result)

    async def find(self, visitors: Sequence[VisitorId]) -> tuple[RoomState, list[Whereabouts]]:
        """Where a few visitors stand; changes nothing."""
        state, rest = await self._run(_FIND, *visitors)
        return state, [whereabouts_of(reply) for reply in rest]

    async def admit(self, visitor: VisitorId) -> tuple[RoomState, AdmitResult]:
        """Release this visitor now, regardless of the rate."""
        state, [result] = await self._run(_ADMIT, _us(self.rules.claim_timeout_s), visitor)
        return state, admit_result_of(result)

    async def allow(self, count: int) -> RoomState:
        """Grant `count` more admissions, regardless of the rate."""
        return await self._control("allow", str(count))

    async def set_rate(self, rate_per_minute: float) -> RoomState:
        return await self._control("rate", rate_text(rate_per_minute))

    async def set_mode(self, mode: Mode) -> RoomState:
        return await self._control("mode", mode.value)

    async def set_message(self, message: str) -> RoomState:
        """Set the message to waiting visitors, as `parse_message` returned it; "" removes it."""
        return await self._control("message", message)

    async def change_settings(
        self,
        before: str,
        change: SettingsChange,
        *,
        events: tuple[Schedule, Schedule] | None = None,
    ) -> RoomState | None:
        """Compare and set the overrides; None when the stored ones are no longer `before`.
        `events`: a pair of before and after, replaced in the same call."""
        replaced = (events[0].text, events[1].text, events[1].windows_text) if events else ()
        state, [is_set] = await self._run(
            _CONTROL,
            "settings",
            before,
            change.overrides,
            "" if change.rate_per_minute is None else rate_text(change.rate_per_minute),
            "" if change.message is None else "1",
            change.message or "",
            *replaced,
        )
        return state if is_set == b"1" else None

    async def change_events(
        self, before: Schedule, after: Schedule, *, by_draw: bool = False
    ) -> RoomState | None:
        """Compare and set the events; None when the stored ones are no longer `before`. `by_draw`:
        by a draw and no operator, so after a loss the events of a replica that knows more replace
        these."""
        parse_schedule(after.text)  # raises ValueError here, not in each replica that reads it
        texts = before.text, after.text, after.windows_text
        state, [is_set] = await self._run(_CONTROL, "draw" if by_draw else "events", *texts)
        return state if is_set == b"1" else None

    async def place_drawn(
        self, turns: Mapping[VisitorId, DrawnTurn], *, draw: str | None
    ) -> tuple[RoomState, int]:
        """Move visitors to the turns that they drew in `draw` (None: the draw was cancelled), and
        return how many of them still had a provisional turn."""
        names = [participant_of(each, lane=turns[each].lane) if draw else "" for each in turns]
        state, [moved] = await self._run(
            _DRAW,
            str(_PARTICIPANTS_KEPT_MS),
            "".join([f"{turn.turn_us:016d}" for turn in turns.values()]),
            str(len(turns)),
            *turns,
            *names,
            keys=(*self._keys, participants_key(self.rules.room, draw or "")),
        )
        return state, int(moved)

    async def read_state(self) -> RoomState:
        """The current state; changes nothing."""
        return await self._control("look", "")

    async def count_no_shows(self) -> int:
        """Releases that were not claimed, since the store was created."""
        _, rest = await self._run(_CONTROL, "look", "no_shows")
        return int(rest[0])

    async def count_lanes(self) -> dict[str, int]:
        """How many visitors of each lane are in line and polled within `heartbeat_timeout`."""
        lanes = self.rules.lanes
        if not lanes:
            return {}
        _, rest = await self._run(_CONTROL, "look", "lanes", str(len(lanes)))
        return {lane.name: int(count) for lane, count in zip(lanes, rest, strict=True)}

    async def revoked(self, *, since_us: float = 0) -> dict[VisitorId, float]:
        """Revoked visitors and until when, microseconds: all, or those from `since_us` on. Read in
        portions, so that no call blocks the store for long."""
        found: dict[VisitorId, float] = {}
        portions = scores_of(self._store, self._keys[3], since=since_us, portion=_LISTED_PER_CALL)
        async for portion in portions:
            found.update((VisitorId(visitor), until_us) for visitor, until_us in portion.items())
        return found

    async def is_new(self) -> bool:
        """Whether the store is empty, or the room in it was only created."""
        found = await self._store.values(self._keys[6], ["version", "origin_epoch"])
        return found.get("version", "1") == "1" and found.get("origin_epoch", "0") == "0"

    async def join(self, *, starting: bool = False, is_first: bool = True) -> RoomState:
        """Create the room in an empty store, or write back the state that only this replica knows.
        `is_first`: no replica has a state, so a new room has a full bucket."""
        kind = "" if not starting else "first" if is_first else "start"
        return await self._join(self._newest_known(), kind=kind)

    async def _join(self, known: RoomState | None, *, kind: str = "") -> RoomState:
        window_s = self._return_window.seconds(known, rules=self.rules)
        arguments = [
            *self._first_arguments(known),
            rate_text(self.rules.rate_per_minute),
            _us(window_s),
            kind,
            self.rules.message,
            self.configured.text,
            self.configured.windows_text,
            *known_arguments(known, rules=self.rules),
        ]
        reply = await self._store.run(_JOIN, self._keys, arguments)
        state, _ = self._parsed(reply)
        self.outstanding_polls.note_epoch(state.epoch)
        self._on_state(state)
        return state

    async def close(self) -> None:
        for batcher in (self._arrivals, self._polls, self._touches):
            await batcher.close()

    async def _arrive(self, batch: Sequence[ArrivalRequest | None]) -> list[ArrivalStanding | None]:
        """None in `batch` is a single request; in the result, one without an admission."""
        rules = self.rules
        _, rest = await self._run(
            _ARRIVE,
            _us(rules.unconfirmed_slot_s),
            _us(rules.spent_for_s),
            str(rules.queue_limit),
            "".join([request.letter if request else "o" for request in batch]),
            head_start_digits(batch),
            *[request.visitor if request else "" for request in batch],
            *device_arguments(batch, ticket_life_s=rules.longest_ticket_life_s),
        )
        return [standing_on_arrival(*pair) for pair in zip(*[iter(rest)] * 2, strict=True)]

    async def _touch(self, batch: Sequence[tuple[VisitorId, int, int]]) -> list[bool]:
        arguments = [text for visitor, *ends in batch for text in (visitor, *map(str, ends))]
        _, rest = await self._run(_TOUCH, *arguments)
        return [code == b"1" for code in rest]

    async def _control(self, setting: str, value: str) -> RoomState:
        return (await self._run(_CONTROL, setting, value))[0]

    async def _run(
        self, script: Script, *arguments: str, keys: Sequence[str] = ()
    ) -> tuple[RoomState, Reply]:
        for _ in range(_MAX_TRIES):
            known = self._newest_known()
            first = self._first_arguments(known)
            reply = await self._store.run(script, keys or self._keys, (*first, *arguments))
            if reply[:1] != [b"behind"]:
                state, rest = self._parsed(reply)
                self.outstanding_polls.note_epoch(state.epoch)
                self._on_state(state)
                return state, rest
            if self._newest_known() is known:  # else another call has already joined
                await self._join(self._newest_received())
                self._on_loss()
        raise StoreError("the store lost its state repeatedly")

    def _first_arguments(self, known: RoomState | None) -> tuple[str, str, str, str]:
        """The first arguments of every call: epoch and version, by which a store that lost data
        detects it, then the limits."""
        epoch, version = (known.epoch, known.version) if known else (0, 0)
        return str(epoch), str(version), str(self.rules.burst), str(self.rules.max_active)

    def _parsed(self, reply: Reply) -> tuple[RoomState, Reply]:
        try:
            return parse_reply(reply)
        except ValueError as error:
            raise StoreError("unexpected reply from the store") from error


def _us(seconds: float) -> str:
    return str(round(seconds * 1_000_000))
