"""A fake gate with an event: a prequeue, a draw and an opening, correct unless it has defects."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp import web

from gatekeeper.policy.ordering import PROVISIONAL_US
from tests.integration.simulate.fake_gate import FakeGate, FakeVisitor
from tests.simulated_time import TimeOfDay

SECRET = hashlib.sha256(b"the secret of the draw").digest()
EVENT = "sale"


@dataclass(frozen=True)
class EventDefects:
    """The defects of an opening."""

    opens_early_s: float = 0.0
    opens_late_s: float = 0.0
    orders_by_arrival: bool = False
    admits_on_arrival: bool = False  # in the prequeue
    reveals_another_secret: bool = False
    changes_commitment: bool = False
    lists_nobody: bool = False


@dataclass
class FakeEventGate(FakeGate):
    """`prequeue_s` is the length of the prequeue, which begins with the gate. It must not be a
    multiple of the 10 ms grid of the crowd's requests."""

    prequeue_s: float = 2.003
    opening: EventDefects = field(default_factory=EventDefects)
    began_s: float = field(default_factory=TimeOfDay.time)
    _is_drawn: bool = False
    _participants_by_number: set[int] = field(default_factory=set)

    @property
    def start_us(self) -> int:
        return round((self.began_s + self.prequeue_s) * 1e6)

    @property
    def span_us(self) -> int:
        return round(self.prequeue_s * 1e6)

    @property
    def has_started(self) -> bool:
        return TimeOfDay.time() * 1e6 >= self.start_us

    @property
    def is_open(self) -> bool:
        delay_s = self.opening.opens_late_s - self.opening.opens_early_s
        return TimeOfDay.time() >= self.start_us / 1e6 + delay_s

    def _has_token(self) -> bool:
        if not self.is_open:
            return self.opening.admits_on_arrival and not self.queue
        if not self._is_drawn:
            self._is_drawn = True
            self.queue.sort(key=self._turn_us)
        return super()._has_token()

    def _enter_line(self, visitor: FakeVisitor) -> None:
        if self._covers(visitor) and not self.has_started:
            self._participants_by_number.add(visitor.number)
            visitor.is_moved = True  # from now on the ticket records that it was returned in time
        super()._enter_line(visitor)

    def _more_claims(self, visitor: FakeVisitor) -> dict[str, object]:
        takes_part = visitor.number in self._participants_by_number
        return {"trn": PROVISIONAL_US + visitor.arrival_us} if takes_part else {}

    def _covers(self, visitor: FakeVisitor) -> bool:
        return self.start_us - self.span_us <= visitor.arrival_us < self.start_us

    def _turn_us(self, visitor: FakeVisitor) -> int:
        if not self._covers(visitor) or not self._is_drawn or self.opening.orders_by_arrival:
            return visitor.arrival_us
        if visitor.number not in self._participants_by_number:
            return self.start_us
        number = int.from_bytes(
            hmac.digest(SECRET, bytes.fromhex(_id_hash(visitor)), "sha256"), "big"
        )
        return self.start_us - self.span_us + number % self.span_us

    def _state_of(self, visitor: FakeVisitor) -> dict[str, object]:
        state = super()._state_of(visitor)
        if not self.is_open and state["state"] == "waiting":
            state |= {"position": None, "phase": "prequeue", "reason": "prequeue"}
        return state

    def _more_routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"/.gatekeeper/draw/{EVENT}", self._record),
            web.get(f"/.gatekeeper/draw/{EVENT}/participants", self._participants),
        ]

    async def _record(self, _request: web.Request) -> web.Response:
        is_drawn, shown = self.has_started, SECRET
        if is_drawn and self.opening.reveals_another_secret:
            shown = hashlib.sha256(SECRET).digest()
        committed = shown if is_drawn and self.opening.changes_commitment else SECRET
        if self.opening.changes_commitment and not is_drawn:
            committed = b"another"
        return web.json_response(
            {
                "event": EVENT,
                "room": "default",
                "state": "drawn" if is_drawn else "committed",
                "commitment": hashlib.sha256(committed).hexdigest(),
                "secret": shown.hex() if is_drawn else None,
                "beacon": None,
                "start_us": self.start_us,
                "span_us": self.span_us,
                "participants": len(self._listed()) if is_drawn else None,
                "note": "",
            }
        )

    async def _participants(self, _request: web.Request) -> web.Response:
        return web.Response(text="".join(f"{each}\n" for each in self._listed()))

    def _listed(self) -> Sequence[str]:
        if self.opening.lists_nobody:
            return ()
        found = {id(each): each for each in self.visitors.values()}.values()
        return sorted(
            _id_hash(each) for each in found if each.number in self._participants_by_number
        )


def _id_hash(visitor: FakeVisitor) -> str:
    return hashlib.sha256(f"v{visitor.number:021}".encode()).hexdigest()
