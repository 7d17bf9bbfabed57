"""Tallies that workers count in parts are exposed as histograms."""

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import Metric

from gatekeeper import metrics
from gatekeeper.admin.exposition import with_tallies
from gatekeeper.metrics import Tally


def collected(tally: Tally) -> list[Metric]:
    registry = CollectorRegistry()
    for counter in (tally._buckets, tally._sums):
        registry.register(counter)
    return list(with_tallies(registry.collect()))


def samples(metric: Metric) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix(metric.name), *sample.labels.values()): sample.value
        for sample in metric.samples
    }


def test_flushed_tally_is_a_histogram_per_label() -> None:
    tally = Tally("test_tally_seconds", "Spans.", labels=("room",), bounds_s=(1, 10))
    tally.declare("sale")
    tally.declare("other")
    for seconds in (0.5, 1.0, 4.0, 40.0):
        tally.observe(seconds, "sale")
    [before] = collected(tally)
    assert samples(before)["_count", "sale"] == 0
    tally.flush()
    tally.flush()
    [metric] = collected(tally)
    assert (metric.type, metric.documentation) == ("histogram", "Spans.")
    assert samples(metric) == {
        ("_bucket", "sale", "1.0"): 2,
        ("_bucket", "sale", "10.0"): 3,
        ("_bucket", "sale", "+Inf"): 4,
        ("_count", "sale"): 4,
        ("_sum", "sale"): 45.5,
        ("_bucket", "other", "1.0"): 0,
        ("_bucket", "other", "10.0"): 0,
        ("_bucket", "other", "+Inf"): 0,
        ("_count", "other"): 0,
        ("_sum", "other"): 0,
    }


def test_a_tally_that_was_not_declared_has_every_bucket() -> None:
    """Without the last one `histogram_quantile` returns no value."""
    tally = Tally("test_undeclared_seconds", "Spans.", labels=("operation",), bounds_s=(1, 10))
    tally.observe(4.0, "poll")
    tally.flush()
    [metric] = collected(tally)
    assert samples(metric) == {
        ("_bucket", "poll", "1.0"): 0,
        ("_bucket", "poll", "10.0"): 1,
        ("_bucket", "poll", "+Inf"): 1,
        ("_count", "poll"): 1,
        ("_sum", "poll"): 4.0,
    }


def test_other_metrics_are_unchanged() -> None:
    registry = CollectorRegistry()
    Counter("test_plain", "Plain.", registry=registry).inc(3)
    [metric] = with_tallies(registry.collect())
    assert (metric.name, metric.samples[0].value) == ("test_plain", 3)


def test_store_operations_are_the_scripts() -> None:
    scripts = Path(metrics.__file__).parent / "room" / "scripts"
    names = sorted(path.stem for path in scripts.glob("[!_]*.lua"))
    assert list(metrics.OPERATIONS) == names
