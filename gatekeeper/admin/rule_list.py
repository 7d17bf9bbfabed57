"""`GET /admin/rules`: the rules in force, in order, with their numbers of matches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gatekeeper.admin.metric_files import read_metrics, values
from gatekeeper.policy.access import AccessRule
from gatekeeper.policy.default_rules import DEFAULT_RULES
from gatekeeper.policy.explain import describe_rule

_MATCHES = "gatekeeper_rule_matches"


def rules_json(rules: Sequence[AccessRule], folder: Path) -> list[dict[str, object]]:
    """The rules as JSON; `matches` are requests of all workers of this process group that a rule
    decided: bypassed, sent on to the rooms, or blocked."""
    matches: dict[str, float] = {}
    for metric in read_metrics(folder):
        if metric.name == _MATCHES:
            for sample in values(metric):
                rule = sample.labels["rule"]
                matches[rule] = matches.get(rule, 0.0) + sample.value
    return [
        {
            "name": rule.name,
            "action": rule.action,
            "conditions": describe_rule(rule),
            "default": rule in DEFAULT_RULES,
            "matches": int(matches.get(rule.name, 0)),
        }
        for rule in rules
    ]
