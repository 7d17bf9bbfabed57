"""Commands of a script that only some calls need: the others do not run them."""

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.rules import Rules
from gatekeeper.room.store import room_keys
from tests.contract.command_arguments import Reply
from tests.contract.dragonfly_rules import DragonflyRules
from tests.contract.grounds import EmulatedGround, Replica, admitted_names, arrive, line_up


class RecordingRules(DragonflyRules):
    """Keeps the commands of all scripts, each with its first argument."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[tuple[str, str]] = []

    def _command(self, name: str, args: list[str]) -> Reply:
        self.commands.append((name, args[0] if args else ""))
        return super()._command(name, args)


async def open_recorded(room: RoomName, **keys: object) -> tuple[Replica, RecordingRules]:
    """A replica of a new room, and the record of its store."""
    ground, recorder = EmulatedGround(room), RecordingRules()
    ground.rules = recorder
    rules = Rules.of(RoomConfig.model_validate({"name": room, "rate": "6/min"} | keys))
    replica = Replica(ground, rules, name="only")
    await replica.queue.join(starting=True)
    return replica, recorder


async def test_arrival_without_room_counts_unconfirmed_once(room_name: RoomName) -> None:
    """The reply needs that count. The limit on unconfirmed slots needs it too, if there is room."""
    replica, recorder = await open_recorded(room_name, burst=2)
    counting = ("ZCARD", next(key for key in room_keys(room_name) if "unconfirmed" in key))
    counts = []
    for name in ("ann", "bob"):
        recorder.commands.clear()
        is_admitted = admitted_names(await arrive(replica, [name])) == [name]
        counts.append((is_admitted, recorder.commands.count(counting)))
    (_, with_room), (_, without) = counts
    assert [each for each, _ in counts] == [True, False]
    assert without == with_room - 1


async def test_advance_computes_due_time_only_with_burst_of_one(
    room_name: RoomName,
) -> None:
    counting = ("ZCARD", next(key for key in room_keys(room_name) if key.endswith(":queue")))
    counts = []
    for burst in (1, 2):
        replica, recorder = await open_recorded(room_name, burst=burst)
        await line_up(replica, [f"visitor-{i}" for i in range(4)])
        await replica.queue.advance()
        recorder.commands.clear()
        await replica.queue.advance()
        counts.append(recorder.commands.count(counting))
    assert counts[1] == counts[0] - 1
