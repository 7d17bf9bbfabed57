"""The visitors and the replicas of a line in virtual time (`honest_line`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gatekeeper.errors import StoreError
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Ticket, VisitorId
from gatekeeper.room.queue import Queue
from gatekeeper.room.state import RoomState
from gatekeeper.room.store import Reply, Script
from gatekeeper.room.view import ReplicaView
from gatekeeper.simulate.judge import Place
from tests.contract.grounds import EmulatedGround, EmulatedStore


@dataclass(slots=True)
class HonestVisitor:
    name: VisitorId
    ticket: Ticket
    interval_s: float = 1.0
    is_confirmed: bool = False
    has_entered: bool = False
    is_gone: bool = False
    silent_until_s: float = 0.0  # 0: not silent
    place: Place = field(default_factory=Place)

    @property
    def turn_us(self) -> int:
        own_us = self.ticket.own_turn_us
        return self.ticket.arrival_us if own_us is None else own_us

    @property
    def waits(self) -> bool:
        return self.is_confirmed and not self.has_entered and not self.is_gone


class Release(NamedTuple):
    """An early release: its time and its highest turn."""

    at_s: float
    watermark_us: int


class LineStore(EmulatedStore):
    """One replica's connection to the store."""

    is_cut = False

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str]) -> Reply:
        if self.is_cut:
            raise StoreError("the store did not respond")
        return await super().run(script, keys, args)


class LineReplica:
    """One replica: its queue, its view, and the pauses of its pacer."""

    def __init__(
        self, rules: Rules, ground: EmulatedGround, *, name: str, now_s: Callable[[], float]
    ) -> None:
        self.store = LineStore(ground.rules)
        self.view = ReplicaView(monotonic_s=now_s, wall_s=now_s)
        self.view.store_up = True
        self.queue = Queue(
            self.store,
            rules,
            replica=name,
            on_state=self.view.update_from_store,
            newest_known=lambda: self.view.store_state,
            newest_received=lambda: self.view.newest_of_store,
            outstanding_polls=self.view.line.outstanding_polls,
        )
        self.paused_until_s = 0.0
        self.has_ended = self.hangs = False
        self.entered: list[VisitorId] = []  # without the store, which has to learn of it

    @property
    def state(self) -> RoomState:
        assert self.view.store_state is not None
        return self.view.store_state
