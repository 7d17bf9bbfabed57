"""Every metric and label in the dashboard, the alerts and the documents exists."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gatekeeper.admin.edge_status import Certificate, EdgeStatus
from gatekeeper.admin.exposition import exposition
from tests.gates import GateProcess, Origin, Visitor
from tests.integration.ops.process_settings import settings
from tests.servers import eventually

ROOT = Path(__file__).parents[3]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").glob("*.*")]
_OF_PROMETHEUS = {"up"}  # a metric of Prometheus for every target
_TARGET_LABELS = {"instance", "job"}
_LATEST = (  # the last to appear, after the first period of autotune
    "gatekeeper_autotune_latency_seconds{",
    "gatekeeper_autotune_changes_total{",
)
EDGE = EdgeStatus(True, (Certificate("shop.example.com", "valid", 2e9),))
_VARIABLES = {"$__rate_interval": "1m", "$room": ".*"}

Metrics = dict[str, list[dict[str, str]]]
Selected = tuple[str, dict[str, str]]


async def scraped() -> tuple[Metrics, set[str]]:
    """The names of samples with their labels, and the names of families. They are those of a busy
    gate with an edge, after autotune has changed the rate."""
    more = """
[[room]]
name = "default"
rate = "60/min"
burst = 1
autotune = true
autotune_max = "50/min"
"""
    async with Origin.running() as origin:
        with GateProcess(settings(origin.url, more=more)) as gate:
            await gate.wait_until_serving()
            async with (
                Visitor(gate.url) as inside,
                Visitor(gate.url) as waiting,
                Visitor(gate.admin_url) as operator,
            ):
                await inside.get()
                await waiting.join()
                text = ""

                async def is_steered() -> bool:
                    nonlocal text
                    await inside.get()
                    text = (await operator.request("GET", "/metrics")).text
                    return all(name in text for name in _LATEST)

                await eventually(is_steered, timeout_s=60)
    with TemporaryDirectory() as empty:
        text += exposition(Path(empty), [], [], edge=EDGE).decode()
    families = list(text_string_to_metric_families(text))
    found: Metrics = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found, {family.name for family in families} | found.keys()


@pytest.fixture(scope="module")
def metrics() -> tuple[Metrics, set[str]]:
    return asyncio.run(scraped())


def of_the_dashboard() -> Iterator[str]:
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        if match := re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.get("definition", "")):
            yield f"sum by ({match[2]}) ({match[1]})"


def of_the_alerts() -> Iterator[str]:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus-alerts.yaml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


def selected(node: promql.Expr, grouped: frozenset[str] = frozenset()) -> Iterator[Selected]:
    """Each metric of an expression with its matchers; labels that are grouped by match any
    value."""
    match node:
        case promql.AggregateExpr():
            by = frozenset(node.modifier.labels) if node.modifier is not None else frozenset()
            yield from selected(node.expr, grouped | by)
        case promql.BinaryExpr():
            yield from selected(node.lhs, grouped)
            yield from selected(node.rhs, grouped)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from selected(node.expr, grouped)
        case promql.Call():
            for argument in node.args:
                yield from selected(argument, grouped)
        case promql.MatrixSelector():
            yield from selected(node.vector_selector, grouped)
        case promql.VectorSelector():
            matchers = {each.name: each.value for each in node.matchers.matchers}
            yield str(node.name), dict.fromkeys(grouped, ".*") | matchers
        case _:
            assert isinstance(node, promql.NumberLiteral | promql.StringLiteral)


EXPRESSIONS = [*of_the_dashboard(), *of_the_alerts()]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expression_selects_existing_metrics(
    expression: str, metrics: tuple[Metrics, set[str]]
) -> None:
    samples, _ = metrics
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    found = list(selected(promql.parse(expression)))
    assert found
    for name, matchers in found:
        if name in _OF_PROMETHEUS:
            continue
        assert name in samples
        for label, value in matchers.items():
            if label not in _TARGET_LABELS:
                values = [labels[label] for labels in samples[name] if label in labels]
                assert any(re.fullmatch(value, each) for each in values), (name, label, value)


def test_expressions_were_found() -> None:
    assert len(EXPRESSIONS) > 30


@pytest.mark.parametrize("wrong", ["gatekeeper_quue_length", "sum by (rom) (gatekeeper_active)"])
def test_unknown_metric_or_label_fails(wrong: str, metrics: tuple[Metrics, set[str]]) -> None:
    with pytest.raises(AssertionError):
        test_expression_selects_existing_metrics(wrong, metrics)


def test_documents_name_existing_metrics(
    metrics: tuple[Metrics, set[str]],
) -> None:
    _, names = metrics
    named = {
        (name, path.name)
        for path in DOCUMENTS
        for name in re.findall(r"\bgatekeeper_[a-z0-9_]+\b", path.read_text())
    }
    assert len(named) > 30
    assert sorted((name, file) for name, file in named if name not in names) == []
