"""A room with autotune on a store of the contract: what replicas measure and steer."""

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.autotune import PERIOD_S, Targets
from gatekeeper.policy.rules import Rules
from gatekeeper.room.origin_tally import OriginTally
from gatekeeper.room.period import PeriodEnd, SteerRequest
from gatekeeper.room.state import RoomState
from tests.contract.grounds import Ground, Replica
from tests.origin_periods import count_all

TARGETS = Targets(rate_min=30, rate_max=3000, latency_s=0.8, errors=0.02)


async def advance(
    replica: Replica, measured: str = "", *, targets: Targets = TARGETS
) -> PeriodEnd | None:
    _, end = await replica.queue.advance_measured(measured, targets.measure)
    return end


async def ended_period(ground: Ground, replica: Replica, *, measured: str = "") -> PeriodEnd:
    assert await advance(replica) is None
    await ground.pass_time(PERIOD_S + 0.1)
    end = await advance(replica, measured)
    assert end is not None
    return end


async def steer(
    replica: Replica,
    end: PeriodEnd,
    *,
    rate: float | None = 300.0,
    known: RoomState | None = None,
    steering: str = "record",
    memory: str = "memory",
) -> bool:
    known = known or await replica.read_state()
    return await replica.queue.steer(SteerRequest(end.begin_us, known, rate, steering, memory))


def tally(*, seconds: float = 0.1, responses: int = 0, failed: int = 0) -> str:
    counted = OriginTally()
    counted.measure_by(TARGETS.latency_s)
    count_all(counted, responses, seconds=seconds)
    count_all(counted, failed, status=500, seconds=seconds)
    return counted.take()


def queue_of(ground: Ground, *, name: str, **keys: object) -> Replica:
    values = {"name": ground.room, "rate": "6/min", "burst": 1} | keys
    return Replica(ground, Rules.of(RoomConfig.model_validate(values)), name=name)


async def replica_of(ground: Ground, **keys: object) -> Replica:
    replica = queue_of(ground, name="only", **keys)
    await replica.queue.join(starting=True, is_first=True)
    return replica
