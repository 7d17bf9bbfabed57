"""What the law of autotune measures and remembers: periods, and a model of the origin's load. Pure.

Rules:
- An admitted visitor loads the origin for a whole session, so the load follows the rate late. The
  model has the rate behind a few fixed delays at once; the delay that explains the responses best
  says which rate the load of now stands for, and how many responses one visitor causes.
- Small excesses are judged by a pool of recent responses, in which older ones count less.
- The memory is a short text between two periods. Any other text is a fresh memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

# Upper bounds of the latency histogram, as shares of the latency target: exact at the target.
LATENCY_BOUNDS = (
    *(0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7),
    *(0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0),
)
FULL_SAMPLES = 300.0  # the pool of responses
_AT_TARGET = LATENCY_BOUNDS.index(1.0)
_POOL_S = 60.0  # a response is in the pool about this long at most
_LAGS_S = (5.0, 12.0, 28.0, 65.0)  # mean ages of visitors in sessions of seconds to minutes
_LEAST_SMOOTH = 1  # the index of the first delay that smooths the chance of single visitors
_MODEL_S = 120.0  # the model forgets
_LOAD_S = 15.0
_BEST_S = 900.0  # a capacity that is no longer reached is forgotten
_STRAIN_S = 180.0
_SHORT_PAUSE_S = 15.0
_UNLOADED_RISE = 0.002  # of the distance in one period, since an origin may become slower for good
_MOST_UNLOADED = 0.9
_MOST = 1e18  # no number that the law remembers is larger


@dataclass(frozen=True, slots=True)
class Targets:
    """What the operator allows: admissions per minute, seconds (p95), a share of the responses."""

    rate_min: float
    rate_max: float
    latency_s: float
    errors: float

    @property
    def measure(self) -> str:
        """What the origin is measured by, as a text: the memory of the law is of that alone."""
        return f"{self.latency_s!r} {self.errors!r}"


@dataclass(frozen=True, slots=True)
class Period:
    """What all replicas measured together.

    `counts`: responses by latency, one entry for each of LATENCY_BOUNDS and one above the last.
    `responses` includes the `failed` ones; those without a response head are in no count.
    `admitted`: visitors that entered. `waiting`: the rate is what keeps visitors in line.
    """

    seconds: float
    counts: Sequence[int]
    responses: int
    failed: int
    admitted: int
    waiting: bool

    def latency_s(self, targets: Targets) -> float | None:
        """The p95 latency, seconds; None without responses."""
        share = quantile(self.counts, 0.95)
        return None if share is None else share * targets.latency_s

    @property
    def slow(self) -> int:
        """Responses that took longer than the target."""
        return sum(self.counts[_AT_TARGET + 1 :])

    @property
    def load(self) -> float:
        """Responses per minute."""
        return self.responses * 60 / self.seconds


@dataclass(frozen=True, slots=True)
class Memory:
    """What the law remembers between periods. Admissions and responses per minute; 0: unknown."""

    limit: float = 0.0  # responses when the origin was last at its limit
    best: float = 0.0  # the highest such limit of the last minutes
    settle_s: float = 0.0  # until then the effect of the last step is awaited
    is_draining: bool = False  # an overload is not over yet
    load: float = 0.0  # responses, smoothed
    samples: float = 0.0  # of the pool
    slow: float = 0.0  # of the pool
    failed: float = 0.0  # of the pool
    latency: float = 0.0  # of the pool: p95, share of the target
    unloaded: float = 0.0  # the lowest such latency
    fresh: float = 0.0  # responses since the last step
    strain: float = 0.0  # share of the last minutes above a target
    load_sum: float = 0.0
    seen: tuple[float, ...] = (0.0,) * len(_LAGS_S)  # the admitted rate, behind each delay
    seen_sums: tuple[float, ...] = (0.0,) * len(_LAGS_S)
    misfits: tuple[float, ...] = (0.0,) * len(_LAGS_S)  # squared errors of each delay

    def encode(self) -> str:
        """At most 200 characters of printable ASCII."""
        numbers = [float(getattr(self, name)) for name in _NUMBERS]
        parts = [f"{number:.4g}" for number in (*numbers, *self.seen, *self.seen_sums)]
        parts += [f"{number:.3g}" for number in self.misfits]
        return "1:" + ",".join(parts).replace("e+0", "e").replace("e-0", "e-")

    @staticmethod
    def decode(text: str) -> Memory:
        """The memory of that text; a fresh one if it is no such text."""
        version, _, rest = text.partition(":")
        try:
            read = [float(part) for part in rest.split(",")]
        except ValueError:
            return Memory()
        count, lags = len(_NUMBERS), len(_LAGS_S)
        is_whole = version == "1" and len(read) == count + 3 * lags
        if not is_whole or not all(0 <= number < _MOST for number in read):
            return Memory()
        numbers = dict(zip(_NUMBERS, read[:count], strict=True))
        seen, sums, misfits = (
            tuple(read[start : start + lags]) for start in range(count, len(read), lags)
        )
        return Memory(
            is_draining=numbers.pop("is_draining") > 0,
            seen=seen,
            seen_sums=sums,
            misfits=misfits,
            **numbers,
        )

    @property
    def _fit(self) -> int:
        """The index of the delay that explains the load best."""
        return min(range(len(self.misfits)), key=self.misfits.__getitem__)

    @property
    def lag_s(self) -> float:
        """How long the load follows the rate, seconds."""
        return _LAGS_S[self._fit]

    @property
    def carried(self) -> float:
        """The rate that the load of now stands for."""
        return self.seen[self._fit]

    @property
    def smoothed(self) -> float:
        """The same, without the chance of single visitors where sessions are short."""
        return self.seen[max(self._fit, _LEAST_SMOOTH)]

    @property
    def responses_each(self) -> float:
        """Responses of one admitted visitor; 0 if unknown."""
        seen = self.seen_sums[self._fit]
        return self.load_sum / seen if seen > 0 else 0.0

    @property
    def capacity(self) -> float:
        """The rate that `limit` stands for; 0 if unknown."""
        each = self.responses_each
        return self.limit / each if each > 0 else 0.0

    def after(self, period: Period) -> Memory:
        """The memory with that period in model and pool."""
        return _with_pool(_with_model(self, period), period)

    def after_pause(self, seconds: float) -> Memory:
        """After that time without a period: the room was held, or replicas or store were absent.

        Nobody was admitted. A short pause changes nothing; after a long one nothing is known.
        """
        if seconds <= _SHORT_PAUSE_S:
            return self
        if seconds > _BEST_S:
            return Memory()
        seen = tuple(
            rate * math.exp(-seconds / lag_s)
            for rate, lag_s in zip(self.seen, _LAGS_S, strict=True)
        )
        return replace(
            self.with_empty_pool(settle_s=0.0),
            best=self.best * math.exp(-seconds / _BEST_S),
            is_draining=False,
            load=self.load * math.exp(-seconds / self.lag_s),
            seen=seen,
            strain=self.strain * math.exp(-seconds / _STRAIN_S),
        )

    def with_strain(self, is_above: bool, *, seconds: float) -> Memory:
        """`is_above`: a target was missed in the last period of that length."""
        share = -math.expm1(-seconds / _STRAIN_S)
        return replace(self, strain=self.strain + (is_above - self.strain) * share)

    def with_empty_pool(self, *, settle_s: float) -> Memory:
        """Judged by new responses only, and once the last step shows."""
        return replace(
            self,
            settle_s=settle_s,
            samples=0.0,
            slow=0.0,
            failed=0.0,
            latency=0.0,
            fresh=0.0,
        )


_NUMBERS = tuple(field.name for field in fields(Memory))[: -len(("seen", "seen_sums", "misfits"))]


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The latency below which that share of responses lies, as a share of the target.

    Interpolated within a bucket; above the last bound, that bound. None without responses.
    """
    total = sum(counts)
    if total == 0:
        return None
    rank, below = share * total, 0
    for index, count in enumerate(counts):
        if count and below + count >= rank:
            if index >= len(LATENCY_BOUNDS):
                return LATENCY_BOUNDS[-1]
            lower = LATENCY_BOUNDS[index - 1] if index else 0.0
            return lower + (LATENCY_BOUNDS[index] - lower) * (rank - below) / count
        below += count
    return LATENCY_BOUNDS[-1]


def _with_model(memory: Memory, period: Period) -> Memory:
    """The delayed rates, and how well each explains the load.

    Periods of overload count too: the backlog that they leave comes later as load, and to leave
    either out would bias what one visitor causes.
    """
    admitted = period.admitted * 60 / period.seconds
    seen = tuple(
        before + (admitted - before) * -math.expm1(-period.seconds / lag_s)
        for before, lag_s in zip(memory.seen, _LAGS_S, strict=True)
    )
    kept, load = math.exp(-period.seconds / _MODEL_S), period.load
    sums = tuple(kept * total + rate for total, rate in zip(memory.seen_sums, seen, strict=True))
    load_sum = kept * memory.load_sum + load
    misfits = tuple(
        kept * misfit + ((load - rate * load_sum / total) ** 2 if total > 0 else 0.0)
        for misfit, rate, total in zip(memory.misfits, seen, sums, strict=True)
    )
    return replace(memory, seen=seen, seen_sums=sums, load_sum=load_sum, misfits=misfits)


def _with_pool(memory: Memory, period: Period) -> Memory:
    kept = max(1 - period.responses / FULL_SAMPLES, 0.0) * math.exp(-period.seconds / _POOL_S)
    samples = kept * memory.samples + period.responses
    latency, period_latency = memory.latency, quantile(period.counts, 0.95)
    if period_latency is not None and samples > 0:
        latency += (period_latency - latency) * period.responses / samples
    share = -math.expm1(-period.seconds / _LOAD_S)
    return replace(
        memory,
        settle_s=max(memory.settle_s - period.seconds, 0.0),
        best=max(memory.best * math.exp(-period.seconds / _BEST_S), memory.limit),
        load=memory.load + (period.load - memory.load) * share,
        samples=samples,
        slow=kept * memory.slow + period.slow,
        failed=kept * memory.failed + period.failed,
        latency=latency,
        unloaded=_unloaded(memory.unloaded, latency, samples),
        fresh=min(memory.fresh + period.responses, FULL_SAMPLES),
    )


def _unloaded(before: float, latency: float, samples: float) -> float:
    if samples < FULL_SAMPLES / 2 or latency <= 0:
        return before
    if before == 0 or latency < before:
        return min(latency, _MOST_UNLOADED)
    return min(before + _UNLOADED_RISE * (latency - before), _MOST_UNLOADED)
